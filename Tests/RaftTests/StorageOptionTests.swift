import Testing

@testable import FlotillaRaft

@Suite struct StorageOptionTests {
    @Test(
        "committed entries wait for this replica's own disk where its state machine has one", arguments: [false, true])
    func appliesOnlyDurable(waits: Bool) {
        let cluster = Cluster(voters: 3) { $0.appliesOnlyDurable = waits }
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        // The others write it, and say so, before 1 has.
        for message in cluster.network { cluster.deliver(message) }
        cluster.network = []
        for id in [replica(2), replica(3)] {
            cluster.collect(id)
            cluster.persistOne(id)
        }
        for message in cluster.network { cluster.deliver(message) }
        cluster.network = []
        let last = cluster[1].lastIndex
        #expect(cluster[1].commitIndex == last && cluster[1].durableIndex < last)
        cluster.collect(replica(1))
        cluster.applyOne(replica(1))
        #expect((cluster[1].appliedIndex == last) == !waits)
        cluster.settle()
        #expect(cluster[1].appliedIndex == last)
        #expect(cluster.failure == nil)
    }

    @Test("events are recorded where they are asked for, in the order of the decisions, and taken once")
    func events() {
        for isOn in [false, true] {
            var options = RaftOptions()
            options.recordsEvents = isOn
            options.usesPreVote = false
            let snapshot = SnapshotMetadata(
                index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 1))
            var raft = Raft(
                replica(1), randomSeed: 1, RaftOptions.Shared(options),
                restored: RestoredReplica(hardState: .init(term: Term(1), commit: index(1)), snapshot: snapshot))
            raft.campaign()
            raft.persisted(raft.takeEffects().persist!.receipt)
            let names = raft.takeEvents().map { event in
                switch event {
                case .startedElection: "started"
                case .becameCandidate: "candidate"
                case .countedVote: "counted"
                case .becameLeader: "leader"
                default: "other"
                }
            }
            #expect(names == (isOn ? ["started", "candidate", "counted", "leader"] : []))
            let again = raft.takeEvents()
            #expect(again.isEmpty)
        }
    }

    @Test("a founding snapshot has a term of its own, but its replica has not seen any")
    func founding() {
        let snapshot = SnapshotMetadata(
            index: index(5), term: Term(1), configuration: Cluster.configuration(voters: 3))
        let founding = RestoredReplica(hardState: .init(commit: index(5)), snapshot: snapshot)
        let lost = RestoredReplica(hardState: .init(), snapshot: snapshot)
        let behind = RestoredReplica(
            hardState: .init(commit: index(5)), snapshot: snapshot,
            entries: [.init(index: index(6), term: Term(3), kind: .empty, payload: [])])
        let terms = [founding, lost, behind].map { restored in
            let raft = Raft(replica(1), randomSeed: 1, RaftOptions.Shared(RaftOptions()), restored: restored)
            return raft.status.term
        }
        #expect(terms == [.zero, Term(1), Term(3)])
    }

    @Test("what a replica promised itself in an earlier term or role counts for nothing")
    func outdatedPromise() {
        let cluster = Cluster(voters: 3) { $0.checksQuorum = false }
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        let term = cluster[1].status.term
        // It loses its reign, and asks for votes, before the write is done.
        cluster[1].raft.step(
            Message(
                from: replica(2), to: replica(1), term: term.next, body: .heartbeat(.init(commit: .zero, readRound: 0)))
        )
        cluster[1].raft.campaign()
        cluster.persistOne(replica(1))
        #expect(cluster[1].votes.isEmpty)
        #expect(cluster[1].commitIndex < cluster[1].lastIndex)
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        #expect(cluster[1].votes.map(\.voter) == [replica(1)])
        #expect(cluster[1].durableIndex == cluster[1].lastIndex)
    }
}
