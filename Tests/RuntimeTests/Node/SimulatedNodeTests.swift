import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What step bodies did in the world outside the cluster: how often each was run, and under which token.
final class Effects: Sendable {
    struct Effect: Hashable, Sendable {
        var step: String
        var key: String
        var token: UInt64
    }
    private let log = Lock<[Effect]>([])
    var all: [Effect] { log.withLock { $0 } }
    func add(_ step: String, _ context: StepContext) {
        log.withLock { $0.append(Effect(step: step, key: context.idempotencyKey, token: context.fencingToken)) }
    }
    func count(_ step: String) -> Int { log.withLock { $0.count { $0.step == step } } }
}

@Suite struct SimulatedNodeTests {
    struct Order: Codable, Sendable, Hashable {
        var id: Int
    }

    private static func steps(_ effects: Effects, _ count: Int = 5, pause: Duration = .seconds(1)) -> Workflow<
        Order, [String]
    > {
        Workflow("steps", version: 1) { (order: Order, context: WorkflowContext) async throws -> [String] in
            var results: [String] = []
            for number in 1...count {
                results.append(
                    try await context.step("step \(number)") { step in
                        effects.add("\(order.id)/\(number)", step)
                        return "\(order.id)/\(number)"
                    })
                try await context.sleep(for: pause)
            }
            return results
        }
    }

    @Test("a workflow that any node starts, any node can wait for, describe and list")
    func startAnywhere() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects)
        try await SimulatedNodes.run(3, seeds: 3, workflows: [workflow]) { nodes in
            let run = try await nodes.node(2).start(workflow, id: "a", input: Order(id: 1))
            let results = try await nodes.node(3).result(of: "a", as: [String].self)
            #expect(results == (1...5).map { "1/\($0)" })
            #expect(try await run.result() == results)
            let page = try await nodes.node(1).list()
            #expect(page.runs.map(\.workflowID) == ["a"] && page.runs[0].status == .completed)
        }
    }

    @Test("TT-56: the owner dies between any two steps: another completes the run, each recorded step ran once")
    func ownerDies() async throws {
        for killAfter in 1...5 {
            let effects = Effects()
            let workflow = Self.steps(effects)
            try await SimulatedNodes.run(3, seeds: 2, workflows: [workflow]) { nodes in
                let order = Order(id: Int(nodes.world.seed % 1_000_000))
                _ = try await nodes.node(1).start(workflow, id: "a", input: order)
                let step = "\(order.id)/\(killAfter)"
                try await nodes.wait("step \(killAfter)") { _ in effects.count(step) > 0 }
                // The body ran; whether it is recorded yet is up to the seed.
                try await nodes.world.sleep(for: .milliseconds(Int64(nodes.world.random(below: 800))))
                let observer = nodes.nodes.keys.sorted().last!
                let before = try await nodes.node(observer).describe("a")
                let owner = before.info.owner!.rawValue
                nodes.crash(owner, .powerLost(.dropped))
                let killedAt = nodes.world.now
                let survivor = nodes.nodes.keys.sorted()[0]
                let results = try await nodes.node(survivor).result(of: "a", as: [String].self)
                #expect(results == (1...5).map { "\(order.id)/\($0)" }, "seed \(nodes.world.seed)")
                let after = try await nodes.node(survivor).describe("a")
                #expect(after.epoch > before.epoch)
                for number in 1...5 {
                    let runs = effects.all.filter { $0.step == "\(order.id)/\(number)" }
                    let wasRecorded = before.steps.contains { $0.name == "step \(number)" }
                    #expect(wasRecorded ? runs.count == 1 : (1...2).contains(runs.count), "seed \(nodes.world.seed)")
                    #expect(Set(runs.map(\.key)).count == 1, "one idempotency key")
                    #expect(Set(runs.map(\.token)).count == runs.count, "each repetition has a token of its own")
                }
                #expect(killedAt.duration(to: nodes.world.now) < .seconds(12), "seed \(nodes.world.seed)")
            }
        }
    }

    @Test("an owner that is cut off loses its runs, cannot record anything, and serves again when it is back")
    func ownerCutOff() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects)
        try await SimulatedNodes.run(3, seeds: 3, workflows: [workflow]) { nodes in
            let order = Order(id: Int(nodes.world.seed % 1_000_000))
            _ = try await nodes.node(1).start(workflow, id: "a", input: order)
            try await nodes.wait("step 1") { _ in effects.count("\(order.id)/1") > 0 }
            let owner = try await nodes.owner(of: "a")!
            let others = nodes.ids.filter { $0 != owner }
            nodes.world.links.partition([[NodeID(owner)], others.map(NodeID.init)])
            #expect(try await nodes.node(others[0]).result(of: "a", as: [String].self).count == 5)
            nodes.world.links.healAll()
            try await nodes.wait("owner to serve again") { nodes in
                try await nodes[owner]!.status().ready
            }
            #expect(try await nodes.node(owner).describe("a").info.status == .completed)
            for number in 1...5 { #expect(effects.count("\(order.id)/\(number)") <= 2) }
        }
    }

    @Test("RM-10: all nodes restart one after the other after kill -9: same ids, same state, runs go on")
    func rollingRestart() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects, 5, pause: .seconds(3))
        try await SimulatedNodes.run(3, seeds: 3, workflows: [workflow]) { nodes in
            for number in 0..<6 {
                _ = try await nodes.node(1).start(workflow, id: "run-\(number)", input: Order(id: number))
            }
            let cluster = try await nodes.node(1).status().cluster
            for id in nodes.ids {
                nodes.crash(id, .powerLost(.prefixKept))
                try await nodes.world.sleep(for: .milliseconds(Int64(nodes.world.random(below: 1_500))))
                nodes.start(id)
                try await nodes.untilFormed()
                let status = try await nodes.node(id).status()
                #expect(status.node == id && status.cluster == cluster && status.boot == 2)
            }
            for number in 0..<6 {
                let results = try await nodes.node(2).result(of: "run-\(number)", as: [String].self)
                #expect(results.count == 5)
            }
            try await expectEqualHashes(nodes)
        }
    }

    @Test("RM-10: the whole cluster loses power at once and comes back: nothing that was acknowledged is lost")
    func wholeClusterRestarts() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects)
        try await SimulatedNodes.run(3, seeds: 5, workflows: [workflow]) { nodes in
            for number in 0..<4 {
                _ = try await nodes.node(UInt64(number % 3) + 1).start(
                    workflow, id: "run-\(number)", input: Order(id: number))
            }
            for id in nodes.ids { nodes.crash(id, .powerLost(.dropped)) }
            for id in nodes.ids.reversed() { nodes.start(id) }
            try await nodes.untilFormed()
            for number in 0..<4 {
                #expect(try await nodes.node(1).result(of: "run-\(number)", as: [String].self).count == 5)
            }
            try await expectEqualHashes(nodes)
        }
    }

    @Test("TT-20: a checkpoint is replicated, and readable after its owner was killed")
    func checkpoint() async throws {
        let workflow = Workflow("checkpoints", version: 1) {
            (order: Order, context: WorkflowContext) async throws -> Int in
            for value in 1...3 { try await context.checkpoint("progress", value * 10) }
            try await context.sleep(for: .seconds(5))
            return try await context.checkpoint("progress", as: Int.self) ?? -1
        }
        try await SimulatedNodes.run(3, seeds: 2, workflows: [workflow]) { nodes in
            _ = try await nodes.node(1).start(workflow, id: "a", input: Order(id: 1))
            try await nodes.wait("checkpoints") { try await $0[2]!.describe("a").checkpoints.count == 3 }
            let owner = try await nodes.owner(of: "a")!
            nodes.crash(owner)
            let survivor = nodes.nodes.keys.sorted()[0]
            let description = try await nodes.node(survivor).describe("a")
            #expect(description.checkpoints.map { String(decoding: $0.value, as: UTF8.self) } == ["10", "20", "30"])
            #expect(try await nodes.node(survivor).result(of: "a", as: Int.self) == 30)
        }
    }

    @Test("TT-55: a run of version 1 ends on version 1's code, and is parked, not lost, while no node has it")
    func versions() async throws {
        let one = Workflow("greeting", version: 1) { (order: Order, context: WorkflowContext) async throws -> String in
            try await context.sleep(for: .seconds(20))
            return "one"
        }
        let two = Workflow("greeting", version: 2) { (order: Order, context: WorkflowContext) async throws -> String in
            "two"
        }
        try await SimulatedNodes.run(3, seeds: 2, workflows: [one]) { nodes in
            _ = try await nodes.node(1).start(one, id: "old", input: Order(id: 1))
            for id in nodes.ids {
                await nodes.stop(id)
                nodes.workflows[id] = [two]
                nodes.start(id)
                try await nodes.untilFormed()
            }
            let parked = try await nodes.node(2).describe("old").info
            #expect(parked.status == .parked)
            #expect(parked.parkedReason?.contains("greeting") == true, "\(parked)")
            _ = try await nodes.node(1).start(two, id: "new", input: Order(id: 1))
            #expect(try await nodes.node(3).result(of: "new", as: String.self) == "two")
            await nodes.stop(2)
            nodes.workflows[2] = [one, two]
            nodes.start(2)
            #expect(try await nodes.node(1).result(of: "old", as: String.self) == "one")
        }
    }

    @Test("SIGTERM hands leadership and runs over: the others go on without waiting for a timeout")
    func gracefulStop() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects, 5, pause: .milliseconds(200))
        try await SimulatedNodes.run(3, seeds: 3, workflows: [workflow]) { nodes in
            for number in 0..<3 {
                _ = try await nodes.node(1).start(workflow, id: "run-\(number)", input: Order(id: number))
            }
            let leader = try await nodes.node(1).status().groups[1].leader!
            let other = nodes.ids.first { $0 != leader }!
            await nodes.stop(leader)
            let stoppedAt = nodes.world.now
            for number in 0..<3 { _ = try await nodes.node(other).result(of: "run-\(number)", as: [String].self) }
            #expect(stoppedAt.duration(to: nodes.world.now) < .seconds(2), "seed \(nodes.world.seed)")
            let status = try await nodes.node(other).status()
            #expect(status.groups.allSatisfy { $0.leader != leader && $0.leader != nil })
        }
    }

    @Test("a second node under a known id is refused by name")
    func duplicateNode() async throws {
        try await SimulatedNodes.run(2, seeds: 1, workflows: []) { nodes in
            nodes.crash(2)
            nodes.world.disk(of: NodeID(2)).wipe()
            let process = nodes.world.start(NodeID(2))
            let environment = NodeEnvironment(
                loop: process.loop, network: process.network, fileSystem: process.fileSystem,
                logWorker: process.makeWorker(), bulkWorker: process.makeWorker(), seed: 77, random: { 4 },
                shutdown: {})
            let node = Node(
                .init(id: 2, listen: "sim-2:7000", data: .directory("/data"), join: ["sim-1:7000"]), workflows: [],
                environment: environment)
            let error = await #expect(throws: NodeError.self) { try await node.run() }
            #expect(error?.code == .joinRefused)
            #expect(error?.message.contains("node 2 is a member with another data directory") == true, "\(error!)")
            process.end(.killed)
        }
    }

    @Test("one seed is one history")
    func determinism() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects, 2)
        var hashes: Set<UInt64> = []
        for _ in 0..<2 {
            let result = try await Simulation.run(seed: 42) { world in
                try await SimulatedNodes.inWorld(world, 3, [workflow]) { nodes in
                    _ = try await nodes.node(2).start(workflow, id: "a", input: Order(id: 1))
                    _ = try await nodes.node(3).result(of: "a", as: [String].self)
                }
            }
            hashes.insert(result.traceHash)
        }
        #expect(hashes.count == 1)
    }

    private func expectEqualHashes(_ nodes: SimulatedNodes) async throws {
        try await nodes.wait("equal state") { nodes in
            var hashes: Set<[String]> = []
            for (_, node) in nodes.sorted(by: { $0.key < $1.key }) {
                hashes.insert(
                    try await node.status(withHashes: true).groups.map { "\($0.appliedIndex):\($0.stateHash!)" })
            }
            return hashes.count == 1
        }
    }
}
