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
            try await withSimulation(
                seed: seed, workflows: [workflow], limits: limits, configure: snapshotOften
            ) { simulation in
                try await Self.history(simulation, workflow, effects)
            }
        }
    }

    private static func history(
        _ simulation: SimulatedCluster, _ workflow: Workflow<Int, [String]>, _ effects: Effects
    ) async throws {
        let world = simulation.world
        let acknowledged = Lock<Set<Int>>([])
        /// Steps that somebody has seen recorded, and how often their bodies had run by then.
        let recorded = Lock<[String: Int]>([:])
        let end = world.now.advanced(by: faultTime)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<4 {
                group.addTask {
                    var number = client * 1_000
                    while world.now < end {
                        if try await start(number, workflow, simulation) {
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
                    await look(simulation, acknowledged.withLock { $0.sorted().suffix(5) }, effects, recorded)
                }
            }
            group.addTask { try await faults(simulation, until: end) }
            try await group.waitForAll()
        }
        heal(simulation)
        try await simulation.untilFormed()
        let runs = acknowledged.withLock { $0.sorted() }
        #expect(runs.count > 10, "seed \(world.seed): a load of \(runs.count) runs")
        for number in runs {
            let id = simulation.nodes[number % simulation.nodes.count]
            let results = try await simulation.node(id).result(
                of: "run-\(number)", as: [String].self, timeout: .seconds(120))
            #expect(results == (1...stepCount).map { "\(number)/\($0)" }, "seed \(world.seed)")
        }
        check(effects, recorded.withLock { $0 }, world.seed)
        try await simulation.untilConverged()
    }

    /// - Returns: whether the start was acknowledged. The same start is asked for until then, or given up.
    private static func start(
        _ number: Int, _ workflow: Workflow<Int, [String]>, _ simulation: SimulatedCluster
    ) async throws -> Bool {
        for _ in 0..<3 {
            let running = simulation.runningNodes
            if !running.isEmpty,
                let node = try? simulation.node(running[Int(simulation.world.random(below: UInt64(running.count)))])
            {
                do {
                    _ = try await withTimeLimit(.seconds(10), simulation.world) {
                        try await node.start(workflow, id: "run-\(number)", input: number)
                    }
                    return true
                } catch let error as WorkflowError where error.code == .conflict {
                    throw error
                } catch {
                    // Unknown outcome, or a node that is not there: asked again.
                }
            }
            try await simulation.world.sleep(for: .milliseconds(300))
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
        _ simulation: SimulatedCluster, _ numbers: ArraySlice<Int>, _ effects: Effects, _ recorded: Lock<[String: Int]>
    ) async {
        guard let number = simulation.runningNodes.first, let node = try? simulation.node(number) else { return }
        for number in numbers {
            let description = try? await withTimeLimit(.seconds(2), simulation.world) {
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

    /// An owner that was cut off goes on until it hears that it lost its place. The world outside knows it by its
    /// token, which is below one that was seen before.
    private static func notFenced(_ runs: [Effects.Effect]) -> [Effects.Effect] {
        var highest: UInt64 = 0
        return runs.filter { run in
            defer { highest = max(highest, run.token) }
            return run.token > highest
        }
    }

    // MARK: Faults

    private static func faults(_ simulation: SimulatedCluster, until end: MonotonicTime) async throws {
        let world = simulation.world
        while world.now < end {
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 2_500)) + 200))
            let id = simulation.nodes[Int(world.random(below: UInt64(simulation.nodes.count)))]
            let neighbour = id % 3 + 1
            let isRunning = simulation.runningNodes.contains(id)
            switch world.random(below: 11) {
            case 0, 1: if isRunning { simulation.crash(id) }
            case 2: if isRunning { simulation.crash(id, unsynced: .dropped) }
            case 3: if isRunning { simulation.crash(id, unsynced: .prefixKept) }
            case 4: if isRunning { simulation.crash(id, unsynced: .anyKept) }
            case 5: simulation.partition([id], from: simulation.nodes.filter { $0 != id })
            case 6: simulation.cut(from: [id], to: [neighbour])
            case 7: simulation.conditions.loss = Double(world.random(below: 10)) / 100
            case 8:
                simulation.conditions.reorders.toggle()
                simulation.resetConnections(between: id, and: neighbour)
            case 9:
                try simulation.disk(id).failNext(.sync)
                try await world.sleep(for: .milliseconds(Int64(world.random(below: 3_000))))
                // Whoever looks after a node restarts it then, and its disk works again.
                try simulation.disk(id).failNext(.sync, count: 0)
                if simulation.runningNodes.contains(id) { simulation.crash(id) }
            default:
                if isRunning { simulation.pause(id) }
                try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_500))))
                if simulation.runningNodes.contains(id) { simulation.resume(id) }
            }
            if world.chance(0.5) { simulation.heal() }
            if world.chance(0.7) { restartAll(simulation) }
        }
    }

    /// Starts all nodes that are down, those too that a failed disk kept from starting.
    private static func restartAll(_ simulation: SimulatedCluster) {
        for id in simulation.nodes where !simulation.runningNodes.contains(id) { simulation.restart(id) }
    }

    private static func heal(_ simulation: SimulatedCluster) {
        simulation.heal()
        simulation.conditions = LinkConditions()
        for id in simulation.runningNodes { simulation.resume(id) }
        restartAll(simulation)
    }
}
