import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("The history of a run", .timeLimit(.minutes(5)))
struct WorkflowHistoryTests {
    /// Steps, sleeps and checkpoints of several names, each of them again and again.
    private static let mixed = Workflow("mixed", version: 4) {
        (count: Int, context: WorkflowContext) async throws -> [String] in
        for number in 0..<count {
            _ = try await context.step("charge") { _ in "charge \(number)" }
            try await context.checkpoint("percent", number)
            try await context.checkpoint("note", "n\(number)")
            try await context.sleep(for: .zero, name: "pause")
            _ = try await context.random("dice")
        }
        return ["done"]
    }

    private func pages(
        _ engine: WorkflowEngine, _ id: String, limit: Int, withValues: Bool = false
    ) async throws -> [WorkflowHistory] {
        var pages = [try await engine.history(of: id, limit: limit, withValues: withValues)]
        while let next = pages.last?.next {
            pages.append(try await engine.history(of: id, after: next, limit: limit, withValues: withValues))
        }
        return pages
    }

    @Test("any node tells how a run began, what it recorded in the order of time, and how it ended, page by page")
    func whole() async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [Self.mixed])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [])
            try await second.until { $0.executors.count == 2 }
            _ = try await second.engine.start(Self.mixed, id: "a.b", input: 20).result()
            let whole = try await second.engine.wholeHistory(of: "a.b")
            #expect(whole.events.count == 20 * 5 && whole.next == nil)
            #expect(whole.info.status == .completed && whole.info.type == "mixed" && whole.info.version == 4)
            #expect(whole.input == Array("20".utf8) && whole.inputBytes == 2)
            #expect(whole.output == Array(#"["done"]"#.utf8) && whole.outputBytes == 8)
            #expect(whole.events.map(\.recordedAt) == whole.events.map(\.recordedAt).sorted())
            for (name, kind) in [
                ("charge", "step"), ("$random/dice", "step"), ("percent", "checkpoint"), ("note", "checkpoint"),
                ("pause", "sleep"),
            ] {
                let events = whole.events.filter { $0.name == name }
                #expect(events.map(\.occurrence) == Array(0..<20) && events.allSatisfy { $0.kind == kind }, "\(name)")
            }
            for event in whole.events {
                #expect(event.bytes == event.value?.count ?? 0)
                switch event.detail {
                case .step(let owner, let epoch, let attempt, let duration):
                    #expect(owner == NodeID(1) && epoch == 1 && attempt == 1 && duration >= .zero)
                case .sleep(let deadline, let firedAt):
                    #expect(deadline >= event.recordedAt && firedAt ?? 0 >= deadline)
                case .checkpoint, .failedStep, .message, .receipt, .reply, .awakeable: break
                }
            }
            let notes = whole.events.filter { $0.name == "note" }.compactMap(\.value)
            #expect(notes == (0..<20).map { Array("\"n\($0)\"".utf8) })
            for limit in [1, 7, 99, 100, 101] {
                for withValues in [false, true] {
                    let pages = try await pages(first.engine, "a.b", limit: limit, withValues: withValues)
                    #expect(pages.dropLast().allSatisfy { $0.events.count == limit })
                    var events = whole.events
                    if !withValues { for number in events.indices { events[number].value = nil } }
                    #expect(pages.flatMap(\.events) == events, "pages of \(limit)")
                }
            }
        }
    }

    @Test("a history in JSON is read back as it was, to a microsecond")
    func json() async throws {
        try await withCluster { cluster in
            let node = try cluster.start(1, [Self.mixed])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(Self.mixed, id: "a", input: 3).result()
            let history = try await node.engine.wholeHistory(of: "a")
            let bytes = HistoryJSON.value(history).canonicalBytes
            let read = try WorkflowHistory(json: bytes)
            #expect(HistoryJSON.value(read).canonicalBytes == bytes)
            #expect(read.info.runID == history.info.runID && read.events.map(\.value) == history.events.map(\.value))
            for text in ["", "{}", #"{"workflow":{},"events":[]}"#] {
                let error = #expect(throws: WorkflowError.self) { try WorkflowHistory(json: Array(text.utf8)) }
                #expect(error?.code == .invalidInput)
            }
        }
    }

    @Test("a page of large values ends early, and a value above its limit comes alone")
    func largeValues() async throws {
        try await withCluster { cluster in
            let large = Workflow("large", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                for number in 0..<6 {
                    let bytes = number == 3 ? (4 << 20) - 2 : 3 << 19
                    try await context.checkpoint("a", String(repeating: "x", count: bytes))
                }
                return 0
            }
            let node = try cluster.start(1, [large])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(large, id: "a", input: 0).result()
            let pages = try await pages(node.engine, "a", limit: 10, withValues: true)
            #expect(pages.map(\.events.count) == [2, 1, 1, 2])
            #expect(pages.flatMap(\.events).map(\.occurrence) == [0, 1, 2, 3, 4, 5])
            #expect(try await node.engine.history(of: "a").events.count == 6)
        }
    }

    @Test("a takeover is seen: what was recorded after it names the second owner and its epoch")
    func takeover() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("two", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("before") { _ in }
                try await context.sleep(for: .seconds(100))
                try await context.step("after") { _ in }
                return 0
            }
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            for node in [first, second] { try await node.until { $0.run("a")?.timers.count == 1 } }
            let running = try await second.engine.history(of: "a")
            #expect(running.info.status == .running && running.outputBytes == nil)
            #expect(running.events.map(\.name) == ["before", "sleep"])
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(101))
            _ = try await run.result()
            let events = try await second.engine.history(of: "a").events
            let owners = events.compactMap { event -> String? in
                guard case .step(let owner, let epoch, _, _) = event.detail else { return nil }
                return "\(event.name) \(owner.rawValue) \(epoch)"
            }
            #expect(owners == ["before 1 1", "after 2 2"])
        }
    }

    @Test("a run that does not exist and a place that no page has named are errors with names")
    func errors() async throws {
        try await withCluster { cluster in
            let node = try cluster.start(1, [Self.mixed])
            try await node.until { !$0.executors.isEmpty }
            let missing = await #expect(throws: WorkflowError.self) { try await node.engine.history(of: "a") }
            #expect(missing?.code == .notFound)
            _ = try await node.engine.start(Self.mixed, id: "a", input: 1).result()
            for token in ["", "x", "1.0.0", "1.0.0.", "1.9.0.a", "1.0.-1.a", "a.0.0.a"] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await node.engine.history(of: "a", after: token)
                }
                #expect(error?.code == .invalidPage, "\(token)")
            }
            #expect(try await node.engine.history(of: "a", after: "\(Int64.max).2.0.a.b").events.isEmpty)
        }
    }
}
