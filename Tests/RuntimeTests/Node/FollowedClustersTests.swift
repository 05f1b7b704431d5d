import FlotillaActors
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("What changes of management cost a node", .timeLimit(.minutes(5)))
struct FollowedClustersTests {
    private typealias Bench = ManagementBench

    @Test("a change costs a node the clusters that it is about, however many others it hosts")
    func cost() async throws {
        try await withSimulations(seeds: 1, nodes: 5, workflows: [FleetRebalancerTests.waiting]) { simulation in
            for number in 1...12 as ClosedRange<UInt64> {
                _ = try await simulation.createCluster(number, on: [1, 2, 3])
            }
            await simulation.advance(by: .seconds(5))
            func looks(_ node: Int) async throws -> UInt64 {
                try await simulation.node(node).running().machines.clusterLooks
            }
            let (host, joining) = (try await looks(1), try await looks(4))
            let group = try await simulation.createCluster(20, on: [3, 4, 5])
            await simulation.advance(by: .seconds(5))
            #expect(try await looks(1) - host <= 1)
            let own = try await looks(4) - joining
            #expect(own >= 2 && own <= 4, "it is new, and comes to be hosted: \(own)")
            let change = try await looks(1)
            try await simulation.command(.disassociateNode(Bench.cluster(3), NodeID(3)), on: 1)
            await simulation.advance(by: .seconds(5))
            #expect(try await looks(1) - change <= 2)
            #expect(simulation.hostedGroups(4).contains { $0.identity.group == group })
        }
    }

    @Test(
        "a node knows with whom it shares clusters, whom they are to consist of, and which have orders, by looks at those"
    )
    func looks() throws {
        var bench = try Bench(nodes: 6)
        try bench.apply(Bench.create(1, [1, 2, 3]), Bench.create(2, [3, 4, 5]))
        func group(_ number: UInt64) -> GroupID { bench.state.clusters[Bench.cluster(number)]!.group }
        let groups = [group(1), group(2)]
        var followed = FollowedClusters()
        var desired = followed.look(at: Set(groups), bench.state, on: NodeID(1)) { _ in false }
        #expect(desired[groups[0]]??.nodes == [1, 2, 3].map { NodeID($0) })
        #expect(desired.count == 2 && desired[groups[1]] == .some(nil))
        #expect(followed.nodes == Set([1, 2, 3].map { NodeID($0) }) && followed.ordered.isEmpty)
        // A replica that is to leave counts as long as it is there.
        desired = followed.look(at: [groups[1]], bench.state, on: NodeID(1)) { _ in true }
        #expect(desired[groups[1]]??.nodes == [3, 4, 5].map { NodeID($0) })
        #expect(followed.nodes.count == 5)
        try bench.apply(
            .drainCluster(Bench.cluster(2), into: nil), .associateNode(Bench.cluster(1), NodeID(6), .learner))
        _ = followed.look(at: Set(groups), bench.state, on: NodeID(1)) { _ in false }
        #expect(followed.ordered == [groups[1]])
        #expect(followed.nodes == Set([1, 2, 3, 6].map { NodeID($0) }))
        try bench.apply(.resumeCluster(Bench.cluster(2)))
        _ = followed.look(at: [groups[1]], bench.state, on: NodeID(1)) { _ in false }
        #expect(followed.ordered.isEmpty && followed.looks == 6)
    }
}
