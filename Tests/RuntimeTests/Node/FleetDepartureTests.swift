import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Nodes that leave a fleet with several clusters, or come back without their data.
@Suite("Departures from a fleet", .timeLimit(.minutes(5)))
struct FleetDepartureTests {
    @Test(
        "TT-41: a node that lost its data waits for every cluster that counted on it, also for one without a majority")
    func lostData() async throws {
        try await withSimulations(seeds: 4, nodes: 6, workflows: []) { simulation in
            try await simulation.setPolicy(on: 1) { $0.voterSelection = .fixed([4, 5, 6].map { NodeID($0) }) }
            try await simulation.waitForVoters([4, 5, 6], within: .seconds(10))
            let groups = [
                try await simulation.createCluster(1, on: [1, 2, 3]),
                try await simulation.createCluster(2, on: [2, 3, 4]),
                try await simulation.createCluster(3, on: [3, 4, 5]),
            ]
            // The first two have one member left each, and cannot remove what node 3 was.
            simulation.crash(2)
            simulation.crash(3, unsynced: .dropped)
            try simulation.disk(3).wipe()
            simulation.restart(3)
            await simulation.advance(by: .seconds(25))
            #expect(try await simulation.fleet(4).nodes[NodeID(3)] == nil, "two clusters still count on it")
            let waitsFor = try await simulation.fleet(4).departing[NodeID(3)] ?? [:]
            #expect(Set(waitsFor.keys) == Set(groups.prefix(2)))
            simulation.restart(2)
            try await simulation.wait(until: "node 3 is a member again") {
                // Whatever it hosts meanwhile is none of the replicas that it was.
                for group in simulation.hostedGroups(3) where groups.contains(group.identity.group) {
                    #expect(group.identity.replica.rawValue > 3, "\(group.identity)")
                }
                return try await simulation.fleet(4).nodes[NodeID(3)] != nil
            }
            await simulation.advance(by: .seconds(5))
            for group in simulation.hostedGroups(3) {
                #expect(group.identity.replica.rawValue > 3, "\(group.identity)")
            }
            #expect(try await simulation.fleet(4).departing.isEmpty)
        }
    }

    @Test("a node that leaves a cluster, or the fleet, is confirmed gone by the clusters, and they go on without it")
    func leaving() async throws {
        try await withSimulations(seeds: 3, nodes: 6, workflows: []) { simulation in
            let first = try await simulation.createCluster(1, on: [1, 2, 3, 4, 5])
            let second = try await simulation.createCluster(2, on: [2, 3, 4])
            try await simulation.command(.disassociateNode(ManagementBench.cluster(1), NodeID(5)), on: 1)
            try await simulation.node(1).removeNode(NodeID(4))
            try await simulation.wait(until: "everybody has left") {
                try await simulation.fleet(1).departing.isEmpty
            }
            for (node, group, count) in [(1, first, 3), (2, second, 1)] {
                let hosted = try #require(simulation.hostedGroups(node).first { $0.identity.group == group })
                try await hosted.barrier()
                let membership = try await hosted.membership()
                #expect(membership.voters.count == count && !membership.isJoint, "\(membership)")
                #expect(!membership.members.values.contains(NodeID(4)))
            }
        }
    }
}
