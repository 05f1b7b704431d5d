import Testing

@testable import FlotillaRaft

@Suite struct ElectionTests {
    private func vote(
        from: UInt64, to: UInt64, term: UInt64, lastIndex: UInt64 = 1, lastTerm: UInt64 = 1,
        isTransfer: Bool = false
    ) -> Message {
        Message(
            from: replica(from), to: replica(to), term: Term(term),
            body: .vote(
                .init(lastIndex: index(lastIndex), lastTerm: Term(lastTerm), isTransfer: isTransfer)
            ))
    }

    @Test("three voters elect a leader by their own timers, and agree on it")
    func timers() {
        let cluster = Cluster(voters: 3)
        cluster.tickAll(40)
        #expect(cluster.failure == nil)
        let leaders = cluster.ids.filter { cluster.replicas[$0]!.raft.status.role == .leader }
        #expect(leaders.count == 1)
        #expect(
            cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.status.leader == leaders.first })
    }

    @Test("a vote is answered only after it is durable")
    func voteIsDurableFirst() throws {
        let cluster = Cluster(voters: 3)
        cluster.deliver(vote(from: 2, to: 1, term: 2))
        cluster.collect(replica(1))
        #expect(cluster.network.isEmpty)
        let write = try #require(cluster.replicas[replica(1)]!.writes.first)
        #expect(write.hardState == HardState(term: Term(2), vote: replica(2), commit: index(1)))
        #expect(write.messagesWhenDurable.map(\.body) == [.voteResponse(granted: true)])
        cluster.persistOne(replica(1))
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: true)])
    }

    @Test(
        "a voter that crashed keeps to its vote, and one that crashed before it was durable had told nobody"
    )
    func oneVotePerTermAcrossRestarts() {
        let cluster = Cluster(voters: 3)
        cluster.deliver(vote(from: 2, to: 1, term: 2))
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        cluster.crash(replica(1))
        cluster.restart(replica(1))
        cluster.network = []
        cluster.deliver(vote(from: 3, to: 1, term: 2))
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: false)])
        cluster.network = []
        cluster.deliver(vote(from: 2, to: 1, term: 2))
        cluster.collect(replica(1))
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: true)])
    }

    @Test("a candidate asks for votes only after its own vote and its log are durable")
    func requestIsDurableFirst() {
        let cluster = Cluster(voters: 3) { $0.usesPreVote = false }
        cluster[1].raft.campaign()
        cluster.collect(replica(1))
        #expect(cluster.network.isEmpty)
        cluster.persistOne(replica(1))
        #expect(cluster.network.count == 2)
        #expect(cluster.replicas[replica(1)]!.disk.hardState.vote == replica(1))
    }

    @Test("a candidate's own vote does not count before it is durable")
    func ownVoteIsDurableFirst() {
        let cluster = Cluster(voters: 1) { $0.usesPreVote = false }
        cluster[1].raft.campaign()
        cluster.collect(replica(1))
        #expect(cluster[1].status.role == .candidate)
        cluster.persistOne(replica(1))
        #expect(cluster[1].status.role == .leader)
    }

    @Test("a vote is kept when a candidate of the same term steps down")
    func voteIsKeptWithinTerm() {
        let cluster = Cluster(voters: 3) { $0.usesPreVote = false }
        cluster[1].raft.campaign()
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: Term(2),
                body: .heartbeat(.init(commit: .zero, readRound: 0))))
        #expect(cluster[1].status == Status(role: .follower, term: Term(2), leader: replica(2)))
        #expect(cluster[1].hardState.vote == replica(1))
    }

    @Test("a voter refuses a log that is shorter, or longer and older")
    func logsAreComparedByTermFirst() {
        let snapshot = SnapshotMetadata(
            index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 3))
        let entries = [Entry(index: index(2), term: Term(3), kind: .empty, payload: [])]
        for (lastIndex, lastTerm, isGranted) in [
            (1, 3, false), (9, 2, false), (2, 3, true), (1, 4, true),
        ] as [(UInt64, UInt64, Bool)] {
            let cluster = Cluster(voters: 3)
            cluster.boot(replica(1), snapshot: snapshot, entries: entries)
            cluster.deliver(vote(from: 2, to: 1, term: 7, lastIndex: lastIndex, lastTerm: lastTerm))
            cluster.collect(replica(1))
            cluster.persistOne(replica(1))
            #expect(
                cluster.network.map(\.body) == [.voteResponse(granted: isGranted)],
                "\(lastIndex) \(lastTerm)")
        }
    }

    @Test("a pre-vote changes neither term nor vote nor what is known of the leader")
    func preVoteHasNoSideEffects() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        let before = (cluster[2].hardState, cluster[2].status, cluster[2].electionElapsed)
        let request = Message.VoteRequest(
            lastIndex: index(99), lastTerm: Term(9), isTransfer: false)
        cluster.deliver(
            Message(from: replica(3), to: replica(2), term: Term(9), body: .preVote(request)))
        #expect(cluster[2].hardState == before.0)
        #expect(cluster[2].status == before.1)
        #expect(cluster[2].electionElapsed == before.2)
    }

    @Test("a pre-vote that was granted for an earlier round does not count for this one")
    func stalePreVote() {
        let cluster = Cluster(voters: 3)
        cluster[1].raft.campaign()
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        let term = cluster[1].status.term
        for voter in [2, 3] as [UInt64] {
            cluster.deliver(
                Message(
                    from: replica(voter), to: replica(1), term: term,
                    body: .preVoteResponse(granted: true)))
        }
        #expect(cluster[1].status.role == .preCandidate)
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: term.next,
                body: .preVoteResponse(granted: true)))
        #expect(cluster[1].status.role == .candidate)
    }

    @Test("a replica that was cut off does not disrupt the leader when it comes back")
    func preVotePreventsDisruption() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        let term = cluster[1].status.term
        cluster.isolate([3])
        cluster.tickAll(100)
        #expect(cluster[3].status.term == term)
        cluster.heal()
        cluster.tickAll(5)
        #expect(cluster[1].status == Status(role: .leader, term: term, leader: replica(1)))
        #expect(cluster[3].status.leader == replica(1))
    }

    @Test("without pre-vote, the lease alone keeps followers from deposing a leader that they hear")
    func leaseWithholdsVotes() {
        let cluster = Cluster(voters: 3) { $0.usesPreVote = false }
        cluster.elect(1)
        let term = cluster[1].status.term
        cluster.deliver(vote(from: 3, to: 2, term: term.rawValue + 5, lastIndex: 99, lastTerm: 99))
        #expect(cluster[2].status.term == term)
        cluster.deliver(
            vote(
                from: 3, to: 2, term: term.rawValue + 5, lastIndex: 99, lastTerm: 99,
                isTransfer: true))
        #expect(cluster[2].hardState.vote == replica(3))
    }

    @Test("a leader that hears no quorum steps down, and one that does stays")
    func checkQuorum() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([3])
        cluster.tickAll(40)
        #expect(cluster[1].status.role == .leader)
        cluster.isolate([1])
        cluster.tickAll(20)
        #expect(cluster[1].status.role == .follower)
    }

    @Test(
        "a leader of an earlier term is told the term, and a replica stuck in a later one comes back"
    )
    func stuckReplicaIsFreed() {
        let cluster = Cluster(voters: 3) { $0.usesPreVote = false }
        cluster.elect(1)
        cluster.isolate([3])
        cluster.tickAll(60)
        #expect(cluster[3].status.term > cluster[1].status.term)
        cluster.heal()
        cluster.tickAll(60)
        let leaders = Set(cluster.ids.map { cluster.replicas[$0]!.raft.status.leader })
        #expect(leaders.count == 1 && leaders.first! != nil)
    }

    @Test("when the leader's node dies, a follower is elected well before an election timeout")
    func leaderLost() {
        for seed in 1...20 as ClosedRange<UInt64> {
            let cluster = Cluster(voters: 3, seed: seed)
            cluster.elect(1)
            cluster.crash(replica(1))
            cluster[2].raft.leaderLost()
            cluster[3].raft.leaderLost()
            cluster.settle()
            cluster.tickAll(5)
            let isLed = [2, 3].contains { cluster[$0].status.role == .leader }
            // Both may have drawn the same delay.
            let isTied = [2, 3].allSatisfy { cluster[$0].status.role != .follower }
            #expect(isLed || isTied, "seed \(seed)")
        }
    }

    @Test("two candidates of one moment that refuse each other ask again well before an election timeout")
    func tie() {
        var ticks: [Int] = []
        for seed in 1...100 as ClosedRange<UInt64> {
            let cluster = Cluster(voters: 3, seed: seed)
            cluster.elect(1)
            cluster.crash(replica(1))
            for id in [2, 3] as [UInt64] {
                cluster[id].raft.forgetLeader()
                cluster[id].raft.campaign()
            }
            cluster.settle()
            #expect([2, 3].allSatisfy { cluster[$0].status.role == .candidate }, "seed \(seed)")
            var count = 0
            while ![2, 3].contains(where: { cluster[$0].status.role == .leader }), count < 100 {
                cluster.tickAll(1)
                count += 1
            }
            ticks.append(count)
        }
        // They tie again when they draw the same delay, one time in five.
        #expect(ticks.count { $0 <= 5 } >= 70, "\(ticks.sorted())")
        #expect(ticks.allSatisfy { $0 < 40 }, "\(ticks.sorted())")
    }

    @Test("leaderLost moves neither a leader nor a learner")
    func leaderLostElsewhere() {
        let cluster = Cluster(voters: 1, learners: 1)
        cluster.elect(1)
        cluster.tickAll(2)
        let term = cluster[1].status.term
        cluster[1].raft.leaderLost()
        cluster[2].raft.leaderLost()
        #expect(cluster[1].status.role == .leader)
        #expect(cluster[2].status == Status(role: .learner, term: term, leader: nil))
        cluster[2].raft.tick(100)
        #expect(cluster[2].status.role == .learner)
    }

    @Test("a replica with an empty configuration, or one that it is not in, never campaigns")
    func strangersDoNotCampaign() {
        let cluster = Cluster(voters: 3)
        cluster.boot(replica(9))
        let snapshot = SnapshotMetadata(
            index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 3))
        cluster.boot(replica(8), snapshot: snapshot)
        for id in [8, 9] as [UInt64] {
            cluster[id].raft.campaign()
            cluster[id].raft.tick(500)
            #expect(cluster[id].status.role == .follower)
            #expect(cluster[id].status.term <= Term(1))
        }
    }

    @Test("nobody campaigns while a committed membership change is not applied")
    func noCampaignWithUnappliedChange() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(4))]))
        // Everything moves except for applying on replica 2.
        for _ in 0..<6 {
            for id in cluster.ids {
                cluster.collect(id)
                while !cluster.replicas[id]!.writes.isEmpty { cluster.persistOne(id) }
                if id != replica(2) { cluster.applyOne(id) }
            }
            let batch = cluster.network
            cluster.network = []
            batch.forEach(cluster.deliver)
        }
        #expect(cluster[2].commitIndex == cluster[1].commitIndex)
        #expect(cluster[2].appliedIndex < cluster[2].commitIndex)
        cluster[2].raft.leaderLost()
        cluster[2].raft.campaign()
        cluster[2].raft.tick(100)
        #expect(cluster[2].status.role == .follower)
        cluster.applyOne(replica(2))
        while !cluster.replicas[replica(2)]!.applies.isEmpty { cluster.applyOne(replica(2)) }
        cluster[2].raft.campaign()
        #expect(cluster[2].status.role == .preCandidate)
    }

    @Test("a learner that others know to be a voter votes")
    func learnerVotes() {
        let cluster = Cluster(voters: 2, learners: 1)
        cluster.deliver(vote(from: 2, to: 3, term: 5))
        cluster.collect(replica(3))
        cluster.persistOne(replica(3))
        #expect(cluster.network.map(\.body) == [.voteResponse(granted: true)])
    }

    @Test("the votes of replicas outside the configuration do not count")
    func strangersVotesDoNotCount() {
        let cluster = Cluster(voters: 5) { $0.usesPreVote = false }
        cluster[1].raft.campaign()
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        for stranger in 20...24 as ClosedRange<UInt64> {
            cluster.deliver(
                Message(
                    from: replica(stranger), to: replica(1), term: Term(2),
                    body: .voteResponse(granted: true)))
        }
        #expect(cluster[1].status.role == .candidate)
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: Term(2), body: .voteResponse(granted: true))
        )
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: Term(2), body: .voteResponse(granted: true))
        )
        #expect(cluster[1].status.role == .candidate)
        cluster.deliver(
            Message(
                from: replica(3), to: replica(1), term: Term(2), body: .voteResponse(granted: true))
        )
        #expect(cluster[1].status.role == .leader)
    }

    @Test(
        "many ticks at once are one silence: one campaign, one heartbeat, one check of the quorum")
    func manyTicks() {
        let cluster = Cluster(voters: 3)
        cluster[1].raft.tick(1_000_000)
        cluster.collect(replica(1))
        #expect(cluster.network.count == 2)
        cluster.settle()
        #expect(cluster[1].status.role == .leader)
        cluster[1].raft.tick(1_000_000)
        #expect(cluster[1].status.role == .leader)
        cluster.collect(replica(1))
        #expect(cluster.network.count == 2)
    }

    @Test("a replica whose storage failed takes part in nothing any more")
    func storageFailed() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "lost")
        cluster[1].raft.readIndex(context: 7)
        cluster[1].raft.storageFailed()
        let effects = cluster[1].raft.takeEffects()
        #expect(effects.messages.isEmpty && effects.persist == nil && effects.committed.isEmpty)
        #expect(effects.failedReads == [7])
        #expect(effects.statusChange?.role == .follower)
        #expect(cluster.propose(1, "x") == .refused(.fenced))
        cluster[1].raft.campaign()
        cluster[1].raft.tick(100)
        cluster.deliver(vote(from: 2, to: 1, term: 50))
        #expect(!cluster[1].hasEffects)
    }
}
