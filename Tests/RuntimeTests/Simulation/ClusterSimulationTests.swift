import Flotilla
import FlotillaIO
import FlotillaSimulation
import Testing

/// The verbs of a cluster simulation, and that one seed is one history of whole nodes.
@Suite struct ClusterSimulationTests {
    private static let pipeline = Workflow("pipeline", version: 1) {
        (name: String, context: WorkflowContext) async throws -> String in
        var text = name
        for stage in ["fetch", "build", "ship"] {
            text = try await context.step(stage) { [text] _ in "\(text) \(stage)" }
            try await context.sleep(for: .milliseconds(300))
        }
        return text + " \(try await context.uuid())"
    }

    /// One coordinator, three workers, work, and faults of every kind.
    @Sendable private static func scenario(_ simulation: SimulatedCluster) async throws {
        simulation.addNode(workflows: [])
        for _ in 1...3 { simulation.addNode(workflows: [pipeline]) }
        try await simulation.untilFormed()
        for number in 1...4 { try await simulation.submit(pipeline, id: "job-\(number)", input: "\(number)") }
        simulation.setClockRate(of: 2, to: 1.1)
        simulation.conditions = LinkConditions(
            delay: .milliseconds(1)...(.milliseconds(10)), loss: 0.02, duplication: 0.02, reorders: true)
        simulation.crash(3, unsynced: .anyKept)
        simulation.partition([1], from: [2, 4])
        await simulation.advance(by: .seconds(2))
        simulation.heal()
        simulation.restart(3)
        try await simulation.runUntilComplete()
    }

    @Test("CE-27: coordinator, workers, submit, run until complete: one seed has one event log, byte for byte")
    func verbs() async throws {
        for seed in Simulation.seeds(3) {
            let log = try await verifyDeterminism(seed: seed, nodes: 0, workflows: [], Self.scenario)
            for event in ["node 4: added", "run 'job-4' of", "power lost", "partition of [1]", "all runs have ended"] {
                #expect(log.contains(event), "\(event) is missing in\n\(log)")
            }
            let other = try await verifyDeterminism(seed: seed &+ 1, nodes: 0, workflows: [], Self.scenario)
            #expect(log != other)
        }
    }

    @Test("a scenario that looks at what the seed does not decide is found out, with the first line that differs")
    func notDeterministic() async throws {
        let count = Lock(0)
        let error = await #expect(throws: SimulationError.self) {
            try await verifyDeterminism(seed: 1, workflows: []) { simulation in
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                simulation.note("run \(number)")
            }
        }
        #expect(error?.code == .notDeterministic && error?.seed == 1)
        #expect(error?.message.contains("run 1' and") == true, "\(String(describing: error))")
    }
}
