import FlotillaRaft
import Testing

@testable import Flotilla
@testable import FlotillaActors

@Suite("What is said of a cluster that is stuck")
struct ClusterDiagnosisTests {
    private static let second: Int64 = 1_000_000_000
    private let id = ClusterID(milliseconds: 1_000, random: (1, 1))
    private let other = ClusterID(milliseconds: 2_000, random: (1, 1))

    /// Five nodes, and a cluster of three.
    private func view(_ operations: ManagementOperation...) throws -> FleetView {
        var bench = try ManagementBench(nodes: 5)
        let creation = ClusterCreation(cluster: id, founders: [1, 2, 3].map { NodeID($0) })
        #expect(try bench.apply(.createCluster(creation)) == nil)
        for operation in operations { #expect(try bench.apply(operation) == nil) }
        return FleetView(state: bench.state, observation: FleetObservation(now: 0))
    }

    private func answer(
        leader: UInt64?, isLeader: Bool = false, voters: [UInt64] = [1, 2, 3], learners: [UInt64] = [],
        caughtUp: [UInt64] = [], holdings: GroupHoldings? = nil, stopReason: String? = nil, group: GroupID
    ) -> GroupInspection {
        GroupInspection(
            group: group,
            membership: GroupMembership(
                incarnation: 1, leader: leader.map { NodeID($0) }, isLeader: isLeader, lastTerm: 2, lastIndex: 9,
                commitIndex: 9, appliedIndex: 9, members: [:], voters: voters.map { NodeID($0) },
                learners: learners.map { NodeID($0) }, isJoint: false, caughtUp: caughtUp.map { NodeID($0) },
                nextReplica: 9),
            holdings: holdings, stopReason: stopReason)
    }

    private func status(_ view: FleetView, _ id: ClusterID) throws -> ClusterStatus {
        view.status(of: try #require(view.state.clusters[id]))
    }

    private func heard(_ view: inout FleetView, _ answers: [UInt64: GroupInspection]) {
        for (node, answer) in answers {
            view.answering.insert(NodeID(node))
            view.inspections[answer.group, default: [:]][NodeID(node)] = answer
        }
    }

    private func group(_ view: FleetView) throws -> GroupID { try #require(view.state.clusters[id]).group }

    @Test("a cluster that works has a leader, and nothing to say")
    func healthy() throws {
        var view = try view()
        let group = try group(view)
        heard(
            &view,
            [
                1: answer(leader: 2, group: group), 2: answer(leader: 2, isLeader: true, group: group),
                3: answer(leader: nil, group: group),
            ])
        let status = try status(view, id)
        #expect(status.leader == 2 && status.voters == [1, 2, 3])
        #expect(status.problem == nil && status.waitsFor.isEmpty)
    }

    @Test("without a quorum it says how many voters answer, and who is silent for how long")
    func noQuorum() throws {
        var view = try view()
        view.observation.silence = [NodeID(2): 12 * Self.second]
        // Its old leader is the one that is silent.
        heard(&view, [1: answer(leader: 2, group: try group(view))])
        let status = try status(view, id)
        #expect(status.leader == nil)
        #expect(
            status.problem
                == "it has no quorum: 1 of 3 voters answer; node 2 is silent for 12 s, node 3 does not answer; if they are "
                + "lost for good: flotilla cluster recover")
    }

    @Test("a cluster that nobody answers for names all of its voters")
    func nobody() throws {
        var view = try view()
        view.answering = [NodeID(3)]
        let status = try status(view, id)
        #expect(status.problem?.contains("0 of 3 voters answer") == true)
        #expect(status.problem?.contains("node 3 has no replica yet") == true, "\(status.problem ?? "")")
    }

    @Test("a member that is to vote waits for its log, one that is to come or to leave is named")
    func members() throws {
        var view = try view(
            .associateNode(id, NodeID(4), .voter), .associateNode(id, NodeID(5), .voter),
            .disassociateNode(id, NodeID(3)))
        let group = try group(view)
        view.observation.silence = [NodeID(5): 3 * Self.second]
        heard(
            &view,
            [
                1: answer(leader: 1, isLeader: true, learners: [4], group: group),
                2: answer(leader: 1, group: group),
            ])
        let status = try status(view, id)
        #expect(status.problem == nil)
        #expect(
            status.waitsFor.contains("node 5 is to join; node 5 is silent for 3 s"), "\(status.waitsFor)")
        #expect(status.waitsFor.contains("to leave: nodes 3"))
    }

    @Test("TT-05: a cluster that drains says what keeps it from being sealed, and where that could go")
    func drains() throws {
        var view = try view(.drainCluster(id, into: nil))
        let group = try group(view)
        let holdings = GroupHoldings(active: 3, left: "5 runs, 4096 slots", owned: [:])
        heard(
            &view,
            [
                1: answer(leader: 1, isLeader: true, holdings: holdings, group: group),
                2: answer(leader: 1, group: group),
            ])
        let draining = try status(view, id)
        #expect(
            draining.waitsFor == [
                "drains: not sealed yet because of 5 runs, 4096 slots",
                "no cluster could take what it has: create one, or resume it",
            ])
        #expect(draining.workflows == 3)
    }

    @Test("a replica that has stopped is named with its reason; where too many have, there is no quorum")
    func stopped() throws {
        var view = try view()
        let group = try group(view)
        heard(
            &view,
            [
                1: answer(leader: 1, isLeader: true, group: group), 2: answer(leader: 1, group: group),
                3: answer(leader: nil, stopReason: "its log is damaged", group: group),
            ])
        #expect(try status(view, id).problem == "its replica on node 3 has stopped: its log is damaged")
        heard(&view, [2: answer(leader: nil, stopReason: "its log is damaged", group: group)])
        #expect(try status(view, id).problem?.contains("1 of 3 voters answer") == true)
    }

    @Test("a cluster that is to be founded anew says why its survivor does not begin")
    func survivorStopped() throws {
        var view = try view()
        _ = view.state.clusters.update(id) { ($0.incarnation, $0.survivor) = (2, NodeID(2)) }
        let group = try group(view)
        heard(&view, [1: answer(leader: nil, group: group), 2: answer(leader: nil, group: group)])
        let begins = "it is to be founded anew with what node 2 has"
        #expect(try status(view, id).problem == begins)
        heard(&view, [2: answer(leader: nil, stopReason: "its log is damaged", group: group)])
        let problem = try status(view, id).problem
        #expect(
            problem == begins
                + ", and its replica there has stopped (its log is damaged): flotilla cluster recover chooses another one"
        )
    }

    @Test("a management group without leader says who is silent, and what still goes on")
    func management() throws {
        var view = try view()
        #expect(view.fleet.problem == "the management group has no leader now")
        view.observation.silence = [NodeID(1): 5 * Self.second]
        #expect(view.fleet.problem?.contains("no quorum: node 1 is silent for 5 s") == true)
        let node = try #require(view.fleet.nodes.first)
        #expect(node.silentFor == 5 && node.role == "voter")
    }

    @Test("a node that drains says in how many clusters it is wanted, and at last how to remove it")
    func drainingNode() throws {
        var view = try view(.drainNode(NodeID(2), isDraining: true), .drainNode(NodeID(5), isDraining: true))
        let nodes = view.fleet.nodes
        #expect(nodes[1].waitsFor == ["drains: it is still wanted in 1 clusters"])
        #expect(nodes[4].waitsFor == ["is drained: flotilla node remove 5 takes it out"])
        view.observation.silence = [NodeID(3): Self.second / 2]
        #expect(view.fleet.nodes[2].silentFor == nil, "a node that was just heard of is not silent")
    }
}
