import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Talking to a running workflow", .timeLimit(.minutes(5)))
struct MessageTests {
    private static let word = WorkflowSignal<String>("word")
    private static let add = WorkflowUpdate<Int, Int>("add")

    /// Collects words until one says that it is enough.
    private static let collector = Workflow("collector", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> [String] in
        var words: [String] = []
        for try await word in context.signals(word) {
            guard word != "enough" else { break }
            words.append(word)
            _ = try await context.step("noted") { _ in word }
        }
        return words
    }

    private func signal(_ engine: WorkflowEngine, _ id: String, _ value: String, _ number: UInt64) async throws {
        try await engine.signal(id, name: "word", value: try JSONCoding.encode(value), from: ("test", number))
    }

    /// Two nodes; the first gets the first run.
    private func pair(
        _ cluster: TestCluster, _ workflows: [any RegisterableWorkflow]
    ) async throws -> (TestNode, TestNode) {
        let first = try cluster.start(1, workflows)
        try await first.until { !$0.executors.isEmpty }
        let second = try cluster.start(2, workflows)
        try await first.until { $0.executors.count == 2 }
        return (first, second)
    }

    enum Moment: CaseIterable { case beforeRecord, afterRecord }

    @Test(
        "signals are received once and in order, also those that came early, whenever the owner dies",
        arguments: 0...3, Moment.allCases)
    func takeover(position: UInt64, moment: Moment) async throws {
        try await withCluster { cluster in
            let (first, second) = try await pair(cluster, [Self.collector])
            cluster.setFault { node, operation in
                guard node == first.node, case .message(.take(_, let ask, _)) = operation, ask.occurrence == position
                else { return nil }
                return moment == .beforeRecord ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.start(Self.collector, id: "a", input: 0)
            for (number, word) in ["one", "two", "three"].enumerated() {
                // Each twice, as a client does that heard nothing.
                for _ in 0..<2 { try await signal(second.engine, "a", word, UInt64(number + 1)) }
            }
            try await signal(second.engine, "a", "enough", 4)
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "a", as: [String].self) == ["one", "two", "three"])
            let history = try await second.engine.wholeHistory(of: "a")
            #expect(history.events.count { $0.kind == "receipt" } == 4)
            try await replay(history: history, against: Self.collector)
            let parsed = try WorkflowHistory(json: HistoryJSON.value(history).canonicalBytes)
            #expect(parsed.events.map(\.detail) == history.events.map(\.detail))
            try await replay(history: parsed, against: Self.collector)
            let late = await #expect(throws: WorkflowError.self) { try await signal(second.engine, "a", "late", 5) }
            #expect(late?.code == .wrongState)
        }
    }

    @Test("the time for a signal goes on across owners; what comes too late is for the next ask")
    func timeLimit() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("patient", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [String?] in
                let first = try await context.receive(Self.word, within: .seconds(3600))
                return [
                    first, try await context.receive(Self.word), try await context.receive(Self.word, within: .zero),
                ]
            }
            let (first, second) = try await pair(cluster, [workflow])
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await second.until { $0.run("a")?.messages?.asks.count == 1 }
            cluster.clock.advance(by: .seconds(3000))
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(601))
            try await second.until {
                $0.run("a")?.messages?.asks.members.contains { $0.value.outcome == .timedOut } ?? false
            }
            try await signal(second.engine, "a", "late", 1)
            #expect(try await second.engine.result(of: "a", as: [String?].self) == [nil, "late", nil])
            try await replay(history: try await second.engine.wholeHistory(of: "a"), against: workflow)
        }
    }

    @Test("a run that waits for a signal hears that it is to end, once, and receives the signal afterwards")
    func cancellation() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("reluctant", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                do {
                    return try await context.receive(Self.word)
                } catch let error as WorkflowError where error.code == .cancelled {
                    return "after all: " + (try await context.receive(Self.word))
                }
            }
            let (first, second) = try await pair(cluster, [workflow])
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await second.engine.control("a", .cancel)
            try await second.until { $0.run("a")?.steps.count == 1 }
            first.die()
            try await signal(second.engine, "a", "go", 1)
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "a", as: String.self) == "after all: go")
            try await replay(history: try await second.engine.wholeHistory(of: "a"), against: workflow)
        }
    }

    @Test("a signal that is no such value is left out; two branches that wait for one name are told")
    func badInput() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("strict", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                @Sendable func received() async throws -> String {
                    do {
                        return try await context.receive(Self.word)
                    } catch let error as WorkflowError {
                        try await context.step("told") { _ in }
                        return error.code.rawValue
                    }
                }
                async let first = received()
                async let second = received()
                let results = [try await first, try await second]
                return results.sorted().joined(separator: " ")
            }
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(workflow, id: "a", input: 0)
            // Both wait by then: one that came only after the signal would wait for the next one.
            try await node.until { $0.run("a")?.steps[StepKey("told", 0)] != nil }
            try await node.engine.signal("a", name: "word", value: Array("7".utf8), from: ("test", 1))
            try await signal(node.engine, "a", "eight", 2)
            #expect(try await node.engine.result(of: "a", as: String.self) == "duplicateStep eight")
            let engine = node.engine
            for (name, value, code) in [
                ("word", "nonsense", WorkflowError.Code.invalidInput), ("", "1", .invalidName),
                ("$x", "1", .invalidName),
                ("word", String(repeating: "1", count: WorkflowLimits.messageBytesMax + 1), .inputTooLarge),
            ] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await engine.signal("a", name: name, value: Array(value.utf8), from: ("other", 1))
                }
                #expect(error?.code == code)
            }
            let unknown = await #expect(throws: WorkflowError.self) { try await signal(engine, "b", "x", 1) }
            #expect(unknown?.code == .notFound)
        }
    }

    // MARK: Updates

    /// Adds what it is told to, up to a hundred; a signal ends it.
    private static let counter = Workflow("counter", version: 1) {
        (start: Int, context: WorkflowContext) async throws -> Int in
        let total = context.variable(start)
        context.answer(WorkflowQuery<Int, Int>("total")) { factor in
            guard factor > 0 else { throw WorkflowError(.undecodableInput, "the factor is not positive") }
            return total.value * factor
        }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while true {
                    let update = try await context.receive(Self.add)
                    guard total.value + update.input <= 100 else {
                        try await update.reject("that is too much")
                        continue
                    }
                    total.update { $0 += update.input }
                    try await update.reply(total.value)
                }
            }
            _ = try await context.receive(Self.word)
            group.cancelAll()
            return total.value
        }
    }

    private func add(_ engine: WorkflowEngine, _ amount: Int, _ id: String) async throws -> UpdateOutcome? {
        try await engine.update("a", name: "add", input: Array("\(amount)".utf8), updateID: id, timeout: .seconds(60))
    }

    @Test(
        "an update is carried out once for its id, by whichever owner, and answered to all who ask",
        arguments: Moment.allCases)
    func updates(moment: Moment) async throws {
        try await withCluster { cluster in
            let (first, second) = try await pair(cluster, [Self.counter])
            cluster.setFault { node, operation in
                guard node == first.node, case .message(.reply(_, let message, _)) = operation, message.occurrence == 1
                else { return nil }
                return moment == .beforeRecord ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.start(Self.counter, id: "a", input: 0)
            #expect(try await add(second.engine, 5, "u1") == .replied(Array("5".utf8)))
            #expect(try await add(second.engine, 5, "u1") == .replied(Array("5".utf8)))
            let engine = second.engine
            async let asked = [add(engine, 7, "u2"), add(engine, 7, "u2")]
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            #expect(try await asked == [.replied(Array("12".utf8)), .replied(Array("12".utf8))])
            guard case .rejected(let failure)? = try await add(second.engine, 1000, "u3") else {
                Issue.record("it was not rejected")
                return
            }
            #expect(failure.message == "that is too much")
            let conflict = await #expect(throws: WorkflowError.self) { try await add(engine, 8, "u2") }
            #expect(conflict?.code == .conflict)
            let bad = try await engine.update(
                "a", name: "add", input: Array("\"x\"".utf8), updateID: "u4", timeout: .seconds(60))
            guard case .rejected(let failure)? = bad else {
                Issue.record("it was not rejected")
                return
            }
            #expect(failure.type == "WorkflowError.undecodableInput")
            try await signal(engine, "a", "enough", 1)
            #expect(try await engine.result(of: "a", as: Int.self) == 12)
            #expect(try await add(engine, 7, "u2") == .replied(Array("12".utf8)))
            let late = await #expect(throws: WorkflowError.self) { try await add(engine, 1, "u9") }
            #expect(late?.code == .wrongState)
        }
    }

    @Test("an update that nobody answers waits as long as it is told, and ends with the run")
    func unanswered() async throws {
        try await withCluster { cluster in
            let node = try cluster.start(1, [Self.collector])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(Self.collector, id: "a", input: 0)
            let engine = node.engine
            let input = Array("1".utf8)
            #expect(try await engine.update("a", name: "add", input: input, updateID: "u", timeout: .zero) == nil)
            async let asked = codeOfError { try await engine.update("a", name: "add", input: input, updateID: "u") }
            try await engine.control("a", .terminate)
            #expect(await asked == .wrongState)
        }
    }

    private func codeOfError(_ body: () async throws -> UpdateOutcome?) async -> WorkflowError.Code? {
        do {
            _ = try await body()
            return nil
        } catch {
            return (error as? WorkflowError)?.code
        }
    }

    // MARK: Awakeables

    @Test(
        "an awakeable's token is the same for every owner, and what completes it is received once and for all",
        arguments: [true, false])
    func awakeables(isResolved: Bool) async throws {
        try await withCluster { cluster in
            let tokens = Lock<[String]>([])
            let workflow = Workflow("approval", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [String] in
                let approval = try await context.awakeable("boss", as: String.self)
                tokens.withLock { $0.append(approval.token) }
                let early = try await approval.value(within: .zero)
                do {
                    return [early ?? "none", try await approval.value(), try await approval.value()]
                } catch let error as WorkflowError where error.code == .rejected {
                    return [error.failure?.message ?? ""]
                }
            }
            let (first, second) = try await pair(cluster, [workflow])
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await second.until { $0.run("a")?.messages?.asks.members.first?.value.outcome == .timedOut }
            first.die()
            let token = try #require(tokens.withLock { $0.first })
            let engine = second.engine
            let value = isResolved ? Array("\"yes\"".utf8) : nil
            for _ in 0..<2 { try await engine.complete(token, value: value, reason: "no") }
            let other = await #expect(throws: WorkflowError.self) {
                try await engine.complete(token, value: Array("1".utf8))
            }
            #expect(other?.code == .alreadyCompleted)
            let wrong = await #expect(throws: WorkflowError.self) {
                try await engine.complete(String(token.dropLast(4)) + "AAAA", value: Array("1".utf8))
            }
            #expect(wrong?.code == .notFound)
            try await cluster.lose(first, noticedBy: second)
            let result = try await engine.result(of: "a", as: [String].self)
            #expect(result == (isResolved ? ["none", "yes", "yes"] : ["no"]))
            #expect(Set(tokens.withLock { $0 }).count == 1 && tokens.withLock { $0.count } == 2)
            try await replay(history: try await engine.wholeHistory(of: "a"), against: workflow)
        }
    }

    // MARK: Conditions

    @Test("a condition holds when a variable says so, keeps its value for the next owner, and its time ends it")
    func conditions() async throws {
        try await withCluster { cluster in
            let workflow = Workflow("quorum", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> [Int] in
                let votes = context.variable(0)
                return try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for try await _ in context.signals(Self.word) { votes.update { $0 += 1 } }
                    }
                    let early = try await context.condition("early", within: .seconds(3600)) {
                        votes.value > 5 ? votes.value : nil
                    }
                    let two = try await context.condition("two") { votes.value >= 2 ? votes.value : nil }
                    try await context.sleep(for: .seconds(60))
                    group.cancelAll()
                    return [early ?? -1, two]
                }
            }
            let (first, second) = try await pair(cluster, [workflow])
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await second.until { $0.run("a")?.messages?.asks.count == 1 }
            cluster.clock.advance(by: .seconds(3601))
            for number in 1...2 { try await signal(second.engine, "a", "aye", UInt64(number)) }
            try await second.until { $0.run("a")?.timers.count == 1 }
            first.die()
            for number in 3...9 { try await signal(second.engine, "a", "aye", UInt64(number)) }
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(61))
            #expect(try await second.engine.result(of: "a", as: [Int].self) == [-1, 2])
        }
    }

    // MARK: Queries

    @Test("a query is answered by the owner, by another node, after a takeover, and when the run has ended")
    func queries() async throws {
        try await withCluster { cluster in
            let (first, second) = try await pair(cluster, [Self.counter])
            let third = try cluster.start(3, [])
            try await second.until { $0.executors.count == 3 }
            _ = try await second.engine.start(Self.counter, id: "a", input: 1)
            func total(_ node: TestNode, _ factor: String = "2", _ name: String = "total") async throws -> String {
                String(decoding: try await node.engine.query("a", name: name, input: Array(factor.utf8)), as: UTF8.self)
            }
            #expect(try await total(second) == "2")
            _ = try await add(second.engine, 4, "u1")
            for node in [first, second] { #expect(try await total(node) == "10") }
            let noCode = await #expect(throws: WorkflowError.self) { try await total(third) }
            #expect(noCode?.code == .unknownWorkflow)
            let log = cluster.recordedCount
            for (factor, name, code) in [
                ("0", "total", WorkflowError.Code.undecodableInput), ("\"x\"", "total", .undecodableInput),
                ("1", "other", .unknownQuery),
            ] {
                let error = await #expect(throws: WorkflowError.self) { try await total(first, factor, name) }
                #expect(error?.code == code)
            }
            #expect(cluster.recordedCount == log)
            first.die()
            try await cluster.lose(first, noticedBy: second)
            #expect(try await total(second) == "10")
            _ = try await add(second.engine, 5, "u2")
            #expect(try await total(second) == "20")
            try await second.engine.control("a", .pause)
            #expect(try await total(second) == "20")
            try await second.engine.control("a", .resume)
            try await signal(second.engine, "a", "enough", 1)
            #expect(try await second.engine.result(of: "a", as: Int.self) == 10)
            #expect(try await total(second) == "20")
        }
    }
}

extension TestCluster {
    /// How many commands there are, but for the notes that a wait lasts, which come by themselves.
    fileprivate var recordedCount: Int {
        log.count { command, _ in
            command.operations.contains { operation in
                guard case .message(.announce)? = try? WorkflowOperation(operation) else { return true }
                return false
            }
        }
    }
}
