import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Whole nodes under a load of workflows, while nodes are killed, lose power, and cannot hear each other.
@Suite struct RandomFaultTests {
    private static let stepCount = 3
    /// Virtual time under faults.
    private static let faultTime: Duration = .seconds(60)

    private static func workflow(_ effects: Effects) -> Workflow<Int, [String]> {
        Workflow("random", version: 1) { (number: Int, context: WorkflowContext) async throws -> [String] in
            var results: [String] = []
            for step in 1...stepCount {
                results.append(
                    try await context.step("step \(step)") { scope in
                        effects.add("\(number)/\(step)", scope)
                        return "\(number)/\(step)"
                    })
                try await context.sleep(for: .milliseconds(Int64(number % 7) * 300 + 100))
            }
            return results
        }
    }

    @Test("TT-56: kills, power losses, cuts and loss: acknowledged runs complete, each recorded step ran once in it")
    func randomFaults() async throws {
        for seed in Simulation.seeds(5) {
            let effects = Effects()
            let workflow = Self.workflow(effects)
            let limits = SimulationLimits(virtualTime: .seconds(1_200), steps: 50_000_000)
            _ = try await Simulation.run(seed: seed, limits: limits) { world in
                try await SimulatedNodes.inWorld(world, 3, [workflow]) { nodes in
                    try await Self.history(nodes, workflow, effects)
                }
            }
        }
    }

    private static func history(
        _ nodes: SimulatedNodes, _ workflow: Workflow<Int, [String]>, _ effects: Effects
    ) async throws {
        let world = nodes.world
        let acknowledged = Lock<Set<Int>>([])
        /// Steps that somebody has seen recorded, and how often their bodies had run by then.
        let recorded = Lock<[String: Int]>([:])
        let end = world.now.advanced(by: faultTime)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<4 {
                group.addTask {
                    var number = client * 1_000
                    while world.now < end {
                        if try await start(number, workflow, nodes) {
                            _ = acknowledged.withLock { $0.insert(number) }
                        }
                        number += 1
                        try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_200)) + 100))
                    }
                }
            }
            group.addTask {
                while world.now < end {
                    try await world.sleep(for: .milliseconds(500))
                    await look(nodes, acknowledged.withLock { $0.sorted().suffix(5) }, effects, recorded)
                }
            }
            group.addTask { try await faults(nodes, until: end) }
            try await group.waitForAll()
        }
        heal(nodes)
        try await nodes.untilFormed()
        let runs = acknowledged.withLock { $0.sorted() }
        #expect(runs.count > 10, "seed \(world.seed): a load of \(runs.count) runs")
        for number in runs {
            let id = nodes.ids[number % nodes.ids.count]
            let results = try await nodes.node(id).result(
                of: "run-\(number)", as: [String].self, timeout: .seconds(120))
            #expect(results == (1...stepCount).map { "\(number)/\($0)" }, "seed \(world.seed)")
        }
        check(effects, recorded.withLock { $0 }, world.seed)
        try await nodes.wait("equal state") { nodes in
            var hashes: Set<[String]> = []
            for (_, node) in nodes.sorted(by: { $0.key < $1.key }) {
                let groups = try await node.status(withHashes: true).groups
                hashes.insert(groups.map { "\($0.appliedIndex):\($0.stateHash!)" })
            }
            return hashes.count == 1
        }
    }

    /// - Returns: whether the start was acknowledged. The same start is asked for until then, or given up.
    private static func start(
        _ number: Int, _ workflow: Workflow<Int, [String]>, _ nodes: SimulatedNodes
    ) async throws -> Bool {
        for _ in 0..<3 {
            let running = nodes.nodes.keys.sorted()
            if !running.isEmpty, let node = nodes.nodes[running[Int(nodes.world.random(below: UInt64(running.count)))]]
            {
                do {
                    _ = try await withTimeLimit(.seconds(10), nodes.world) {
                        try await node.start(workflow, id: "run-\(number)", input: number)
                    }
                    return true
                } catch let error as WorkflowError where error.code == .conflict {
                    throw error
                } catch {
                    // Unknown outcome, or a node that is not there: asked again.
                }
            }
            try await nodes.world.sleep(for: .milliseconds(300))
        }
        return false
    }

    /// A node that was killed never answers; in a process, its callers would have died with it.
    private static func withTimeLimit<Value: Sendable>(
        _ limit: Duration, _ world: SimulationWorld, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await world.sleep(for: limit)
                throw CancellationError()
            }
            defer { group.cancelAll() }
            return try await group.next()!
        }
    }

    /// Notes what is recorded now: from here on, those bodies must not run any more.
    private static func look(
        _ nodes: SimulatedNodes, _ numbers: ArraySlice<Int>, _ effects: Effects, _ recorded: Lock<[String: Int]>
    ) async {
        guard let node = nodes.nodes.sorted(by: { $0.key < $1.key }).first?.value else { return }
        for number in numbers {
            let description = try? await withTimeLimit(.seconds(2), nodes.world) {
                try await node.describe("run-\(number)")
            }
            for step in description?.steps ?? [] {
                let name = "\(number)/\(step.name.dropFirst("step ".count))"
                let count = notFenced(effects.all.filter { $0.step == name }).count
                recorded.withLock { $0[name] = $0[name] ?? count }
            }
        }
    }

    private static func check(_ effects: Effects, _ recorded: [String: Int], _ seed: UInt64) {
        for (step, runs) in Dictionary(grouping: effects.all, by: \.step).sorted(by: { $0.key < $1.key }) {
            #expect(Set(runs.map(\.key)).count == 1, "seed \(seed), \(step): one idempotency key")
            let tokens = runs.map(\.token)
            #expect(Set(tokens).count == tokens.count, "seed \(seed), \(step): each of \(tokens) stands for one run")
            if let count = recorded[step] {
                #expect(notFenced(runs).count == count, "seed \(seed), \(step) ran again after it was recorded")
            }
        }
    }

    /// An owner that was cut off goes on until it hears that it lost its place. The world outside knows it by its token,
    /// which is below one that was seen before.
    private static func notFenced(_ runs: [Effects.Effect]) -> [Effects.Effect] {
        var highest: UInt64 = 0
        return runs.filter { run in
            defer { highest = max(highest, run.token) }
            return run.token > highest
        }
    }

    // MARK: Faults

    private static func faults(_ nodes: SimulatedNodes, until end: MonotonicTime) async throws {
        let world = nodes.world
        while world.now < end {
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 2_500)) + 200))
            let id = nodes.ids[Int(world.random(below: UInt64(nodes.ids.count)))]
            switch world.random(below: 11) {
            case 0, 1: restart(id, .killed, nodes)
            case 2: restart(id, .powerLost(.dropped), nodes)
            case 3: restart(id, .powerLost(.prefixKept), nodes)
            case 4: restart(id, .powerLost(.anyKept), nodes)
            case 5: world.links.partition([[NodeID(id)], nodes.ids.filter { $0 != id }.map(NodeID.init)])
            case 6: world.links.cut(from: NodeID(id), to: NodeID(id % 3 + 1))
            case 7: world.links.conditions.loss = Double(world.random(below: 10)) / 100
            case 8:
                world.links.conditions.reorders.toggle()
                world.links.reset(NodeID(id), NodeID(id % 3 + 1))
            case 9:
                world.disk(of: NodeID(id)).failNext(.sync)
                try await world.sleep(for: .milliseconds(Int64(world.random(below: 3_000))))
                // Whoever looks after a node restarts it then, and its disk works again.
                world.disk(of: NodeID(id)).failNext(.sync, count: 0)
                restart(id, .killed, nodes)
            default:
                world.process(of: NodeID(id))?.pause()
                try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_500))))
                world.process(of: NodeID(id))?.resume()
            }
            if world.chance(0.5) { world.links.healAll() }
            if world.chance(0.7) {
                for id in nodes.ids where nodes.nodes[id] == nil { nodes.start(id) }
            }
        }
    }

    /// Ends a node if it runs; it is started again later.
    private static func restart(_ id: UInt64, _ end: SimulatedProcess.End, _ nodes: SimulatedNodes) {
        if nodes.nodes[id] != nil { nodes.crash(id, end) }
    }

    private static func heal(_ nodes: SimulatedNodes) {
        nodes.world.links.healAll()
        nodes.world.links.conditions = LinkConditions()
        for id in nodes.ids {
            nodes.world.process(of: NodeID(id))?.resume()
            if nodes.nodes[id] == nil { nodes.start(id) }
        }
    }
}
