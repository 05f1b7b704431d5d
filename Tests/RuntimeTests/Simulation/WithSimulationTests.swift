import Flotilla
import FlotillaSimulation
import Testing

/// What users write: nothing but the two products is imported here.
@Suite struct WithSimulationTests {
    struct Order: Codable, Sendable {
        var items: [String]
    }
    struct Receipt: Codable, Sendable {
        var ok: Bool
        var packed: [String]
    }

    private static let orderProcessing = Workflow("order_processing", version: 1) {
        (order: Order, context: WorkflowContext) async throws -> Receipt in
        var packed: [String] = []
        for item in order.items {
            packed.append(try await context.step("pack \(item)") { _ in item })
            try await context.sleep(for: .seconds(2))
        }
        return Receipt(ok: packed == order.items, packed: packed)
    }
    private static let order = Order(items: ["a", "b", "c"])

    @Test("a workflow goes on over a partition and a power failure, as in the documentation's example")
    func example() async throws {
        let orderProcessing = Self.orderProcessing
        let order = Self.order
        try await withSimulation(seed: 42, nodes: 5, workflows: [orderProcessing]) { simulation in
            let run = try await simulation.node(1).start(orderProcessing, id: "a", input: order)
            simulation.partition([1, 2], from: [3, 4, 5])
            await simulation.advance(by: .seconds(5))
            simulation.heal()
            simulation.crash(3, dropUnsynced: true)
            simulation.restart(3)
            #expect(try await run.result().ok)
        }
    }

    @Test("the node that runs a workflow dies, and with it the client's connection: the client asks another")
    func ownerDies() async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, workflows: [Self.orderProcessing]) { simulation in
                let run = try await simulation.submit(Self.orderProcessing, id: "a", input: Self.order)
                let owner = try #require(try await simulation.owner(of: "a"))
                let waiting = Task { try await run.result() }
                await simulation.advance(by: .seconds(3))
                simulation.crash(owner, dropUnsynced: true)
                #expect(try await waiting.value.packed == ["a", "b", "c"])
                #expect(try await simulation.owner(of: "a") == nil)
                #expect(!simulation.runningNodes.contains(owner))
            }
        }
    }

    @Test("a run handle of a node that was killed says so instead of waiting for ever")
    func handleOfDeadNode() async throws {
        try await withSimulation(seed: 1, workflows: [Self.orderProcessing]) { simulation in
            let run = try await simulation.node(2).start(Self.orderProcessing, id: "a", input: Self.order)
            let waiting = Task { try await run.result() }
            await simulation.advance(by: .seconds(1))
            simulation.crash(2)
            let error = await #expect(throws: WorkflowError.self) { try await waiting.value }
            #expect(error?.code == .stopped)
            // A node that is asked only now is as dead, and the run goes on without it.
            await #expect(throws: (any Error).self) { try await run.result() }
            #expect(try await simulation.node(1).result(of: "a", as: Receipt.self).ok)
        }
    }

    @Test("waiting for a result that does not come ends at the limit of virtual time")
    func timeLimit() async throws {
        let stuck = Workflow("stuck", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.sleep(for: .seconds(100_000))
            return 1
        }
        let error = await failure {
            try await withSimulation(seed: 5, workflows: [stuck], limits: .init(virtualTime: .seconds(120))) {
                simulation in
                _ = try await simulation.node(1).start(stuck, id: "a", input: 1).result()
            }
        }
        #expect(error?.code == .timeLimit && error?.seed == 5)
    }

    @Test(
        "a step that sleeps in real time fails the scenario, and one that sleeps by its clock does not",
        .enabled(if: ExecutorHook.noticesEscapes))
    func clocks() async throws {
        let real = Workflow("real", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("wait") { _ in
                try await Task.sleep(for: .milliseconds(1))
                return 1
            }
        }
        let virtual = Workflow("virtual", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("wait") { step in
                let start = step.clock.now
                try await step.clock.sleep(for: .seconds(60))
                return Int(start.duration(to: step.clock.now) / .seconds(1))
            }
        }
        let error = await failure {
            try await withSimulation(seed: 1, workflows: [real]) { simulation in
                _ = try await simulation.submit(real, id: "a", input: 1).result()
            }
        }
        #expect(error?.code == .escape)
        #expect(error?.message.contains("step context's clock") == true)
        try await withSimulation(seed: 1, workflows: [virtual]) { simulation in
            let run = try await simulation.submit(virtual, id: "a", input: 1)
            #expect(try await run.result() == 60)
        }
    }

    @Test("what a body throws comes out with the seed, and what it returns with the hash of its history")
    func outcomes() async throws {
        struct Named: Error {}
        let error = await failure {
            try await withSimulation(seed: 77, workflows: []) { _ in throw Named() }
        }
        #expect(error?.code == .bodyFailed && error?.seed == 77 && error?.cause is Named)
        let results = try await [1, 1, 2].asyncMap { seed in
            try await withSimulation(seed: seed, workflows: []) { simulation in simulation.nodes }
        }
        #expect(results[0].value == [1, 2, 3])
        #expect(results[0].traceHash == results[1].traceHash)
        #expect(results[0].traceHash != results[2].traceHash)
    }

    @Test(
        "what cannot be done ends the scenario with an error that names it",
        arguments: [
            Misuse("there is no node 7; the nodes are 1 to 3") { $0.crash(7) },
            Misuse("there is no node 0; the nodes are 1 to 3") { $0.partition([0], from: [1]) },
            Misuse("there is no node 4; the nodes are 1 to 3") { $0.cut(from: [1], to: [4]) },
            Misuse("node 2 cannot be cut off from itself") { $0.partition([1, 2], from: [2, 3]) },
            Misuse("a node stands twice in the chain") { $0.partitionIntoChain([1, 2, 1]) },
            Misuse("node 1 runs; crash or stop it before its restart") { $0.restart(1) },
            Misuse("there is no node 9; the nodes are 1 to 3") { $0.restart(9) },
            Misuse("there is no node 9; the nodes are 1 to 3") { _ = try $0.node(9) },
            Misuse("there is no node 9; the nodes are 1 to 3") { _ = try $0.disk(9) },
            Misuse("node 2 is down; restart it first") {
                $0.crash(2)
                $0.crash(2)
            },
            Misuse("node 2 is down; restart it first") {
                $0.crash(2)
                _ = try $0.node(2)
            },
            Misuse("node 3 is down; restart it first") {
                await $0.stop(3)
                await $0.stop(3)
            },
            Misuse("node 1 is down; restart it first") {
                $0.crash(1)
                $0.pause(1)
            },
            Misuse("runs on the disk that is to be replaced") { try $0.disk(1).wipe() },
            Misuse("there is no node 5; the nodes are 1 to 3") { $0.setClockRate(of: 5, to: 2) },
        ])
    func misuse(_ misuse: Misuse) async throws {
        let error = await failure {
            try await withSimulation(seed: 3, workflows: []) { simulation in
                try await misuse.body(simulation)
                await simulation.advance(by: .seconds(1))
            }
        }
        // What throws by itself arrives as the body's error.
        let named = error?.cause as? SimulationError ?? error
        #expect(named?.code == .misuse && named?.seed == 3)
        #expect(named?.message.contains(misuse.message) == true, "\(String(describing: error))")
    }

    struct Misuse: Sendable, CustomTestStringConvertible {
        var message: String
        var body: @Sendable (SimulatedCluster) async throws -> Void
        var testDescription: String { message }
        init(_ message: String, _ body: @escaping @Sendable (SimulatedCluster) async throws -> Void) {
            self.message = message
            self.body = body
        }
    }
}

extension Sequence {
    fileprivate func asyncMap<Value>(_ transform: (Element) async throws -> Value) async throws -> [Value] {
        var values: [Value] = []
        for element in self { values.append(try await transform(element)) }
        return values
    }
}
