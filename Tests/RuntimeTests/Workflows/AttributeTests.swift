import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Attributes of runs", .timeLimit(.minutes(5)))
struct AttributeTests {
    private static func setting(
        _ changes: [ByteText: ByteText?], _ occurrence: UInt64 = 0
    ) -> WorkflowOperation {
        .composition(.setAttributes(Bench.address("a"), StepKey("$attributes", occurrence), changes))
    }

    private func bench(_ attributes: [String: String] = [:]) throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        guard case .startRun(var start) = Bench.start("a") else { preconditionFailure("not a start") }
        start.attributes = try RunAttributes(checking: attributes)
        try bench.apply([.startRun(start)])
        return bench
    }

    private func attributes(_ bench: Bench) -> [String: String]? { bench.machine.run("a")?.attributes.texts }

    @Test("attributes are set, replaced and taken away once, by the owner alone, and survive a snapshot")
    func state() throws {
        var bench = try bench(["customer": "acme", "stage": "new"])
        #expect(attributes(bench) == ["customer": "acme", "stage": "new"])
        let change = Self.setting(["stage": "paid", "customer": nil, "clerk": "ann"])
        #expect(try bench.apply([change], epoch: 0).refusal == .staleOwner)
        #expect(try bench.apply([change], epoch: 1).result?.wasDone == false)
        #expect(attributes(bench) == ["stage": "paid", "clerk": "ann"])
        try bench.apply([Self.setting(["stage": "sent"], 1)], epoch: 1)
        #expect(try bench.apply([change], epoch: 1).result?.wasDone == true)
        #expect(attributes(bench) == ["stage": "sent", "clerk": "ann"], "a repetition changes nothing")
        let recorded = bench.machine.run("a")?.steps[StepKey("$attributes", 0)]?.value ?? []
        #expect(String(decoding: recorded, as: UTF8.self) == #"{"clerk":"ann","customer":null,"stage":"paid"}"#)
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash)
        #expect(restored.run("a")?.attributes == bench.machine.run("a")?.attributes)
    }

    @Test("a run has so many attributes at most; more change nothing")
    func limit() throws {
        var bench = try bench()
        for number in 0..<WorkflowLimits.attributesMax {
            try bench.apply([Self.setting([ByteText("a\(number)"): "x"], UInt64(number))], epoch: 1)
        }
        let hash = bench.machine.stateHash
        #expect(try bench.apply([Self.setting(["one more": "x"], 99)], epoch: 1).refusal == .invalidAttribute)
        #expect(bench.machine.stateHash == hash)
        #expect(try bench.apply([Self.setting(["one more": "x", "a0": nil], 99)], epoch: 1).refusal == nil)
        for bad in [
            ["": "x"], ["a=b": "x"], ["a,b": "x"], ["caf\u{E9}": "x"], ["a\n": "x"],
            ["a": String(repeating: "x", count: 257)],
        ] {
            #expect(throws: WorkflowError.self) { try RunAttributes(checking: bad) }
        }
    }

    @Test("every operation comes out of its encoding as it went in, and so does a start with attributes")
    func encoding() throws {
        guard case .startRun(var start) = Bench.start("a") else { return }
        start.attributes = try RunAttributes(checking: ["b": "", "a": "1"])
        let operations: [WorkflowOperation] = [
            Self.setting([:]), Self.setting(["a": "", "b": nil, "c": "d"], 7), .startRun(start),
            .message(.announce(Bench.address("a"), ask: StepKey("signal/s", 3))),
        ]
        for operation in operations { #expect(try WorkflowOperation(operation.encoded) == operation) }
        #expect(Self.setting(["b": nil, "a": "x"]).encoded.type == 71)
        #expect(
            Self.setting(["b": nil, "a": "x"]).encoded.body.suffix(13)
                == [0x2A, 6, 0x0A, 1, 0x61, 0x12, 1, 0x78, 0x2A, 3, 0x0A, 1, 0x62])
    }

    enum Moment: CaseIterable { case before, after }

    @Test(
        "a body's attributes are the same whenever its owner dies, and lists and counts go by them",
        arguments: Moment.allCases)
    func body(moment: Moment) async throws {
        try await withCluster { cluster in
            let order = Workflow<Int, Int>("order", version: 1) { input, context in
                try await context.setAttributes(["stage": "checked", "size": input > 1 ? "large" : nil])
                _ = try await context.step("pay") { _ in input }
                try await context.setAttributes(["stage": "paid"])
                return input
            }
            let first = try cluster.start(1, [order])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [order])
            try await first.until { $0.executors.count == 2 }
            cluster.setFault { node, operation in
                guard node == first.node, case .composition(.setAttributes(_, let step, _)) = operation,
                    step.occurrence == 1
                else { return nil }
                return moment == .before ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.start(order, id: "a", input: 2)
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            #expect(try await second.engine.result(of: "a", as: Int.self) == 2)
            cluster.clock.advance(by: .seconds(1))
            _ = try await second.engine.start(order, id: "b", input: 1)
            _ = try await second.engine.result(of: "b", as: Int.self)
            func ids(_ attributes: [String: String]) async throws -> [String] {
                try await second.engine.list(WorkflowFilter(attributes: attributes)).runs.map(\.workflowID)
            }
            #expect(try await ids(["stage": "paid"]) == ["a", "b"])
            #expect(try await ids(["stage": "paid", "size": "large"]) == ["a"])
            #expect(try await ids(["stage": "checked"]).isEmpty)
            #expect(try await ids(["colour": "red"]).isEmpty)
            let begun = try await second.engine.describe("b").info.startedAt
            var late = WorkflowFilter()
            late.startedFrom = begun
            #expect(try await second.engine.list(late).runs.map(\.workflowID) == ["b"])
            var early = WorkflowFilter()
            early.startedBefore = begun
            let count = try await second.engine.count(early)
            #expect(count.byStatus == [.completed: 1] && count.asOf > begun)
            #expect(try await second.engine.count().total == 2)
            try await replay(history: try await second.engine.wholeHistory(of: "a"), against: order)
        }
    }

    @Test("clusters' lists and counts are merged, and say as of when")
    func clusters() async throws {
        let nap = Workflow<Int, Int>("nap", version: 1) { input, context in
            try await context.sleep(for: .seconds(3600))
            return input
        }
        try await withSimulation(seed: 3, nodes: 5, workflows: [nap]) { simulation in
            let node = try simulation.node(1)
            var policy = try await node.policy()
            policy.maximumWorkflowsPerCluster = 3
            try await node.setPolicy(policy)
            try await node.running().manage([.beginMigration])
            for number in 0..<8 {
                _ = try await simulation.node(1 + number % 5).startWorkflow(
                    type: "nap", version: nil, id: nil, namespace: "default", input: .integer(Int64(number)),
                    attributes: ["parity": number % 2 == 0 ? "even" : "odd"])
            }
            let before = try await node.describe(try await node.list().runs[7].workflowID).info.startedAt
            let count = try await simulation.node(4).count(WorkflowFilter(attributes: ["parity": "even"]))
            #expect(count.byStatus == [.running: 4] && count.unavailable.isEmpty && count.asOf >= before)
            let filter = WorkflowFilter(status: .running, attributes: ["parity": "odd"])
            let page = try await simulation.node(5).list(filter, limit: 3)
            #expect(page.runs.count == 3 && page.asOf >= before && !page.isPartial)
            let rest = try await simulation.node(2).list(filter, after: page.next, limit: 3)
            #expect(rest.runs.count == 1 && Set((page.runs + rest.runs).map(\.workflowID)).count == 4)
        }
    }
}
