import Testing

@testable import FlotillaRaft

@Suite struct RecoveryTests {
    /// 3 lost the end of its log, which it had acknowledged, and comes back.
    private func damaged(restartsLeader: Bool = false) -> Cluster {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        for number in 0..<6 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        let last = cluster[3].lastIndex
        cluster.crash(replica(3))
        cluster.replicas[replica(3)]!.disk.entries.removeLast(4)
        cluster.replicas[replica(3)]!.disk.hardState.commit = index(2)
        cluster.replicas[replica(3)]!.disk.recoveringUntil = last
        cluster.restart(replica(3))
        return cluster
    }

    @Test("a recovering replica neither campaigns nor votes")
    func noVotes() {
        let cluster = damaged()
        #expect(cluster[3].isRecovering)
        cluster[3].raft.tick(500)
        cluster[3].raft.campaign()
        #expect(cluster[3].status.role == .follower)
        let request = Message.VoteRequest(
            lastIndex: index(99), lastTerm: Term(99), isTransfer: true)
        cluster.deliver(
            Message(from: replica(2), to: replica(3), term: Term(99), body: .vote(request)))
        cluster.deliver(
            Message(from: replica(2), to: replica(3), term: Term(100), body: .preVote(request)))
        cluster.collect(replica(3))
        cluster.persistOne(replica(3))
        #expect(cluster[3].hardState.vote == nil)
        #expect(
            cluster.network.map(\.body) == [
                .voteResponse(granted: false), .preVoteResponse(granted: false),
            ])
    }

    @Test(
        "what a recovering replica acknowledges does not count, until a leader has brought it past the claimed end"
    )
    func doesNotCount() {
        let cluster = damaged()
        cluster.isolate([2])
        let committed = cluster[1].commitIndex
        // The leader learns of it by a heartbeat, before anything new is proposed.
        cluster[1].raft.tick()
        cluster.settle()
        #expect(
            cluster[1].progress(of: replica(3))?.isRecovering == true || !cluster[3].isRecovering)
        cluster.tickAll(3)
        // 1 and 3 agree on everything that was committed: the claim is made good.
        #expect(!cluster[3].isRecovering)
        #expect(cluster[3].commitIndex == committed)
        cluster.tickAll(2)
        #expect(cluster[1].progress(of: replica(3))?.isRecovering == false)
        cluster.propose(1, "counts again")
        cluster.settle()
        #expect(cluster[1].commitIndex == committed.next)
        #expect(cluster.failure == nil)
    }

    @Test("an acknowledgement with the mark does not commit, the same without it does")
    func markedAcknowledgement() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([1])
        cluster.propose(1, "a")
        cluster.settle()
        let last = cluster[1].lastIndex
        let term = cluster[1].status.term
        let committed = cluster[1].commitIndex
        cluster.deliver(
            Message(
                from: replica(3), to: replica(1), term: term,
                body: .appendResponse(.init(index: last, isRecovering: true))))
        #expect(cluster[1].commitIndex == committed)
        cluster.deliver(
            Message(
                from: replica(3), to: replica(1), term: term,
                body: .appendResponse(.init(index: last))))
        #expect(cluster[1].commitIndex == last)
    }

    @Test("a recovering replica confirms no reads")
    func confirmsNoReads() {
        let cluster = damaged()
        cluster.isLost = { message in
            if case .append = message.body { return true }
            return message.from == replica(2)
        }
        cluster[1].raft.readIndex(context: 1)
        cluster.settle()
        cluster.tickAll(3)
        #expect(cluster[3].isRecovering)
        #expect(cluster.replicas[replica(1)]!.readStates.isEmpty)
    }

    @Test(
        "a log that ends before what was known to be committed is recovering, whatever the disk says"
    )
    func missingCommittedEntries() {
        let cluster = damaged()
        cluster.crash(replica(3))
        cluster.replicas[replica(3)]!.disk.recoveringUntil = nil
        cluster.replicas[replica(3)]!.disk.hardState.commit = index(7)
        cluster.restart(replica(3))
        #expect(cluster[3].isRecovering)
        cluster.tickAll(5)
        #expect(!cluster[3].isRecovering)
    }
}
