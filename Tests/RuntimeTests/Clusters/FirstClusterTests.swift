import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// A small fleet runs everything in one cluster, and leaves it when it grows.
@Suite("A fleet's first cluster", .timeLimit(.minutes(5)))
struct FirstClusterTests {
    private static let slow = Workflow<Int, Int>("slow", version: 1) { input, context in
        let first = try await context.step("first") { _ in input + 1 }
        try await context.sleep(for: .seconds(200))
        return try await context.step("second") { _ in first * 2 }
    }

    @Test(
        "TT-49, TT-53: up to nine nodes share one cluster beside the management group, also after they all lost power")
    func smallFleet() async throws {
        try await withSimulation(seed: 1, nodes: 9, workflows: [Self.slow]) { simulation in
            for number in 1...9 {
                _ = try await simulation.node(number).start(Self.slow, id: "slow-\(number)", input: number)
            }
            for number in 1...9 { simulation.crash(number, dropUnsynced: true) }
            for number in 1...9 { simulation.restart(number) }
            await simulation.advance(by: .seconds(60))
            let fleet = try await simulation.node(9).fleet()
            #expect(fleet.mode == "single" && fleet.clusters.map(\.spansFleet) == [true] && fleet.nodes.count == 9)
            for number in 1...9 {
                let result = try await simulation.node(10 - number).result(
                    of: "slow-\(number)", as: Int.self, timeout: .seconds(300))
                #expect(result == (number + 1) * 2)
            }
        }
    }

    @Test(
        "TT-50, TT-51: the tenth node ends it: new workflows go elsewhere, the old ones move, and there is no way back")
    func growth() async throws {
        try await withSimulation(seed: 2, nodes: 9, workflows: [Self.slow]) { simulation in
            let node = try simulation.node(1)
            for number in 0..<6 {
                let started = try await simulation.node(1 + number).start(Self.slow, id: "old-\(number)", input: number)
                #expect(!started.started.existed)
            }
            simulation.addNode(workflows: [Self.slow])
            try await simulation.wait(until: "it is being left") { try await node.fleet().mode != "single" }
            let new = try await simulation.node(2).startWorkflow(
                type: "slow", version: nil, id: nil, namespace: "default", input: .integer(7)
            ).info.workflowID
            #expect(GeneratedID(new)?.group != ExecutionCluster.commonGroup)
            let oldGroup = NodeStart.executionGroup.group
            try await simulation.wait(until: "it is gone from all nodes", within: .seconds(100)) {
                guard try await node.fleet().mode == "twoTier" else { return false }
                return simulation.nodes.allSatisfy { number in
                    !simulation.hostedGroups(number).contains { $0.identity.group == oldGroup }
                }
            }
            #expect(try await node.clusters().reduce(0) { $0 + $1.slots } == SlotMap.count)
            for number in 0..<6 {
                let info = try await simulation.node(10).describe("old-\(number)").info
                #expect(info.status == .running, "it has moved, and goes on")
            }
            // A smaller fleet, or a policy for a larger one, does not bring it back.
            try await node.removeNode(NodeID(10))
            try await simulation.setPolicy(on: 1) { $0.singleClusterBelow = 1_000 }
            await simulation.advance(by: .seconds(60))
            #expect(try await node.fleet().mode == "twoTier")
            for number in 0..<6 {
                let result = try await simulation.node(3).result(
                    of: "old-\(number)", as: Int.self, timeout: .seconds(300))
                #expect(result == (number + 1) * 2)
            }
            #expect(try await node.result(of: new, as: Int.self, timeout: .seconds(300)) == 16)
            // It would fail the simulation at its end: it was told to go.
            _ = simulation.takeFailure(of: 10)
        }
    }
}
