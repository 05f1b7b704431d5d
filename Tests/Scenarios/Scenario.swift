import FlotillaIO
import FlotillaRaft
package import FlotillaSimulation

/// Something that nodes do in a simulated world while the faults of a schedule happen to them, and what must hold.
package struct Scenario: Sendable {
    package var name: String
    package var summary: String
    /// How many nodes a seed's world has.
    var nodeCounts: [Int]
    var rates: FaultRates
    var limits: SimulationLimits
    var body: @Sendable (ScenarioRun) async throws -> Void

    /// Small groups of nodes: what is run unless somebody names others.
    package static let usual: [Scenario] = [workflows, registers]
    /// Tens of nodes in two tiers, which take more time.
    package static let fleets: [Scenario] = [growth, shrinkage, rebalancing, tiers]
    package static let all: [Scenario] = usual + [compositions] + fleets

    package static func named(_ name: String) -> Scenario? { all.first { $0.name == name } }

    private func nodeCount(of seed: UInt64) -> Int {
        var generator = SeededGenerator(seed: seed)
        return nodeCounts[Int(generator.next() % UInt64(nodeCounts.count))]
    }

    /// The faults of a case, in the order of their starts.
    package func schedule(of instance: ScenarioCase) -> FaultSchedule {
        let nodes = (1...UInt64(nodeCount(of: instance.seed))).map { NodeID($0) }
        // Another one for each scenario, so that a seed is worth as many histories as there are scenarios.
        let seed = name.utf8.reduce(instance.seed) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        return FaultSchedule(seed: seed, nodes: nodes, over: .seconds(ScenarioCase.usualLoad), rates: rates)
            .keeping(instance.faults, before: .seconds(instance.load))
    }

    /// Runs one case on a thread of its own.
    /// - Throws: what went wrong.
    package func run(_ instance: ScenarioCase) async throws -> SimulationResult<Void> {
        let schedule = schedule(of: instance)
        let count = nodeCount(of: instance.seed)
        let load = Duration.seconds(instance.load)
        let body = body
        do {
            return try await Simulation.run(seed: instance.seed, limits: limits) { world in
                let begin = world.now
                try await body(
                    ScenarioRun(world: world, nodeCount: count, load: load, schedule: schedule))
                // A scenario that is over early has not shown anything.
                guard begin.duration(to: world.now) >= load else {
                    throw ScenarioFailure("it ended before its load of \(load)")
                }
            }
        } catch let error as SimulationError where error.code == .bodyFailed {
            throw error.cause ?? error
        }
    }
}

/// What a scenario's body works with.
package struct ScenarioRun: Sendable {
    package var world: SimulationWorld
    package var nodeCount: Int
    package var load: Duration
    package var schedule: FaultSchedule

    /// FLOTILLA_LOG=debug prints what nodes and faults have to say, as it happens.
    static let isTraced = Terminal.environment("FLOTILLA_LOG") == "debug"

    func log(_ text: @autoclosure () -> String) {
        guard Self.isTraced else { return }
        let milliseconds = world.now.nanoseconds / 1_000_000
        let rest = "\(milliseconds % 1_000)"
        let padded = String(repeating: "0", count: 3 - rest.count) + rest
        print("\(milliseconds / 1_000).\(padded) s  \(text())")
    }

    /// The logger of a node of this world.
    func logger(_ node: UInt64) -> FlotillaLogger {
        guard Self.isTraced else { return .silent }
        return FlotillaLogger(level: .debug) { _, message, metadata in
            log("node \(node): \(message) " + metadata.map { "\($0)=\($1)" }.joined(separator: " "))
        }
    }

    /// How much of its log a group keeps in memory in this run: nothing, little, or as much as in production.
    func drawLogWindow() -> Int { [0, 500, 5_000, 1 << 20][Int(world.random(below: 4))] }

    /// Lets the schedule happen to nodes until `end`, then heals them.
    func inject(into target: any FaultTarget, until end: MonotonicTime) async throws {
        try await FaultInjector(target, log: { text in log(text) }).run(schedule, until: end)
    }
}
