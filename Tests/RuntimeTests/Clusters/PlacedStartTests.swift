import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Starts in execution clusters", .timeLimit(.minutes(5)))
struct PlacedStartTests {
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("double") { _ in input * 2 }
    }
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { input, context in
        try await context.sleep(for: .seconds(20))
        return input
    }

    @Test("TT-18, TT-19: any node starts a workflow: the first one makes a cluster, and all nodes find the run")
    func anywhere() async throws {
        try await withSimulation(seed: 1, nodes: 7, workflows: [Self.quick, Self.waiting]) { simulation in
            try await simulation.node(1).running().manage([.beginMigration])
            var ids: [String] = []
            for number in 1...7 {
                let (info, isNew) = try await simulation.node(number).startWorkflow(
                    type: "quick", version: nil, id: nil, namespace: "default", input: .integer(Int64(number)))
                #expect(isNew)
                ids.append(info.workflowID)
            }
            #expect(try await simulation.node(1).clusters().count == 2, "the common one, and one more")
            for (number, id) in ids.enumerated() {
                for asked in 1...7 {
                    let output = try await simulation.node(asked).result(of: id, as: Int.self, timeout: .seconds(10))
                    #expect(output == 2 * (number + 1))
                }
            }
            let page = try await simulation.node(6).list()
            #expect(Set(page.runs.map(\.workflowID)) == Set(ids) && !page.isPartial)
            #expect(page.runs.map(\.startedAt) == page.runs.map(\.startedAt).sorted(), "TT-47")
        }
    }

    @Test("TT-19: a cluster takes no more workflows than the policy allows; the next one makes another cluster")
    func capacity() async throws {
        try await withSimulation(seed: 2, nodes: 5, workflows: [Self.waiting]) { simulation in
            let node = try simulation.node(1)
            var policy = try await node.policy()
            policy.maximumWorkflowsPerCluster = 3
            try await node.setPolicy(policy)
            try await node.running().manage([.beginMigration])
            for number in 0..<7 {
                _ = try await simulation.node(1 + number % 5).startWorkflow(
                    type: "waiting", version: nil, id: nil, namespace: "default", input: .integer(Int64(number)))
            }
            try await simulation.wait(until: "TT-08: the registry shows all", within: .seconds(1)) {
                try await simulation.node(4).clusters().reduce(0) { $0 + ($1.activeWorkflows["waiting"] ?? 0) } == 7
            }
            let counts = try await node.clusters().filter { !$0.spansFleet && $0.phase == "active" }.map {
                $0.activeWorkflows["waiting"] ?? 0
            }
            #expect(counts.count >= 3 && counts.allSatisfy { $0 <= 3 }, "\(counts)")
        }
    }

    @Test("an id of the user's begins elsewhere where its home, which is to run it, turns out to be full")
    func fullHome() async throws {
        try await withSimulation(seed: 3, nodes: 0, workflows: [Self.waiting]) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.maximumWorkflowsPerCluster = 2
                policy.singleClusterBelow = 3
                policy.targetClusterSize = 3
                configuration.executionClusterPolicy = policy
            }
            for _ in 0..<5 { simulation.addNode(workflows: [Self.waiting]) }
            try await simulation.wait(until: "two tiers") {
                guard let status = try? await simulation.node(5).status(), status.ready else { return false }
                let clusters = try await simulation.node(5).clusters()
                return clusters.contains { $0.slots > 0 } && !clusters.contains { $0.spansFleet }
            }
            for number in 0..<9 {
                let run = try await simulation.node(1 + number % 5).start(
                    Self.waiting, id: "w-\(number)", input: number)
                #expect(!run.started.existed)
                let again = try await simulation.node(1 + (number + 1) % 5).start(
                    Self.waiting, id: "w-\(number)", input: number)
                #expect(again.started.existed && again.runID == run.runID)
            }
            for number in 0..<9 {
                let result = try await simulation.node(2).result(
                    of: "w-\(number)", as: Int.self, timeout: .seconds(60))
                #expect(result == number)
            }
        }
    }
}
