import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("A fleet that grows and shrinks", .timeLimit(.minutes(5)))
struct FleetGrowthTests {
    private static let slow = Workflow<Int, Int>("slow", version: 1) { input, context in
        let first = try await context.step("first") { _ in input + 1 }
        try await context.sleep(for: .seconds(300))
        return try await context.step("second") { _ in first * 2 }
    }

    @Test(
        "TT-27, TT-58: nodes that join five others have a cluster of their own and their share of the runs within two periods, and give both back when they leave"
    )
    func growth() async throws {
        try await withSimulation(seed: 1, nodes: 0, workflows: [Self.slow]) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.singleClusterBelow = 3
                configuration.executionClusterPolicy = policy
            }
            for _ in 0..<5 { simulation.addNode(workflows: [Self.slow]) }
            try await simulation.wait(until: "all five are in one cluster", within: .seconds(120)) {
                guard simulation.runningNodes.count == 5, let fleet = try? await simulation.node(1).fleet() else {
                    return false
                }
                return fleet.mode == "twoTier" && fleet.clusters.first?.members.count == 5
            }
            for number in 0..<16 {
                _ = try await simulation.node(1 + number % 5).start(Self.slow, id: "slow-\(number)", input: number)
            }
            for _ in 0..<3 { simulation.addNode(workflows: [Self.slow]) }
            try await simulation.wait(until: "eight nodes") { try await simulation.node(1).fleet().nodes.count == 8 }
            try await simulation.wait(until: "the load is even, and every node has a cluster", within: .seconds(60)) {
                let fleet = try await simulation.node(1).fleet()
                return fleet.clusters.count == 2 && fleet.imbalance <= 0.3
                    && fleet.nodes.allSatisfy { $0.clusters > 0 } && fleet.clusters.allSatisfy { $0.outgoing == 0 }
            }
            let moved = try await simulation.node(2).clusters().map { $0.activeWorkflows["slow"] ?? 0 }
            #expect(moved.reduce(0, +) == 16 && moved.allSatisfy { $0 > 0 }, "\(moved)")

            for number in 6...8 { try await simulation.node(1).drainNode(NodeID(UInt64(number))) }
            try await simulation.wait(until: "those that leave have nothing left", within: .seconds(60)) {
                let fleet = try await simulation.node(1).fleet()
                return fleet.nodes.filter { $0.id > 5 }.allSatisfy { $0.clusters == 0 }
                    && (6...8).allSatisfy { number in
                        simulation.hostedGroups(number).allSatisfy { $0.identity.kind != .workflow }
                    }
            }
            for number in 0..<16 {
                let result = try await simulation.node(1 + number % 5).result(
                    of: "slow-\(number)", as: Int.self, timeout: .seconds(400))
                #expect(result == (number + 1) * 2)
            }
        }
    }
}
