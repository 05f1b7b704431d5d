import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla
@testable import FlotillaActors

@Suite("Execution clusters keep to themselves", .timeLimit(.minutes(5)))
struct ClusterIsolationTests {
    private static let recording = Workflow<Int, Int>("recording", version: 1) { count, context in
        for number in 0..<count {
            try await context.checkpoint("progress", number)
            try await context.sleep(for: .milliseconds(20), name: "pause")
        }
        return count
    }
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { input, context in
        try await context.sleep(for: .seconds(60))
        return input
    }

    /// Two tiers with a cluster on each of the sets of nodes.
    private func withTiers(
        _ clusters: [[UInt64]], nodes: Int, seed: UInt64 = 1,
        _ body: @escaping @Sendable (SimulatedCluster, [String]) async throws -> Void
    ) async throws {
        try await withSimulation(seed: seed, nodes: nodes, workflows: [Self.recording, Self.waiting]) { simulation in
            let node = try simulation.node(1)
            var policy = try await node.policy()
            // A test says itself when something happens.
            policy.idleTimeToLive = .seconds(3_600)
            policy.targetClusterSize = 3
            try await node.setPolicy(policy)
            try await node.running().manage([.beginMigration])
            var ids: [String] = []
            for members in clusters { ids.append(try await node.createCluster(on: members.map { NodeID($0) })) }
            for id in ids {
                try await simulation.wait(until: "a leader of \(id)") { try await node.cluster(id).leader != nil }
            }
            // What the rebalancer makes of it is done by then.
            await simulation.advance(by: .seconds(10))
            try await body(simulation, ids)
        }
    }

    private func start(
        _ type: String, _ input: Int64, on number: Int, _ simulation: SimulatedCluster
    ) async throws -> String {
        try await simulation.node(number).startWorkflow(
            type: type, version: nil, id: nil, namespace: "default", input: .integer(input)
        ).info.workflowID
    }

    @Test("TT-03, TT-20: checkpoints of one cluster cost the nodes of others no message, and survive their owner")
    func isolation() async throws {
        try await withTiers([[1, 2, 3], [4, 5, 6], [7, 8, 9]], nodes: 9) { simulation, _ in
            let id = try await start("recording", 200, on: 1, simulation)
            let group = try #require(GeneratedID(id)).group
            let members = try await simulation.node(1).clusters().first { $0.group == group.rawValue }?.members.map(
                \.node)
            let inside = try #require(members)
            // Its start has been reported by then.
            await simulation.advance(by: .seconds(1))
            var before: [Int: UInt64] = [:]
            for number in 1...9 { before[number] = try await simulation.node(number).trafficCounters().groupMessages }
            await simulation.advance(by: .seconds(1))
            for number in 1...9 {
                let sent = try await simulation.node(number).trafficCounters().groupMessages - before[number]!
                #expect((sent > 0) == inside.contains(UInt64(number)), "node \(number) sent \(sent)")
            }
            let values = try await simulation.node(8).checkpoints("progress", of: id, limit: 1_000).checkpoints.count
            #expect(values > 20)
            let owner = try #require(try await simulation.owner(of: id))
            simulation.crash(owner)
            try await simulation.wait(until: "it goes on elsewhere") {
                guard let next = try await simulation.owner(of: id) else { return false }
                return next != owner
            }
            let asked = simulation.runningNodes[0]
            let after = try await simulation.node(asked).checkpoints("progress", of: id, limit: 1_000).checkpoints
            #expect(after.count >= values && after.map(\.number) == Array(0..<UInt64(after.count)))
            simulation.restart(owner)
        }
    }

    @Test("TT-31: three nodes bring messages of the management group and of a cluster over one connection each")
    func bothKinds() async throws {
        try await withTiers([[1, 2, 3]], nodes: 3) { simulation, clusters in
            let id = try await start("recording", 3, on: 1, simulation)
            #expect(try await simulation.node(2).result(of: id, as: Int.self, timeout: .seconds(5)) == 3)
            var policy = try await simulation.node(3).policy()
            policy.loadLimit = 0.7
            try await simulation.node(3).setPolicy(policy)
            for number in 1...3 {
                let core = try await simulation.node(number).running().core
                let links = await core.onLoop { core.transport.assumeIsolated { $0.links.count } }
                #expect(links == 2, "node \(number) has \(links) connections")
            }
        }
    }

    @Test("TT-39: a list over clusters has all runs; where one does not answer it says which one is missing")
    func partialLists() async throws {
        try await withTiers([[1, 2, 3], [4, 5, 6], [7, 8, 9]], nodes: 9) { simulation, clusters in
            var ids: Set<String> = []
            for number in 1...9 { ids.insert(try await start("waiting", Int64(number), on: number, simulation)) }
            let whole = try await simulation.node(2).list(WorkflowFilter(status: .running))
            #expect(Set(whole.runs.map(\.workflowID)) == ids && !whole.isPartial && whole.next == nil)
            var pages: [WorkflowInfo] = []
            var place: String?
            repeat {
                let page = try await simulation.node(5).list(after: place, limit: 2)
                pages += page.runs
                place = page.next
            } while place != nil
            #expect(pages.map(\.workflowID) == whole.runs.map(\.workflowID))
            for number in 7...9 { simulation.crash(number) }
            // Whoever reads all pages is done although one cluster stays silent.
            let part = try await simulation.node(2).list()
            #expect(part.next == nil)
            #expect(part.isPartial && part.unavailable == [clusters[2]])
            let lost = try await simulation.node(1).cluster(clusters[2]).group
            #expect(Set(part.runs.map(\.workflowID)) == ids.filter { GeneratedID($0)?.group.rawValue != lost })
            for number in 7...9 { simulation.restart(number) }
            try await simulation.wait(until: "a whole list again") {
                let page = try await simulation.node(2).list()
                return !page.isPartial && page.runs.count == 9
            }
        }
    }

    @Test("TT-42: while those who vote in the management group are cut off, clusters go on; it catches up afterwards")
    func advisoryManagement() async throws {
        try await withTiers([[4, 5, 6], [7, 8, 9]], nodes: 9) { simulation, _ in
            let roles = try await simulation.node(1).roles()
            let voters = roles.filter { $0.value == .voter }.map { Int($0.key.rawValue) }.sorted()
            #expect(voters.allSatisfy { $0 <= 3 }, "\(voters)")
            let long = try await start("recording", 300, on: 4, simulation)
            simulation.partition(voters, from: (1...9).filter { !voters.contains($0) })
            await simulation.advance(by: .seconds(2))
            let short = try await start("recording", 3, on: 5, simulation)
            #expect(try await simulation.node(8).result(of: short, as: Int.self, timeout: .seconds(5)) == 3)
            #expect(try await simulation.node(7).result(of: long, as: Int.self, timeout: .seconds(30)) == 300)
            simulation.heal()
            try await simulation.wait(until: "management knows that nothing runs") {
                try await simulation.node(1).clusters().allSatisfy { $0.activeWorkflows.isEmpty }
            }
        }
    }

    @Test(
        "a start that needs a new cluster fails as unavailable while the management group is cut off, and works again")
    func startWithoutManagement() async throws {
        try await withTiers([[4, 5, 6], [7, 8, 9]], nodes: 9) { simulation, _ in
            var policy = try await simulation.node(1).policy()
            policy.maximumWorkflowsPerCluster = 1
            try await simulation.node(1).setPolicy(policy)
            for number in 4...5 { _ = try await start("waiting", 1, on: number, simulation) }
            simulation.partition([1, 2, 3], from: Array(4...9))
            do {
                _ = try await start("waiting", 3, on: 4, simulation)
                Issue.record("it began without room")
            } catch let error as WorkflowError {
                #expect(error.code == .unavailable, "\(error)")
            }
            simulation.heal()
            _ = try await start("waiting", 3, on: 4, simulation)
        }
    }

    @Test("a node hears every second of those that it shares no group with, and ten times of the others")
    func heartbeats() async throws {
        try await withTiers([[1, 2, 3], [4, 5, 6], [7, 8, 9]], nodes: 9) { simulation, _ in
            let roles = try await simulation.node(1).roles()
            let voters = Set(roles.filter { $0.value == .voter }.keys)
            let view = try await simulation.fleet(1)
            for number in 1...9 {
                let me = NodeID(UInt64(number))
                let cluster = try #require(view.clusters.members.map(\.value).first { $0.members[me] != nil })
                let close = voters.contains(me) ? 8 : voters.union(cluster.members.keys).subtracting([me]).count
                let before = try await simulation.node(number).trafficCounters().heartbeats
                await simulation.advance(by: .seconds(10))
                let sent = try await simulation.node(number).trafficCounters().heartbeats - before
                let expected = 10 * (10 * close + (8 - close))
                #expect(
                    abs(Int(sent) - expected) <= expected / 10, "node \(number) sent \(sent) to \(close) close ones")
            }
        }
    }

    @Test("TT-17: one node has replicas in several groups, each with a state of its own")
    func overlap() async throws {
        try await withTiers([[1, 2, 3], [1, 2, 4], [1, 3, 4]], nodes: 5) { simulation, clusters in
            for number in 1...5 { _ = try await start("waiting", Int64(number), on: number, simulation) }
            let services = try await simulation.node(1).running()
            var counts: [Int] = []
            for id in clusters {
                let group = try #require(services.core.hosted[try services.cluster(named: id).group])
                counts.append(
                    try await group.withState { ($0 as? WorkflowStateMachine)?.state.runs.count ?? -1 })
            }
            #expect(counts.reduce(0, +) == 5 && counts.allSatisfy { $0 >= 1 }, "\(counts)")
        }
    }
}
