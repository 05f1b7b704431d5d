import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("A fleet of fifty", .timeLimit(.minutes(10)))
struct FiftyNodesTests {
    private static let order = Workflow<Int, Int>("order_processing", version: 1) { number, context in
        try await context.checkpoint("received", number)
        return try await context.step("charge") { _ in number * 2 }
    }

    @Test(
        "TT-01, TT-02, TT-18, TT-34: of 50 nodes 3 vote and 47 learn; a workflow starts on each, and any other has its result"
    )
    func fifty() async throws {
        try await withSimulation(seed: 1, nodes: 0, workflows: [Self.order]) { simulation in
            simulation.configure = { configuration in
                let isVoter = configuration.id.rawValue <= 3
                configuration = configuration.withManagementRole(isVoter ? .voter : .learner)
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.targetVoterCount = 3
                configuration = configuration.withExecutionClusterPolicy(policy)
            }
            for _ in 0..<50 { simulation.addNode(workflows: [Self.order]) }
            try await simulation.wait(until: "fifty nodes in two tiers", within: .seconds(120)) {
                for number in 1...50 {
                    guard let node = try? simulation.node(number), let status = try? await node.status(), status.ready
                    else { return false }
                    let view = try await node.running().machines.management.withLock { $0 }
                    guard view.nodes.count == 50, view.mode == .twoTier, view.voters.count == 3 else { return false }
                }
                return true
            }
            for number in 1...50 {
                let id = "order-\(number)"
                let run = try await simulation.node(number).start(Self.order, id: id, input: number)
                #expect(!run.started.existed)
                let other = 1 + (number * 7) % 50
                let result = try await simulation.node(other).result(of: id, as: Int.self, timeout: .seconds(20))
                #expect(result == 2 * number)
            }
            let management = try await simulation.node(1).running().managementGroup.membership()
            #expect(management.voters.count == 3 && management.learners.count == 47)
            for number in 4...50 { simulation.crash(number) }
            // Three are enough to decide, whoever else is away.
            var policy = try await simulation.node(2).policy()
            policy.readyClusters = 0
            policy.loadLimit = 0.7
            try await simulation.node(2).setPolicy(policy)
            #expect(try await simulation.node(1).policy().loadLimit == 0.7)
        }
    }
}
