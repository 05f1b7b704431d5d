import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Execution clusters on running nodes", .timeLimit(.minutes(5)))
struct ClusterLifecycleTests {
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("double") { _ in input * 2 }
    }
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { input, context in
        try await context.sleep(for: .seconds(20))
        return input
    }

    @Test("TT-04, TT-11: a cluster is hosted by its nodes with one configuration, and elects a leader within 2 s")
    func creation() async throws {
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.quick]) { simulation in
            let id = try await simulation.node(5).createCluster(on: [NodeID(2), NodeID(3), NodeID(4)])
            try await simulation.wait(until: "a leader", within: .seconds(2)) {
                try await simulation.node(1).cluster(id).leader != nil
            }
            var memberships: [GroupMembership] = []
            for node in 1...5 {
                let services = try await simulation.node(node).running()
                let cluster = try services.cluster(named: id)
                #expect(cluster.createdAt == (try await simulation.node(1).cluster(id)).createdAt)
                guard let group = services.core.hosted[cluster.group] else {
                    #expect(!(2...4).contains(node), "node \(node) hosts no replica")
                    continue
                }
                memberships.append(try await group.membership())
            }
            #expect(memberships.count == 3 && Set(memberships.map(\.members)).count == 1)
            await #expect(throws: NodeError.self) {
                try await simulation.node(1).createCluster(on: [NodeID(1), NodeID(2)])
            }
        }
    }

    @Test(
        "TT-06, TT-07: a node joins a cluster as a learner, votes once it has caught up, and leaves it with its group")
    func membership() async throws {
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.quick]) { simulation in
            let node = try simulation.node(1)
            let id = try await node.createCluster(on: [NodeID(1), NodeID(2), NodeID(3)])
            try await node.addMember(NodeID(4), toCluster: id, asLearner: true)
            try await node.addMember(NodeID(5), toCluster: id)
            try await simulation.wait(until: "two more members") {
                let members = try await Self.membership(id, simulation)
                return members?.learners == [NodeID(4)] || members?.learners == [NodeID(4), NodeID(5)]
            }
            try await node.addMember(NodeID(4), toCluster: id)
            try await simulation.wait(until: "five voters") {
                try await Self.membership(id, simulation)?.voters.count == 5
            }
            try await node.removeMember(NodeID(4), fromCluster: id)
            try await node.removeMember(NodeID(1), fromCluster: id)
            try await simulation.wait(until: "three voters, and nothing left on the others") {
                let group = try await simulation.node(2).running().cluster(named: id).group
                let voters = try await Self.membership(id, simulation)?.voters
                let first = try await simulation.node(1).running().core.hosted[group]
                let fourth = try await simulation.node(4).running().core.hosted[group]
                return voters == [NodeID(2), NodeID(3), NodeID(5)] && first == nil && fourth == nil
            }
        }
    }

    @Test("a cluster is founded at once where another replica cannot leave yet")
    func foundingBesideLeaving() async throws {
        try await withSimulation(seed: 1, nodes: 9, workflows: [Self.quick]) { simulation in
            let node = try simulation.node(1)
            let stuck = try await node.createCluster(on: (4...8).map { NodeID($0) })
            try await simulation.wait(until: "a leader") { try await node.cluster(stuck).leader != nil }
            for number in [4, 5, 7] { simulation.crash(number) }
            // Its group cannot say that it is gone.
            try await node.removeMember(NodeID(6), fromCluster: stuck)
            for round in 0..<5 {
                await simulation.advance(by: .milliseconds(300))
                let id = try await node.createCluster(on: [NodeID(6), NodeID(7), NodeID(8)])
                let services = try await simulation.node(6).running()
                try await simulation.wait(until: "the replica of round \(round)", within: .milliseconds(100)) {
                    guard let group = try? services.cluster(named: id).group else { return false }
                    return services.core.hosted[group] != nil
                }
            }
            let group = try await simulation.node(6).running().cluster(named: stuck).group
            #expect(try await simulation.node(6).running().core.hosted[group] != nil)
            for number in [4, 5, 7] { simulation.restart(number) }
            try await simulation.wait(until: "it has left") {
                try await simulation.node(6).running().core.hosted[group] == nil
            }
        }
    }

    @Test("a node that was away when its cluster was destroyed gives its replica up when it returns")
    func absence() async throws {
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.quick]) { simulation in
            let id = try await simulation.node(1).createCluster(on: [NodeID(2), NodeID(3), NodeID(4)])
            let group = try await simulation.node(1).running().cluster(named: id).group
            try await simulation.wait(until: "a leader") { try await simulation.node(1).cluster(id).leader != nil }
            simulation.crash(4)
            try await simulation.node(1).destroyCluster(id, isForced: true)
            try await simulation.wait(until: "it is gone where it was heard") {
                let second = try await simulation.node(2).running().core.hosted[group]
                let third = try await simulation.node(3).running().core.hosted[group]
                return second == nil && third == nil
            }
            simulation.restart(4)
            try await simulation.wait(until: "it is gone everywhere") {
                guard let services = try? await simulation.node(4).running() else { return false }
                let view = services.machines.management.withLock { $0 }
                return view.nodes.count == 5 && services.core.hosted[group] == nil
            }
        }
    }

    @Test("TT-22: a node that was down when it was put into a cluster, or out of one, acts on it when it returns")
    func ordersInAbsence() async throws {
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.quick]) { simulation in
            let node = try simulation.node(1)
            // Nobody takes the place of a node that is down for a while.
            try await simulation.setPolicy(on: 1) { $0.memberFailureTimeout = .seconds(3_600) }
            let id = try await node.createCluster(on: [2, 3, 4].map { NodeID($0) })
            let group = try await node.running().cluster(named: id).group
            try await simulation.wait(until: "three voters") {
                try await Self.membership(id, simulation)?.voters.count == 3
            }
            simulation.crash(4)
            simulation.crash(5)
            try await node.addMember(NodeID(5), toCluster: id)
            try await node.removeMember(NodeID(4), fromCluster: id)
            await simulation.advance(by: .seconds(5))
            simulation.restart(4)
            simulation.restart(5)
            try await simulation.wait(until: "each is where it belongs") {
                let voters = try await Self.membership(id, simulation)?.voters
                return voters == [2, 3, 5].map { NodeID($0) }
                    && !simulation.hostedGroups(4).contains { $0.identity.group == group }
                    && simulation.hostedGroups(5).contains { $0.identity.group == group }
            }
        }
    }

    /// What the leader of a cluster says of it.
    private static func membership(_ id: String, _ simulation: SimulatedCluster) async throws -> GroupMembership? {
        for number in simulation.runningNodes {
            let services = try await simulation.node(number).running()
            // One that has just come may not have heard of it.
            guard let cluster = try? services.cluster(named: id), let group = services.core.hosted[cluster.group] else {
                continue
            }
            let membership = try await group.membership()
            if membership.isLeader { return membership }
        }
        return nil
    }
}
