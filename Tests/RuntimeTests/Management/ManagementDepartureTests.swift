import FlotillaActors
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Nodes that leave groups")
struct ManagementDepartureTests {
    private typealias Bench = ManagementBench

    private func groups(_ bench: Bench, _ node: UInt64) -> Set<GroupID> {
        Set((bench.state.departing[NodeID(node)] ?? [:]).keys)
    }

    private func confirm(_ bench: inout Bench, _ group: GroupID) throws {
        for departure in bench.state.departures(from: group) { try bench.apply(.confirmDeparture(departure)) }
    }

    @Test("a removed node's id is free once each of its groups has confirmed that it holds no replica there")
    func removal() throws {
        var bench = try Bench(nodes: 5)
        try bench.apply(.createCommonCluster)
        for (number, nodes) in [(1, [1, 2, 3]), (2, [3, 4, 5]), (3, [1, 2, 4])] as [(UInt64, [UInt64])] {
            try bench.apply(Bench.create(number, nodes))
        }
        let clusters = (1...3).map { bench.state.clusters[Bench.cluster($0)]!.group }
        #expect(try bench.apply(.removeNode(NodeID(3), instance: nil)) == nil)
        #expect(groups(bench, 3) == [ManagementState.group, ExecutionCluster.commonGroup, clusters[0], clusters[1]])
        for group in groups(bench, 3).sorted() {
            #expect(try bench.apply(.registerNode(Bench.node(3, instance: 2))) == .nodeDeparting)
            try confirm(&bench, group)
        }
        #expect(bench.state.departing.isEmpty)
        #expect(try bench.apply(.registerNode(Bench.node(3, instance: 2))) == nil)
    }

    @Test("a cluster that a node had left before counts as well, until it confirms that or is destroyed")
    func earlierDeparture() throws {
        var bench = try Bench(nodes: 5)
        for number in 1...2 as ClosedRange<UInt64> { try bench.apply(Bench.create(number, [1, 2, 3])) }
        let clusters = (1...2).map { bench.state.clusters[Bench.cluster($0)]!.group }
        for number in 1...2 as ClosedRange<UInt64> {
            #expect(try bench.apply(.disassociateNode(Bench.cluster(number), NodeID(3))) == nil)
        }
        #expect(try bench.apply(.registerNode(Bench.node(3))) == nil, "it is a member of the fleet all the time")
        try bench.apply(.removeNode(NodeID(3), instance: nil))
        #expect(groups(bench, 3) == [ManagementState.group, clusters[0], clusters[1]])
        try bench.apply(
            .moveSlots(.init(version: bench.state.slots.version, slots: Array(0..<4_096), home: clusters[1])))
        #expect(try bench.apply(.destroyCluster(Bench.cluster(1), sealEpoch: 0, isForced: true)) == nil)
        #expect(groups(bench, 3) == [ManagementState.group, clusters[1]])
        let departing = bench.state.departing
        let restored = try ManagementState(decoding: bench.state.serialize())
        #expect(restored.departing == departing && restored.nextDeparture == bench.state.nextDeparture)
    }

    @Test("a late confirmation of an earlier departure does not count for the next one")
    func lateConfirmation() throws {
        var bench = try Bench(nodes: 4)
        try bench.apply(Bench.create(1, [1, 2, 3]))
        let (id, node) = (Bench.cluster(1), NodeID(3))
        let group = bench.state.clusters[id]!.group
        try bench.apply(.disassociateNode(id, node))
        let late = try #require(bench.state.departures(from: group).first)
        #expect(try bench.apply(.associateNode(id, node, .learner)) == nil)
        #expect(groups(bench, 3).isEmpty)
        try bench.apply(.disassociateNode(id, node))
        try bench.apply(.confirmDeparture(late))
        #expect(groups(bench, 3) == [group])
        try confirm(&bench, group)
        #expect(bench.state.departing.isEmpty)
    }
}
