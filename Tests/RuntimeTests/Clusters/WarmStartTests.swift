import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("What a start costs", .timeLimit(.minutes(5)))
struct WarmStartTests {
    /// Records nothing before somebody signals it.
    private static let patient = Workflow<Int, Int>("patient", version: 1) { input, context in
        try await context.receive(WorkflowSignal<Int>("go")) + input
    }

    @Test(
        "TT-43: a start in a cluster that is kept ready is one entry of its log, none of management's; an old view costs one question"
    )
    func warmStart() async throws {
        try await withSimulation(seed: 1, nodes: 0, workflows: [Self.patient]) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy(
                    maximumWorkflowsPerCluster: 1, targetClusterSize: 3, strategy: .leastLoaded)
                policy.singleClusterBelow = 3
                policy.readyClusters = 2
                configuration.executionClusterPolicy = policy
            }
            for _ in 0..<7 { simulation.addNode(workflows: [Self.patient]) }
            try await simulation.wait(until: "two clusters are ready", within: .seconds(120)) {
                guard simulation.runningNodes.count == 7, let fleet = try? await simulation.node(7).fleet() else {
                    return false
                }
                return fleet.mode == "twoTier" && fleet.clusters.filter { $0.phase == "active" }.count >= 2
            }
            await simulation.advance(by: .seconds(10))
            // Whoever belongs to none of the clusters asks others.
            let clusters = try await simulation.node(1).clusters()
            let members = Set(clusters.flatMap { $0.members.map { Int($0.node) } })
            let outsider = try #require(simulation.nodes.first { !members.contains($0) }, "\(members)")
            let insider = try #require(members.first)

            let before = try await indexes(simulation)
            let first = try await start(1, on: insider, simulation)
            let after = try await indexes(simulation)
            #expect(after.management == before.management)
            #expect(after.clusters - before.clusters == 1)

            // Nobody has heard of it yet: the outsider takes the same cluster, is refused, and takes the other.
            let asked = try await simulation.node(outsider).trafficCounters().requests
            let second = try await start(2, on: outsider, simulation)
            let questions = try await simulation.node(outsider).trafficCounters().requests - asked
            #expect(questions == 2)
            let last = try await indexes(simulation)
            #expect(last.management == before.management)
            #expect(GeneratedID(first)?.group != GeneratedID(second)?.group)
            for id in [first, second] { try await simulation.node(3).signal(id, WorkflowSignal<Int>("go"), 1) }
            #expect(try await simulation.node(4).result(of: second, as: Int.self, timeout: .seconds(10)) == 3)
        }
    }

    private func start(_ input: Int, on number: Int, _ simulation: SimulatedCluster) async throws -> String {
        try await simulation.node(number).running().router.start(
            type: "patient", version: nil, id: nil, input: Array("\(input)".utf8)
        ).workflowID
    }

    /// How many entries the leaders have committed: of the management group, and of all clusters together.
    private func indexes(_ simulation: SimulatedCluster) async throws -> (management: UInt64, clusters: UInt64) {
        var known: [GroupID: UInt64] = [:]
        for number in simulation.runningNodes {
            for group in simulation.hostedGroups(number) {
                let index = try await group.report().commitIndex.rawValue
                known[group.identity.group] = max(known[group.identity.group] ?? 0, index)
            }
        }
        let management = known.removeValue(forKey: NodeStart.managementGroup.group)
        return (management ?? 0, known.values.reduce(0, +))
    }
}
