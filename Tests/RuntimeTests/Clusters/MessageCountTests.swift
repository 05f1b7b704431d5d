import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What a checkpoint costs a fleet in messages of groups between nodes. `flotilla-bench two-tier` measures the same over
/// sockets, with all that is said besides, and with 100 nodes.
@Suite("Messages per checkpoint", .timeLimit(.minutes(10)))
struct MessageCountTests {
    private static let recording = Workflow<Int, Int>("recording", version: 1) { count, context in
        for number in 0..<count { try await context.checkpoint("progress", number) }
        return count
    }
    private static let checkpointCount = 100

    /// Without the run's start and end, and their reports to the management group.
    private func messagesPerCheckpoint(_ nodes: Int, inOneCluster: Bool) async throws -> Double {
        let result = try await withSimulation(seed: 1, nodes: 0, workflows: [Self.recording]) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.singleClusterBelow = inOneCluster ? 1_000 : 1
                policy.readyClusters = inOneCluster ? 0 : 1
                configuration = configuration.withExecutionClusterPolicy(policy)
            }
            for _ in 0..<nodes { simulation.addNode(workflows: [Self.recording]) }
            try await simulation.wait(until: "the fleet is what it should be", within: .seconds(120)) {
                for number in 1...nodes {
                    guard let view = try? await simulation.fleet(number), view.nodes.count == nodes else {
                        return false
                    }
                    guard inOneCluster || view.mode == .twoTier else { return false }
                }
                let clusters = try await simulation.node(1).clusters(withLeaders: true)
                return clusters.allSatisfy {
                    $0.leader != nil && (inOneCluster ? $0.members.count == nodes : !$0.spansFleet)
                }
            }
            _ = try await messages(of: "first", checkpoints: 2, simulation)
            let without = try await messages(of: "without", checkpoints: 0, simulation)
            let with = try await messages(of: "with", checkpoints: Self.checkpointCount, simulation)
            return Double(with - without) / Double(Self.checkpointCount)
        }
        return result.value
    }

    /// Of a run from its start to the report of its end.
    private func messages(
        of id: String, checkpoints: Int, _ simulation: SimulatedCluster
    ) async throws -> Int {
        let before = try await messages(simulation)
        let run = try await simulation.node(1).start(Self.recording, id: id, input: checkpoints)
        #expect(try await run.result(timeout: .seconds(60)) == checkpoints)
        await simulation.advance(by: .seconds(2))
        return try await messages(simulation) - before
    }

    private func messages(_ simulation: SimulatedCluster) async throws -> Int {
        var count: UInt64 = 0
        for number in simulation.runningNodes {
            count += try await simulation.node(number).trafficCounters().groupMessages
        }
        return Int(count)
    }

    @Test(
        "TT-21, TT-32, TT-35: of N nodes a checkpoint costs N / 5 times fewer messages in two tiers than in one cluster",
        arguments: [10, 20, 50])
    func reduction(nodes: Int) async throws {
        let one = try await messagesPerCheckpoint(nodes, inOneCluster: true)
        let two = try await messagesPerCheckpoint(nodes, inOneCluster: false)
        #expect(two * Double(nodes) / 5 <= one, "\(one) in one cluster, \(two) in two tiers")
    }
}
