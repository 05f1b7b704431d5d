import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// The life of a cluster as an operator sees it, from its making to its end.
@Suite("The stages of a cluster", .timeLimit(.minutes(5)))
struct ClusterStagesTests {
    private static let journey = Workflow<Int, Int>("journey", version: 1) { input, context in
        let doubled = try await context.step("double") { _ in input * 2 }
        try await context.sleep(for: .seconds(20))
        return doubled
    }

    @Test("TT-13: a cluster is created, a run is assigned to it and executed, and it is destroyed, in this order")
    func stages() async throws {
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            guard configuration.founds else { return }
            var policy = ExecutionClusterPolicy()
            // Five nodes run workflows in execution clusters already, and these in one of their own.
            policy.singleClusterBelow = 5
            policy.pinnedTypes = ["journey"]
            configuration.executionClusterPolicy = policy
        }
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.journey], configure: configure) { simulation in
            // Not a member of the cluster: it starts, watches and drains all the same.
            let node = try simulation.node(5)
            try await simulation.wait(until: "the first cluster is gone", within: .seconds(120)) {
                try await node.fleet().mode == "twoTier"
            }
            let heir = try #require(try await node.clusters().first?.id)

            let id = try await node.createCluster(on: [1, 2, 3].map { NodeID($0) }, pinnedType: "journey")
            let group = try await node.cluster(id).group
            let created = try await node.cluster(id)
            #expect(created.phase == "active" && created.workflows == 0 && created.idleSince != nil)
            try await simulation.wait(until: "a leader, and nothing to complain of") {
                let cluster = try await node.cluster(id)
                return cluster.leader != nil && cluster.problem == nil && cluster.waitsFor.isEmpty
            }

            let run = try await node.start(Self.journey, id: "journey-1", input: 21)
            simulation.note("the run is assigned")
            let owner = try #require(try await node.describe("journey-1").info.owner)
            #expect([1, 2, 3].contains(owner.rawValue))
            try await simulation.wait(until: "management has heard of it") {
                try await node.clusters().first { $0.id == id }?.activeWorkflows == ["journey": 1]
            }
            #expect(try await node.cluster(id).idleSince == nil)

            #expect(try await run.result() == 42)
            simulation.note("the run has ended")
            try await simulation.wait(until: "management has heard of its end") {
                let cluster = try await node.clusters().first { $0.id == id }
                return cluster?.activeWorkflows == [:] && cluster?.idleSince != nil
            }
            // What has ended is still asked for, so it is not empty.
            await #expect(throws: NodeError.self) { try await node.destroyCluster(id) }

            try await node.drainCluster(id, into: heir)
            simulation.note("the cluster is drained")
            try await simulation.wait(until: "it is sealed and destroyed", within: .seconds(120)) {
                try await !node.clusters().contains { $0.id == id }
            }
            for member in 1...3 {
                try await simulation.wait(until: "node \(member) has no replica") {
                    try await simulation.node(member).running().core.hosted[GroupID(group)] == nil
                }
            }
            #expect(try await node.describe("journey-1").info.status == .completed, "its run has moved")

            // The log's line comes after the replica has gone.
            let removal = "group \(group) has no replica here any more"
            try await simulation.wait(until: "all three have said that they gave it up") {
                (1...3).allSatisfy { simulation.eventLog.contains("node \($0): \(removal)") }
            }
            let lines = simulation.eventLog.split(separator: "\n").map(String.init)
            let stages = [
                "group \(group) is founded", "the run is assigned", "the run has ended", "the cluster is drained",
                removal,
            ]
            let places = stages.compactMap { stage in
                lines.firstIndex { $0.hasSuffix(stage) || $0.contains(stage + " ") }
            }
            #expect(places.count == stages.count && places == places.sorted(), "\(places)")
        }
    }
}
