import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Requests about workflows", .timeLimit(.minutes(5)))
struct WorkflowRequestTests {
    /// Ends when it is told to.
    static func held(_ gate: Gate) -> Workflow<Int, Int> {
        Workflow("held", version: 1) { (input: Int, context: WorkflowContext) async throws -> Int in
            await gate.wait()
            return input
        }
    }

    static let quick = Workflow("quick", version: 1) {
        (input: JSONValue, _: WorkflowContext) async throws -> JSONValue in
        input
    }

    @Test("the same start again finds the run, from any node, however its input is written")
    func idempotent() async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [Self.quick])
            let second = try cluster.start(2, [Self.quick])
            try await first.until { $0.executors.count == 2 }
            let run = try await first.engine.start(
                Self.quick, id: "q", input: ["b": [1, 2.5], "a": "é"])
            #expect(!run.started.existed)
            let same = #" { "a" : "\u00e9", "b":[1.0,25e-1] } "#
            let again = try await second.engine.start(
                type: "quick", version: 1, id: "q", input: Array(same.utf8))
            #expect(again.existed && again.runID == run.runID)
            for other in [#"{"a":"é","b":[2.5,1]}"#, #"{"a":"é"}"#] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await second.engine.start(
                        type: "quick", version: 1, id: "q", input: Array(other.utf8))
                }
                #expect(error?.code == .conflict)
            }
            let output = try await run.result()
            #expect(output == ["b": [1, 2.5], "a": "é"])
        }
    }

    @Test("a start with a bad id, a bad input, or of what no node ever had is refused by name")
    func refusals() async throws {
        try await withCluster { cluster in
            var limits = WorkflowLimits()
            limits.inputBytesMax = 20
            let node = try cluster.start(1, [Self.quick], limits: limits)
            try await node.until { !$0.executors.isEmpty }
            let cases: [(WorkflowError.Code, String, UInt32?, String, String)] = [
                (.unknownWorkflow, "nope", 1, "id", "1"),
                (.unknownWorkflow, "nope", nil, "id", "1"),
                (.unknownWorkflow, "quick", 2, "id", "1"), (.invalidName, "quick", 1, "", "1"),
                (.invalidName, "quick", 1, String(repeating: "x", count: 513), "1"),
                (.invalidInput, "quick", 1, "id", "{"),
                (.invalidInput, "quick", 1, "id", #"{"a":1,"a":1}"#),
                (.inputTooLarge, "quick", 1, "id", #""1234567890123456789""#),
            ]
            for (code, type, version, id, input) in cases {
                let error = await #expect(throws: WorkflowError.self) {
                    try await node.engine.start(
                        type: type, version: version, id: id, input: Array(input.utf8))
                }
                #expect(error?.code == code, "\(type) \(id): \(String(describing: error))")
            }
            #expect(try await node.engine.list().runs.isEmpty)
            cluster.setFault { _, _ in .fail(GroupError(.overloaded, "full")) }
            let error = await #expect(throws: WorkflowError.self) {
                try await node.engine.start(Self.quick, id: "id", input: 1)
            }
            #expect(error?.code == .overloaded)
            #expect(throws: WorkflowError.self) {
                try WorkflowEngine.definitions(of: [Self.quick, Self.quick])
            }
        }
    }

    @Test("a result that came before the question, and one that comes after it, are both found")
    func earlyAndLate() async throws {
        try await withCluster { cluster in
            let gate = Gate()
            let workflow = Self.held(gate)
            let node = try cluster.start(1, [workflow, Self.quick])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(Self.quick, id: "early", input: 5)
            try await node.until { $0.run("early")?.status == .completed }
            #expect(
                try await node.engine.outcome(of: "early", timeout: .zero)
                    == .completed(Array("5".utf8)))
            let run = try await node.engine.start(workflow, id: "late", input: 6)
            async let first = run.result()
            async let second = run.result(timeout: .seconds(100))
            while node.engine.waiterCount < 2 { await Task.yield() }
            gate.open()
            #expect(try await [first, second] == [6, 6])
            #expect(node.engine.waiterCount == 0)
        }
    }

    @Test(
        "waiting ends at its time, at its cancellation and with the node, and leaves no waiter behind"
    )
    func waitingEnds() async throws {
        try await withCluster { cluster in
            let gate = Gate()
            let workflow = Self.held(gate)
            let node = try cluster.start(1, [workflow])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(workflow, id: "held", input: 6)

            let missing = await #expect(throws: WorkflowError.self) {
                try await node.engine.outcome(of: "none")
            }
            #expect(missing?.code == .notFound)

            let late = await #expect(throws: WorkflowError.self) {
                try await run.result(timeout: .milliseconds(1))
            }
            #expect(late?.code == .timedOut)
            #expect(node.engine.waiterCount == 0)

            let waiting = Task { try await run.result() }
            while node.engine.waiterCount == 0 { await Task.yield() }
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            #expect(node.engine.waiterCount == 0)

            // Cancelled before it begins to wait.
            let early = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await run.result()
            }
            await #expect(throws: CancellationError.self) { try await early.value }
            #expect(node.engine.waiterCount == 0)

            let orphan = Task { try await run.result() }
            while node.engine.waiterCount == 0 { await Task.yield() }
            let engine = node.engine
            async let ended: Void = node.stop()
            gate.open()
            await ended
            let stopped = await #expect(throws: WorkflowError.self) { try await orphan.value }
            #expect(stopped?.code == .stopped)
            #expect(engine.waiterCount == 0)
        }
    }

    @Test(
        "RM-01: a list taken during load returns every field of every run, in pages and by filter")
    func list() async throws {
        try await withCluster { cluster in
            let failing = Workflow("failing", version: 3) {
                (_: Int, _: WorkflowContext) async throws -> Int in throw PaymentDeclined()
            }
            let sleeping = Workflow("sleeping", version: 2) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.sleep(for: .seconds(1000))
                return 0
            }
            let workflows: [any RegisterableWorkflow] = [failing, sleeping, Self.quick]
            let first = try cluster.start(1, workflows)
            let second = try cluster.start(2, workflows)
            try await first.until { $0.executors.count == 2 }
            for number in 0..<30 {
                _ = try await first.engine.start(failing, id: "f\(number)", input: number)
                _ = try await second.engine.start(sleeping, id: "s\(number)", input: number)
                _ = try await first.engine.start(Self.quick, id: "q\(number)", input: 1)
            }
            var all: [WorkflowInfo] = []
            var after: String?
            repeat {
                let page = try await second.engine.list(after: after, limit: 7)
                all += page.runs
                after = page.next
            } while after != nil
            #expect(all.map(\.workflowID) == (0..<30).flatMap { ["f\($0)", "s\($0)", "q\($0)"] })
            #expect(Set(all.map(\.runID)).count == 90)
            for info in all {
                let expected: (String, UInt32) =
                    switch info.workflowID.first {
                    case "f": ("failing", 3)
                    case "s": ("sleeping", 2)
                    default: ("quick", 1)
                    }
                #expect((info.type, info.version) == expected)
                #expect(info.owner == NodeID(1) || info.owner == NodeID(2))
                #expect(info.startedAt > 1_700_000_000_000_000_000)
                #expect(info.status.isFinished == (info.finishedAt != nil))
                #expect((info.finishedAt ?? .max) >= info.startedAt)
            }
            #expect(Set(all.compactMap(\.owner)).count == 2)
            for number in 0..<30 {
                _ = try await first.engine.outcome(of: "f\(number)")
                _ = try await first.engine.outcome(of: "q\(number)")
            }
            #expect(try await second.engine.list(WorkflowFilter(status: .failed)).runs.count == 30)
            #expect(
                try await second.engine.list(WorkflowFilter(status: .running, type: "sleeping"))
                    .runs.count == 30)
            #expect(
                try await second.engine.list(WorkflowFilter(status: .running, type: "quick")).runs
                    .isEmpty)
            let error = await #expect(throws: WorkflowError.self) {
                try await second.engine.list(after: "unknown")
            }
            #expect(error?.code == .invalidPage)
            #expect(try await second.withMachine { $0.count(of: .completed) } == 30)
        }
    }
}

extension WorkflowEngine {
    var waiterCount: Int { state.withLock { state in state.waiterCount } }
}
