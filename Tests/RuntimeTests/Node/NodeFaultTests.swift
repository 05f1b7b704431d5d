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
                try await withSimulation(seed: seed, nodes: 0, workflows: []) { simulation in
                    simulation.world.disk(of: NodeID(1)).losePower(afterChanges: changes, .prefixKept)
                    simulation.addNode(workflows: [Self.waiting])
                    try await simulation.wait(until: "power lost or founded", within: .seconds(20)) {
                        guard simulation.runningNodes == [1] else { return true }
                        return (try? await simulation.node(1).status().ready) ?? false
                    }
                    if simulation.runningNodes == [] { simulation.restart(1) }
                    try await simulation.untilFormed()
                }
            }
        }
    }

    @Test("a cluster whose logs are compacted into snapshots finds itself again after all of it lost power")
    func restartFromSnapshots() async throws {
        try await withSimulations(seeds: 3, nodes: 3, workflows: [Self.waiting]) { simulation in
            simulation.configure = { $0.groups.snapshotThreshold = 1 }
            for id in simulation.nodes {
                await simulation.stop(id)
                simulation.restart(id)
                try await simulation.untilFormed()
            }
            _ = try await simulation.node(1).start(Self.waiting, id: "a", input: 1)
            #expect(try await simulation.node(2).result(of: "a", as: Int.self) == 15)
            await simulation.advance(by: .seconds(5))
            for id in simulation.nodes { simulation.crash(id, unsynced: .dropped) }
            for id in simulation.nodes { simulation.restart(id) }
            try await simulation.untilFormed()
        }
    }

    @Test("of two nodes the one that votes and leads can be removed: the other takes its place")
    func theOnlyVoterIsRemoved() async throws {
        try await withSimulations(seeds: 3, nodes: 2, workflows: [Self.waiting]) { simulation in
            _ = try await simulation.node(1).start(Self.waiting, id: "a", input: 1)
            try await simulation.node(2).removeNode(NodeID(1))
            try await simulation.wait(until: "node 2 is alone") {
                try await simulation.node(2).status().groups.allSatisfy {
                    $0.voters == [2] && $0.learners == [] && $0.leader == 2
                }
            }
            simulation.crash(1)
            #expect(try await simulation.node(2).result(of: "a", as: Int.self) == 15)
        }
    }

    @Test("a node whose log cannot be written loses its workflows to others, and says what is wrong with it")
    func failedDisk() async throws {
        try await withSimulations(seeds: 4, nodes: 3, workflows: [Self.waiting]) { simulation in
            _ = try await simulation.node(1).start(Self.waiting, id: "a", input: 1)
            let owner = try await simulation.owner(of: "a")!
            try simulation.disk(owner).failNext(.sync)
            let other = simulation.nodes.first { $0 != owner }!
            #expect(try await simulation.node(other).result(of: "a", as: Int.self, timeout: .seconds(60)) == 15)
            let status = try await simulation.node(owner).status()
            #expect(!status.ready)
            #expect(status.warnings.contains { $0.contains("could not be written") }, "\(status.warnings)")
        }
    }

    @Test("a removed node that comes back with an empty disk is a new member under its old id")
    func comesBackEmpty() async throws {
        try await withSimulations(seeds: 8, nodes: 3, workflows: [Self.waiting]) { simulation in
            simulation.crash(3, unsynced: .dropped)
            try simulation.disk(3).wipe()
            try await simulation.node(2).removeNode(NodeID(3))
            simulation.restart(3)
            try await simulation.untilFormed()
            let replicas = try await simulation.node(3).status().groups.map(\.replica)
            #expect(replicas.allSatisfy { $0 > 3 }, "a replica id is used once: \(replicas)")
        }
    }

    @Test("TT-41: a node that lost its data comes back by itself, as a new replica of each group, learner first")
    func comesBackByItself() async throws {
        try await withSimulations(seeds: 8, nodes: 3, workflows: [Self.waiting]) { simulation in
            for number in 1...6 { _ = try await simulation.submit(Self.waiting, id: "run-\(number)", input: number) }
            // Not the first: with empty data it would found a cluster of its own.
            let wiped = simulation.nodes[1 + Int(simulation.world.random(below: 2))]
            let others = simulation.nodes.filter { $0 != wiped }
            simulation.crash(wiped, unsynced: .dropped)
            try simulation.disk(wiped).wipe()
            simulation.restart(wiped)
            let wasLearner = Lock(false)
            try await simulation.wait(until: "the node is back with replicas of its own") {
                let seen = try await simulation.node(others[0]).status().groups
                if seen.contains(where: { $0.learners.contains(UInt64(wiped)) }) { wasLearner.withLock { $0 = true } }
                guard let groups = try? await simulation.node(wiped).status().groups else { return false }
                return groups.count == 2
            }
            try await simulation.untilFormed()
            #expect(wasLearner.withLock { $0 }, "seed \(simulation.world.seed)")
            let replicas = try await simulation.node(wiped).status().groups.map(\.replica)
            #expect(replicas.allSatisfy { $0 > 3 }, "a replica id is used once: \(replicas)")
            try await simulation.runUntilComplete()
            try await simulation.untilConverged()
        }
    }

    @Test("TT-57: a node that joins while 100 runs are under way catches up by snapshots, and gets runs of its own")
    func lateJoiner() async throws {
        for seed in Simulation.seeds(3) {
            let compactsOften: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                configuration.groups.snapshotThreshold = 50
                configuration.groups.entriesKeptBehindSnapshot = 1
            }
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.waiting], configure: compactsOften
            ) { simulation in
                simulation.crash(3, unsynced: .dropped)
                try simulation.disk(3).wipe()
                for number in 1...100 {
                    _ = try await simulation.submit(Self.waiting, id: "run-\(number)", input: number)
                }
                simulation.restart(3)
                try await simulation.wait(until: "the late node has its replicas") {
                    (try? await simulation.node(3).status().groups.count) == 2
                }
                try await simulation.untilFormed()
                #expect(try simulation.disk(3).files.contains { $0.hasSuffix(".snap") }, "seed \(seed)")
                var owners: Set<Int> = []
                for number in 101...110 {
                    _ = try await simulation.submit(Self.waiting, id: "run-\(number)", input: number)
                    if let owner = try await simulation.owner(of: "run-\(number)") { owners.insert(owner) }
                }
                #expect(owners.contains(3), "seed \(seed): \(owners)")
                try await simulation.runUntilComplete()
                try await simulation.untilConverged()
            }
        }
    }

    @Test("a founder that lost its data and founds once more is told so by the first cluster, which goes on")
    func foundsTwice() async throws {
        try await withSimulations(seeds: 2, nodes: 3, workflows: [Self.waiting]) { simulation in
            simulation.crash(1, unsynced: .dropped)
            try simulation.disk(1).wipe()
            simulation.restart(1)
            try await simulation.wait(until: "the founder warns") {
                guard let status = try? await simulation.node(1).status() else { return false }
                return status.warnings.contains {
                    $0.contains("takes this node for a member") && $0.contains("--join sim-")
                }
            }
            let clusters = try await [simulation.node(1).status().cluster, simulation.node(2).status().cluster]
            #expect(clusters[0] != clusters[1])
            let warning = try await simulation.node(1).status().warnings.first { $0.contains("takes this node") }
            #expect(warning?.contains(clusters[1]) == true, "\(warning ?? "")")
            let run = try await simulation.node(2).start(Self.waiting, id: "goes-on", input: 1)
            _ = try await run.result()
        }
    }

    @Test("nothing of a node is left in memory after it has ended")
    func nothingIsLeft() async throws {
        try await withSimulations(seeds: 1, nodes: 3, workflows: [Self.waiting]) { simulation in
            _ = try await simulation.node(1).start(Self.waiting, id: "a", input: 1)
            let watch = Watch()
            try await watch.look(at: simulation.node(2))
            await simulation.stop(2)
            await simulation.advance(by: .seconds(5))
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
            group = try await services.core.hosted.group(NodeStart.executionGroup.group)
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
