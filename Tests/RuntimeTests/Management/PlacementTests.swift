import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Placement", .timeLimit(.minutes(5)))
struct PlacementTests {
    private typealias Bench = ManagementBench
    private typealias Strategy = ExecutionClusterPolicy.SelectionStrategy

    /// Clusters 1 to `clusters` on nodes of their own, three each, and one node in none.
    private func bench(
        clusters: UInt64, _ change: (inout ExecutionClusterPolicy) -> Void = { _ in }
    ) throws -> Bench {
        var bench = try Bench(nodes: clusters * 3 + 1)
        var policy = ExecutionClusterPolicy()
        policy.targetClusterSize = 3
        change(&policy)
        try bench.apply(.setPolicy(policy))
        for number in 0..<clusters { try bench.apply(Bench.create(number + 1, Array(number * 3 + 1...number * 3 + 3))) }
        return bench
    }

    private func request(_ type: ByteText = "w", from node: UInt64 = 1) -> Placement.Request {
        Placement.Request(type: type, origin: NodeID(node))
    }

    /// How many of `count` starts each cluster gets.
    private func spread(_ placement: inout Placement, _ count: Int, _ request: Placement.Request) -> [ClusterID: Int] {
        var counts: [ClusterID: Int] = [:]
        for _ in 0..<count {
            if case .cluster(let chosen) = placement.choose(request) { counts[chosen, default: 0] += 1 }
        }
        return counts
    }

    @Test(
        "TT-23: 1,000 starts over 10 clusters differ by one at most, in turns and by load",
        arguments: [.roundRobin, .leastLoaded] as [ExecutionClusterPolicy.SelectionStrategy])
    func evenSpread(_ strategy: ExecutionClusterPolicy.SelectionStrategy) throws {
        let bench = try bench(clusters: 10) {
            $0.strategy = strategy
            $0.maximumWorkflowsPerCluster = 1_000
        }
        var placement = Placement(bench.state, origin: NodeID(7))
        let counts = spread(&placement, 1_003, request())
        #expect(counts.count == 10 && counts.values.allSatisfy { $0 == 100 || $0 == 101 }, "\(counts)")
    }

    @Test("TT-23: in turns goes on behind the last, whatever the load; by load goes to the emptiest")
    func order() throws {
        var bench = try bench(clusters: 3)
        try bench.apply(.reportWorkflows(bench.report(2, started: (0..<5).map { Bench.started("\($0)") })))
        var placement = Placement(bench.state, origin: NodeID(0))
        let chosen = (0..<4).map { _ in placement.choose(request()) }
        #expect(chosen == [2, 3, 1, 2].map { .cluster(Bench.cluster($0)) })
        var policy = bench.state.policy
        policy.strategy = .leastLoaded
        try bench.apply(.setPolicy(policy))
        placement.refresh(bench.state)
        #expect(spread(&placement, 10, request()) == [Bench.cluster(1): 5, Bench.cluster(3): 5])
    }

    @Test("TT-24: a start on a member goes to its own cluster while that has room, else to the least loaded")
    func locality() throws {
        let bench = try bench(clusters: 3) {
            $0.strategy = .localityAware
            $0.maximumWorkflowsPerCluster = 4
        }
        var placement = Placement(bench.state, origin: NodeID(5))
        #expect(spread(&placement, 4, request(from: 5)) == [Bench.cluster(2): 4])
        #expect(spread(&placement, 4, request(from: 5)) == [Bench.cluster(1): 2, Bench.cluster(3): 2])
        #expect(spread(&placement, 2, request(from: 10)) == [Bench.cluster(1): 1, Bench.cluster(3): 1], "no member")
    }

    @Test("TT-25: a type goes where it runs already, to the least loaded of those, else to the least loaded of all")
    func affinity() throws {
        var bench = try bench(clusters: 4) {
            $0.strategy = .typeAffinity
            $0.maximumWorkflowsPerCluster = 4
        }
        try bench.apply(.reportWorkflows(bench.report(2, started: [Bench.started("a"), Bench.started("b")])))
        try bench.apply(.reportWorkflows(bench.report(3, started: [Bench.started("c")])))
        try bench.apply(.reportWorkflows(bench.report(4, started: [Bench.started("d", type: "v")])))
        var placement = Placement(bench.state, origin: NodeID(1))
        #expect(spread(&placement, 5, request()) == [Bench.cluster(2): 2, Bench.cluster(3): 3])
        #expect(placement.choose(request()) == .cluster(Bench.cluster(1)), "both are full")
        #expect(placement.choose(request("v")) == .cluster(Bench.cluster(4)))
    }

    @Test("TT-52: a pinned type has clusters to itself, where others never go")
    func pinned() throws {
        var bench = try bench(clusters: 2) { $0.pinnedTypes = ["urgent"] }
        var placement = Placement(bench.state, origin: NodeID(1))
        guard case .create(let founders, "urgent") = placement.choose(request("urgent")) else {
            Issue.record("no cluster of its own was asked for")
            return
        }
        try bench.apply(Bench.create(9, founders.map(\.rawValue), pinned: "urgent"))
        placement.refresh(bench.state)
        #expect(spread(&placement, 10, request("urgent")) == [Bench.cluster(9): 10])
        #expect(spread(&placement, 10, request()).keys.sorted() == [1, 2].map(Bench.cluster))
    }

    @Test("TT-19, TT-43: without room one is asked for, and what refused, drains or lacks the type is passed over")
    func creation() throws {
        var bench = try Bench(nodes: 7)
        var placement = Placement(bench.state, origin: NodeID(1))
        #expect(placement.choose(request()) == .create(founders: (1...5).map { NodeID($0) }, pinnedType: nil))
        try bench.apply(Bench.create(1, [1, 2, 3, 4, 5]))
        placement.refresh(bench.state)
        #expect(spread(&placement, 20, request()) == [Bench.cluster(1): 20])
        #expect(placement.choose(request()) == .create(founders: [6, 7, 1, 2, 3].map { NodeID($0) }, pinnedType: nil))
        try bench.apply(Bench.create(2, [5, 6, 7]), Bench.create(3, [1, 2, 3]))
        try bench.apply(.drainCluster(Bench.cluster(3), into: nil))
        placement.refresh(bench.state)
        var picky = request()
        picky.capable = [NodeID(6)]
        #expect(placement.choose(picky) == .cluster(Bench.cluster(2)))
        picky.refused = [Bench.cluster(2)]
        guard case .nowhere(let reason) = placement.choose(picky) else {
            Issue.record("one node is no cluster")
            return
        }
        #expect(reason.contains("'w'") && reason.contains("3 nodes"))
    }

    @Test("a new cluster gets the nodes with the fewest places, in different domains, and none that is to leave")
    func founders() throws {
        var bench = try Bench()
        for (id, zone) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c"), (7, "")] as [(UInt64, String)] {
            try bench.apply(.registerNode(Bench.node(id, labels: zone.isEmpty ? [] : [NodeLabel("zone", zone)])))
        }
        #expect(MemberChoice(bench.state).founders(count: 4) == [1, 4, 6, 7].map { NodeID($0) })
        try bench.apply(Bench.create(1, [1, 4, 6]), .drainNode(NodeID(7), isDraining: true))
        #expect(MemberChoice(bench.state).founders(count: 3) == [2, 5, 3].map { NodeID($0) })
        #expect(MemberChoice(bench.state, among: [NodeID(1), NodeID(2)]).founders() == nil)
        #expect(
            MemberChoice(bench.state, among: Set((1...4).map { NodeID($0) })).founders()?.count == 3, "an odd number")
        #expect(MemberChoice(bench.state).next(beside: [NodeID(2), NodeID(5), NodeID(3)]) == NodeID(6))
    }
}
