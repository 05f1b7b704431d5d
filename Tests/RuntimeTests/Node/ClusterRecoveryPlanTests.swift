import FlotillaActors
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("What it means to found a cluster anew")
struct ClusterRecoveryPlanTests {
    private static let id = ManagementBench.cluster(1)

    /// Six nodes, of which the first five have a cluster.
    private func view(_ answers: [UInt64: GroupInspection], silent: [UInt64]) throws -> FleetView {
        var bench = try ManagementBench(nodes: 6)
        try bench.apply(ManagementBench.create(1, [1, 2, 3, 4, 5]))
        var observation = FleetObservation(now: 0)
        for node in silent { observation.silence[NodeID(node)] = 60_000_000_000 }
        var view = FleetView(state: bench.state, observation: observation)
        view.answering = Set((1...6).map { NodeID($0) }.filter { !silent.contains($0.rawValue) })
        let group = try #require(bench.state.clusters[Self.id]).group
        for (node, answer) in answers { view.inspections[group, default: [:]][NodeID(node)] = answer }
        return view
    }

    private func answer(
        term: UInt64 = 2, last: UInt64 = 40, commit: UInt64 = 38, incarnation: UInt64 = 1, isDamaged: Bool = false,
        voters: [UInt64] = [1, 2, 3, 4, 5], outgoing: [UInt64] = [], stopReason: String? = nil
    ) -> GroupInspection {
        GroupInspection(
            group: ManagementState.firstClusterGroup,
            membership: GroupMembership(
                incarnation: incarnation, leader: nil, isLeader: false, lastTerm: term, lastIndex: last,
                commitIndex: commit, appliedIndex: commit, isRecovering: isDamaged, members: [:],
                voters: voters.map { NodeID($0) }, outgoingVoters: outgoing.map { NodeID($0) }, learners: [],
                isJoint: !outgoing.isEmpty, caughtUp: [], nextReplica: 9), holdings: nil, stopReason: stopReason)
    }

    private func plan(_ view: FleetView) throws -> ClusterRecoveryPlan {
        try view.recoveryPlan(of: try #require(view.state.clusters[Self.id]))
    }

    @Test(
        "the best log is the one of the later term, then the longer one, and a damaged one only where there is no other"
    )
    func choice() throws {
        let silent: [UInt64] = [1, 2, 3]
        #expect(
            try plan(view([4: answer(term: 2, last: 90), 5: answer(term: 3, last: 41)], silent: silent)).survivor == 5)
        #expect(try plan(view([4: answer(last: 40), 5: answer(last: 41)], silent: silent)).survivor == 5)
        #expect(try plan(view([4: answer(), 5: answer()], silent: silent)).survivor == 4)
        let damaged = answer(term: 9, last: 90, isDamaged: true)
        let whole = try plan(view([4: damaged, 5: answer()], silent: silent))
        #expect(whole.survivor == 5 && whole.candidates.map(\.isDamaged) == [false, true])
        let last = try plan(view([4: damaged], silent: silent + [5]))
        #expect(last.survivor == 4 && last.consequences.contains { $0.contains("no other is better") })
    }

    @Test("the plan says who is given up, who takes their places, and how much nobody knows to be committed")
    func costs() throws {
        let plan = try plan(view([4: answer(stopReason: "its log cannot be read"), 5: answer()], silent: [1, 2, 3]))
        #expect(plan.survivor == 5 && plan.incarnation == 2 && !plan.isCarriedOut)
        #expect(plan.givenUp == [1, 2, 3] && plan.lost == [1, 2, 3, 4], "\(plan)")
        #expect(plan.members == [4, 5, 6], "a node whose replica has stopped can have another one")
        #expect(plan.unconfirmedEntries == 2)
        #expect(plan.consequences.first?.contains("nodes 1, 2, 3, 4 had acknowledged is lost") == true)
    }

    @Test("who recovers the home of ids is told that some of them are free again")
    func ids() throws {
        var view = try view([4: answer(), 5: answer()], silent: [1, 2, 3])
        let home = try plan(view)
        #expect(home.slots == SlotMap.count && home.consequences.contains { $0.contains("are free again") })
        view.state.slots.move(0..<SlotMap.count, to: GroupID(99))
        let other = try plan(view)
        #expect(other.slots == 0 && !other.consequences.contains { $0.contains("are free again") })
    }

    @Test("the one that was chosen is waited for, unless its replica has stopped: then another one is")
    func survivorStopped() throws {
        func next(_ chosen: GroupInspection) throws -> ClusterRecoveryPlan {
            var view = try view([4: chosen, 5: answer()], silent: [1, 2, 3])
            _ = view.state.clusters.update(Self.id) { ($0.incarnation, $0.survivor) = (2, NodeID(4)) }
            return try plan(view)
        }
        let refusal = #expect(throws: NodeError.self) { try next(answer(last: 90)) }
        #expect(refusal?.message.contains("is being founded anew") == true)
        let other = try next(answer(last: 90, stopReason: "a command that this version does not know"))
        #expect(other.survivor == 5 && other.incarnation == 3)
    }

    @Test("a cluster with a majority goes on by itself; of a change under way it needs both majorities")
    func quorum() throws {
        let three = [3: answer(), 4: answer(), 5: answer()] as [UInt64: GroupInspection]
        let refusal = #expect(throws: NodeError.self) { try plan(view(three, silent: [1, 2])) }
        #expect(refusal?.code == .refused && refusal?.message.contains("goes on by itself") == true)
        let joint = three.mapValues { _ in answer(voters: [3, 4, 5], outgoing: [1, 2, 3]) }
        #expect(try plan(view(joint, silent: [1, 2])).survivor == 3)
        let damaged = three.mapValues { _ in answer(isDamaged: true) }
        #expect(try plan(view(damaged, silent: [1, 2])).survivor == 3, "they take no part in votes")
        let nobody = #expect(throws: NodeError.self) { try plan(view([:], silent: [1, 2, 3, 4])) }
        #expect(nobody?.message.contains("bring one of nodes 1, 2, 3, 4 and 5 back") == true)
    }
}
