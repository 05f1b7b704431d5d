import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla
@testable import FlotillaActors

/// What a node does at the edges of its life: half-founded, compacted to nothing, removed, with a failed disk.
@Suite struct NodeFaultTests {
    private static let waiting = Workflow("waiting", version: 1) {
        (order: Int, context: WorkflowContext) async throws -> Int in
        var sum = 0
        for number in 1...5 {
            sum += try await context.step("step \(number)") { _ in number }
            try await context.sleep(for: .seconds(1))
        }
        return sum
    }

    @Test("RM-10: a founder that loses power at any point of its founding founds at its next start")
    func foundingIsInterrupted() async throws {
        for changes in 1...40 {
            for seed in Simulation.seeds(1) {
                _ = try await Simulation.run(seed: seed) { world in
                    world.disk(of: NodeID(1)).losePower(afterChanges: changes, .prefixKept)
                    try await SimulatedNodes.inWorld(world, 1, [Self.waiting], untilFormed: false) { nodes in
                        let process = world.process(of: NodeID(1))!
                        try await world.wait(until: "power lost or founded", within: .seconds(20)) {
                            guard process.isAlive else { return true }
                            return (try? await nodes.node(1).status().ready) ?? false
                        }
                        if !process.isAlive {
                            nodes.crash(1)
                            nodes.start(1)
                        }
                        try await nodes.untilFormed()
                    }
                }
            }
        }
    }

    @Test("a cluster whose logs are compacted into snapshots finds itself again after all of it lost power")
    func restartFromSnapshots() async throws {
        try await SimulatedNodes.run(3, seeds: 3, workflows: [Self.waiting]) { nodes in
            nodes.snapshotThreshold = 1
            for id in nodes.ids {
                await nodes.stop(id)
                nodes.start(id)
                try await nodes.untilFormed()
            }
            _ = try await nodes.node(1).start(Self.waiting, id: "a", input: 1)
            #expect(try await nodes.node(2).result(of: "a", as: Int.self) == 15)
            try await nodes.world.sleep(for: .seconds(5))
            for id in nodes.ids { nodes.crash(id, .powerLost(.dropped)) }
            for id in nodes.ids { nodes.start(id) }
            try await nodes.untilFormed()
        }
    }

    @Test("of two nodes the one that votes and leads can be removed: the other takes its place")
    func theOnlyVoterIsRemoved() async throws {
        try await SimulatedNodes.run(2, seeds: 3, workflows: [Self.waiting]) { nodes in
            _ = try await nodes.node(1).start(Self.waiting, id: "a", input: 1)
            try await nodes.node(2).removeNode(NodeID(1))
            try await nodes.wait("node 2 alone") { nodes in
                try await nodes[2]!.status().groups.allSatisfy {
                    $0.voters == [2] && $0.learners == [] && $0.leader == 2
                }
            }
            nodes.crash(1)
            #expect(try await nodes.node(2).result(of: "a", as: Int.self) == 15)
        }
    }

    @Test("a node whose log cannot be written loses its workflows to others, and says what is wrong with it")
    func failedDisk() async throws {
        try await SimulatedNodes.run(3, seeds: 4, workflows: [Self.waiting]) { nodes in
            _ = try await nodes.node(1).start(Self.waiting, id: "a", input: 1)
            let owner = try await nodes.owner(of: "a")!
            nodes.world.disk(of: NodeID(owner)).failNext(.sync)
            let other = nodes.ids.first { $0 != owner }!
            #expect(try await nodes.node(other).result(of: "a", as: Int.self, timeout: .seconds(60)) == 15)
            let status = try await nodes.node(owner).status()
            #expect(!status.ready)
            #expect(status.warnings.contains { $0.contains("could not be written") }, "\(status.warnings)")
        }
    }

    @Test("a removed node that comes back with an empty disk is a new member under its old id")
    func comesBackEmpty() async throws {
        try await SimulatedNodes.run(3, seeds: 8, workflows: [Self.waiting]) { nodes in
            nodes.crash(3, .powerLost(.dropped))
            nodes.world.disk(of: NodeID(3)).wipe()
            try await nodes.node(2).removeNode(NodeID(3))
            nodes.start(3)
            try await nodes.untilFormed()
            let replicas = try await nodes.node(3).status().groups.map(\.replica)
            #expect(replicas.allSatisfy { $0 > 3 }, "a replica id is used once: \(replicas)")
        }
    }

    @Test("nothing of a node is left in memory after it has ended")
    func nothingIsLeft() async throws {
        try await SimulatedNodes.run(3, seeds: 1, workflows: [Self.waiting]) { nodes in
            _ = try await nodes.node(1).start(Self.waiting, id: "a", input: 1)
            let watch = Watch()
            try await watch.look(at: nodes.node(2))
            await nodes.stop(2)
            try await nodes.world.sleep(for: .seconds(5))
            #expect(watch.left == [])
        }
    }

    /// Holds parts of a node weakly. `@unchecked`: used on the simulation's thread only.
    private final class Watch: @unchecked Sendable {
        weak var core: NodeCore?
        weak var scheduler: GroupScheduler?
        weak var transport: Transport?
        weak var group: RaftGroup?
        weak var services: NodeServices?

        func look(at node: Node) async throws {
            let services = try await node.running()
            self.services = services
            core = services.core
            scheduler = services.core.scheduler
            transport = services.core.transport
            group = try await services.executionGroup
        }

        var left: [String] {
            var left: [String] = []
            if core != nil { left.append("core") }
            if scheduler != nil { left.append("scheduler") }
            if transport != nil { left.append("transport") }
            if group != nil { left.append("group") }
            if services != nil { left.append("services") }
            return left
        }
    }
}
