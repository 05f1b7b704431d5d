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
        try await withSimulations(seeds: 3, workflows: [workflow]) { simulation in
            let run = try await simulation.node(2).start(workflow, id: "a", input: Order(id: 1))
            let results = try await simulation.node(3).result(of: "a", as: [String].self)
            #expect(results == (1...5).map { "1/\($0)" })
            #expect(try await run.result() == results)
            let page = try await simulation.node(1).list()
            #expect(page.runs.map(\.workflowID) == ["a"] && page.runs[0].status == .completed)
        }
    }

    @Test("TT-56: the owner dies between any two steps: another completes the run, each recorded step ran once")
    func ownerDies() async throws {
        for killAfter in 1...5 {
            let effects = Effects()
            let workflow = Self.steps(effects)
            try await withSimulations(seeds: 2, workflows: [workflow]) { simulation in
                let order = Order(id: Int(simulation.world.seed % 1_000_000))
                _ = try await simulation.node(1).start(workflow, id: "a", input: order)
                let step = "\(order.id)/\(killAfter)"
                try await simulation.wait(until: "step \(killAfter)") { effects.count(step) > 0 }
                // The body ran; whether it is recorded yet is up to the seed.
                await simulation.advance(by: .milliseconds(Int64(simulation.world.random(below: 800))))
                let observer = simulation.runningNodes.last!
                let before = try await simulation.node(observer).describe("a")
                let owner = Int(before.info.owner!.rawValue)
                simulation.crash(owner, unsynced: .dropped)
                let killedAt = simulation.world.now
                let survivor = simulation.runningNodes[0]
                let results = try await simulation.node(survivor).result(of: "a", as: [String].self)
                #expect(results == (1...5).map { "\(order.id)/\($0)" }, "seed \(simulation.world.seed)")
                let after = try await simulation.node(survivor).describe("a")
                #expect(after.epoch > before.epoch)
                for number in 1...5 {
                    let runs = effects.all.filter { $0.step == "\(order.id)/\(number)" }
                    let wasRecorded = before.steps.contains { $0.name == "step \(number)" }
                    #expect(
                        wasRecorded ? runs.count == 1 : (1...2).contains(runs.count), "seed \(simulation.world.seed)")
                    #expect(Set(runs.map(\.key)).count == 1, "one idempotency key")
                    #expect(Set(runs.map(\.token)).count == runs.count, "each repetition has a token of its own")
                }
                #expect(killedAt.duration(to: simulation.world.now) < .seconds(12), "seed \(simulation.world.seed)")
            }
        }
    }

    @Test("an owner that is cut off loses its runs, cannot record anything, and serves again when it is back")
    func ownerCutOff() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects)
        try await withSimulations(seeds: 3, workflows: [workflow]) { simulation in
            let order = Order(id: Int(simulation.world.seed % 1_000_000))
            _ = try await simulation.node(1).start(workflow, id: "a", input: order)
            try await simulation.wait(until: "step 1") { effects.count("\(order.id)/1") > 0 }
            let owner = try await simulation.owner(of: "a")!
            let others = simulation.nodes.filter { $0 != owner }
            simulation.partition([owner], from: others)
            #expect(try await simulation.node(others[0]).result(of: "a", as: [String].self).count == 5)
            simulation.heal()
            try await simulation.wait(until: "the owner serves again") {
                try await simulation.node(owner).status().ready
            }
            #expect(try await simulation.node(owner).describe("a").info.status == .completed)
            for number in 1...5 { #expect(effects.count("\(order.id)/\(number)") <= 2) }
        }
    }

    @Test("RM-10: all nodes restart one after the other after kill -9: same ids, same state, runs go on")
    func rollingRestart() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects, 5, pause: .seconds(3))
        try await withSimulations(seeds: 3, workflows: [workflow]) { simulation in
            for number in 0..<6 {
                _ = try await simulation.node(1).start(workflow, id: "run-\(number)", input: Order(id: number))
            }
            let cluster = try await simulation.node(1).status().cluster
            for id in simulation.nodes {
                simulation.crash(id, unsynced: .prefixKept)
                await simulation.advance(by: .milliseconds(Int64(simulation.world.random(below: 1_500))))
                simulation.restart(id)
                try await simulation.untilFormed()
                let status = try await simulation.node(id).status()
                #expect(status.node == UInt64(id) && status.cluster == cluster && status.boot == 2)
            }
            for number in 0..<6 {
                let results = try await simulation.node(2).result(of: "run-\(number)", as: [String].self)
                #expect(results.count == 5)
            }
            try await simulation.untilConverged()
        }
    }

    @Test("RM-10: the whole cluster loses power at once and comes back: nothing that was acknowledged is lost")
    func wholeClusterRestarts() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects)
        try await withSimulations(seeds: 5, workflows: [workflow]) { simulation in
            for number in 0..<4 {
                _ = try await simulation.node(number % 3 + 1).start(
                    workflow, id: "run-\(number)", input: Order(id: number))
            }
            for id in simulation.nodes { simulation.crash(id, unsynced: .dropped) }
            for id in simulation.nodes.reversed() { simulation.restart(id) }
            try await simulation.untilFormed()
            for number in 0..<4 {
                #expect(try await simulation.node(1).result(of: "run-\(number)", as: [String].self).count == 5)
            }
            try await simulation.untilConverged()
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
        try await withSimulations(seeds: 2, workflows: [workflow]) { simulation in
            _ = try await simulation.node(1).start(workflow, id: "a", input: Order(id: 1))
            try await simulation.wait(until: "checkpoints") {
                try await simulation.node(2).describe("a").checkpoints.first?.count == 3
            }
            let owner = try await simulation.owner(of: "a")!
            simulation.crash(owner)
            let survivor = simulation.runningNodes[0]
            let history = try await simulation.node(survivor).checkpoints("progress", of: "a").checkpoints
            #expect(history.map { String(decoding: $0.value, as: UTF8.self) } == ["10", "20", "30"])
            #expect(try await simulation.node(survivor).result(of: "a", as: Int.self) == 30)
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
        try await withSimulations(seeds: 2, workflows: [one]) { simulation in
            _ = try await simulation.node(1).start(one, id: "old", input: Order(id: 1))
            for id in simulation.nodes {
                await simulation.stop(id)
                simulation.restart(id, workflows: [two])
                try await simulation.untilFormed()
            }
            let parked = try await simulation.node(2).describe("old").info
            #expect(parked.status == .parked)
            #expect(parked.parkedReason?.contains("greeting") == true, "\(parked)")
            _ = try await simulation.node(1).start(two, id: "new", input: Order(id: 1))
            #expect(try await simulation.node(3).result(of: "new", as: String.self) == "two")
            await simulation.stop(2)
            simulation.restart(2, workflows: [one, two])
            #expect(try await simulation.node(1).result(of: "old", as: String.self) == "one")
        }
    }

    @Test("SIGTERM hands leadership and runs over: the others go on without waiting for a timeout")
    func gracefulStop() async throws {
        let effects = Effects()
        let workflow = Self.steps(effects, 5, pause: .milliseconds(200))
        try await withSimulations(seeds: 3, workflows: [workflow]) { simulation in
            for number in 0..<3 {
                _ = try await simulation.node(1).start(workflow, id: "run-\(number)", input: Order(id: number))
            }
            let leader = Int(try await simulation.node(1).status().groups[1].leader!)
            let other = simulation.nodes.first { $0 != leader }!
            await simulation.stop(leader)
            let stoppedAt = simulation.world.now
            for number in 0..<3 { _ = try await simulation.node(other).result(of: "run-\(number)", as: [String].self) }
            #expect(stoppedAt.duration(to: simulation.world.now) < .seconds(2), "seed \(simulation.world.seed)")
            let status = try await simulation.node(other).status()
            #expect(status.groups.allSatisfy { $0.leader != UInt64(leader) && $0.leader != nil })
        }
    }

    @Test("a second node under the id of one that is heard of is refused by name")
    func duplicateNode() async throws {
        try await withSimulations(seeds: 1, nodes: 2, workflows: []) { simulation in
            let process = simulation.world.start(NodeID(9))
            let environment = NodeEnvironment(
                loop: process.loop, network: process.network, fileSystem: process.fileSystem,
                logWorker: process.makeWorker(), bulkWorker: process.makeWorker(), seed: 77, random: { 4 },
                shutdown: {})
            let node = Node(
                .init(id: 2, listen: "sim-9:7000", data: .directory("/data"), join: ["sim-1:7000"]), workflows: [],
                environment: environment)
            let error = await #expect(throws: NodeError.self) { try await node.run() }
            #expect(error?.code == .joinRefused)
            #expect(error?.message.contains("node 2 is a member with another data directory") == true, "\(error!)")
            process.end(.killed)
        }
    }
}
