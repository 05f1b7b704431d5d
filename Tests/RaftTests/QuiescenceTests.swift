import Testing

@testable import FlotillaRaft

@Suite struct QuiescenceTests {
    private func quiet(voters: Int = 3, learners: Int = 0) -> Cluster {
        let cluster = Cluster(voters: voters, learners: learners) { $0.quietAfterTicks = 3 }
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.settle()
        cluster.tickAll(6)
        return cluster
    }

    @Test("a group with nothing to do goes quiet and then sends nothing, however much time passes")
    func goesQuiet() {
        let cluster = quiet(learners: 1)
        #expect(cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.isQuiet })
        let before = cluster.sent.count
        for id in cluster.ids { cluster.replicas[id]!.raft.tick(10_000) }
        #expect(cluster.ids.allSatisfy { !cluster.replicas[$0]!.raft.hasEffects })
        #expect(cluster.sent.count == before)
    }

    @Test(
        "a quiet replica that gives its memory back keeps no entry that is on disk, and whoever lags gets them from there"
    )
    func shrinks() {
        let cluster = quiet()
        cluster.isolate([3])
        cluster.propose(1, "b")
        cluster.settle()
        let before = cluster[1].log.window.start
        cluster[1].raft.shrink()
        #expect(cluster[1].log.window.start == before, "one that is awake keeps what it has")
        cluster.tickAll(40)
        #expect(cluster[1].isQuiet)
        for id in cluster.ids { cluster.replicas[id]!.raft.shrink() }
        let last = cluster[1].lastIndex
        #expect(cluster[1].log.window.start == last, "what a silent member lacks stays in memory")
        #expect(cluster[1].log.window.settledBytes == cluster[1].log.window.recomputedSettledBytes)
        #expect(cluster[2].log.window.start == last.next, "a follower sends nothing")
        #expect(cluster[2].progress.isEmpty, "members are tracked by their leader alone")
        cluster.heal()
        cluster[1].raft.wake()
        var hasRead = false
        for _ in 0..<10 {
            for id in cluster.ids { cluster.replicas[id]!.raft.tick() }
            for id in cluster.ids { cluster.collect(id) }
            hasRead = hasRead || !cluster[1].reads.isEmpty
            cluster.settle()
        }
        #expect(!hasRead && cluster.texts(3) == ["a", "b"])
        cluster.propose(2, "c")
        cluster.settle()
        #expect((1...3).allSatisfy { cluster.texts($0) == ["a", "b", "c"] } && cluster.failure == nil)
    }

    @Test("a member that has to be sent older entries from the disk keeps none in memory")
    func shrinksBehindLaggard() {
        let cluster = Cluster(voters: 3) { options in
            options.quietAfterTicks = 3
            options.windowBytes = 200
        }
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<40 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.tickAll(40)
        #expect(cluster[1].isQuiet && cluster[1].log.window.start > LogIndex(4))
        cluster[1].raft.shrink()
        #expect(cluster[1].log.window.start == cluster[1].lastIndex.next)
        cluster.heal()
        cluster[1].raft.wake()
        cluster.tickAll(10)
        #expect(cluster.texts(3).count == 40 && cluster.failure == nil)
    }

    @Test("a proposal on any member wakes the group, which works as before")
    func proposalWakes() {
        for id in 1...3 as ClosedRange<UInt64> {
            let cluster = quiet()
            cluster.propose(id, "b")
            cluster.settle()
            #expect(!cluster[1].isQuiet)
            #expect(cluster.texts(3) == ["a", "b"])
            cluster.tickAll(6)
            #expect(cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.isQuiet })
        }
    }

    @Test("a learner that took the leader of a quiet group for dead finds it again, though it cannot campaign")
    func learnerFindsLeader() {
        let cluster = quiet(learners: 1)
        cluster.replicas[replica(4)]!.raft.leaderLost()
        #expect(cluster[4].status.leader == nil)
        for _ in 0..<40 where cluster[4].status.leader == nil {
            cluster.replicas[replica(4)]!.raft.tick()
            cluster.settle()
            // The others are ticked only where they are awake.
            for id in cluster.ids where !cluster.replicas[id]!.raft.isQuiet && id != replica(4) {
                cluster.replicas[id]!.raft.tick()
            }
            cluster.settle()
        }
        #expect(cluster[4].status.leader == replica(1))
        #expect(cluster[1].status.term == cluster[4].status.term)
        cluster.tickAll(6)
        #expect(cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.isQuiet })
    }

    @Test("a read wakes the group and is answered")
    func readWakes() {
        let cluster = quiet()
        cluster[2].raft.readIndex(context: 9)
        cluster.settle()
        #expect(cluster.replicas[replica(2)]!.readStates.map(\.context) == [9])
    }

    @Test("a quiet follower keeps the lease: it ignores requests for votes")
    func keepsLease() {
        let cluster = quiet()
        let term = cluster[2].status.term
        let request = Message.VoteRequest(
            lastIndex: index(99), lastTerm: Term(99), isTransfer: false)
        cluster.deliver(
            Message(from: replica(3), to: replica(2), term: Term(99), body: .vote(request)))
        #expect(cluster[2].status.term == term)
    }

    @Test(
        "when the quiet leader's node dies, a follower is elected; a wake alone elects nobody new")
    func leaderDies() {
        let cluster = quiet()
        for id in cluster.ids { cluster.replicas[id]!.raft.wake() }
        let term = cluster[1].status.term
        cluster.tickAll(30)
        #expect(cluster[1].status == Status(role: .leader, term: term, leader: replica(1)))
        cluster.crash(replica(1))
        cluster[2].raft.leaderLost()
        cluster[3].raft.leaderLost()
        cluster.tickAll(60)
        #expect([2, 3].contains { cluster[$0].status.role == .leader })
    }

    @Test("a follower that lacks something answers, and the leader wakes")
    func disagreement() {
        let cluster = quiet()
        let quiesce = Message.Quiesce(commit: cluster[1].commitIndex.next, livenessEpoch: 0)
        cluster.deliver(
            Message(
                from: replica(1), to: replica(2), term: cluster[1].status.term,
                body: .quiesce(quiesce)))
        #expect(!cluster[2].isQuiet)
        cluster.collect(replica(2))
        #expect(cluster.network.count == 1)
        cluster.network.forEach(cluster.deliver)
        #expect(!cluster[1].isQuiet)
    }

    @Test(
        "a member that is away does not keep the group awake, and its return wakes nobody but it is caught up"
    )
    func awayMember() {
        let cluster = Cluster(voters: 3) { $0.quietAfterTicks = 3 }
        cluster.elect(1)
        cluster.crash(replica(3))
        cluster.propose(1, "a")
        cluster.tickAll(20)
        #expect(cluster[1].isQuiet && cluster[2].isQuiet)
        cluster.restart(replica(3))
        // The node's return is what the shell reports.
        cluster[1].raft.wake()
        cluster.tickAll(5)
        #expect(cluster.texts(3) == ["a"])
        cluster.tickAll(10)
        #expect(cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.isQuiet })
    }

    @Test(
        "a leader does not go quiet with a live member that lags, without a quorum, or with work to do"
    )
    func staysAwake() {
        let lagging = Cluster(voters: 3) { $0.quietAfterTicks = 3 }
        lagging.elect(1)
        lagging.isLost = { message in
            if case .append = message.body { message.to == replica(3) } else { false }
        }
        lagging.propose(1, "a")
        lagging.tickAll(9)
        #expect(!lagging[1].isQuiet)

        let unheard = Cluster(voters: 3) {
            $0.quietAfterTicks = 30
            $0.checksQuorum = false
        }
        unheard.elect(1)
        unheard.settle()
        unheard.isolate([1])
        unheard.tickAll(60)
        #expect(!unheard[1].isQuiet)
    }

    @Test("the leader states its node's epoch, and a new one is agreed upon anew")
    func epoch() {
        let cluster = quiet()
        cluster[1].raft.setLivenessEpoch(4)
        #expect(!cluster[1].isQuiet)
        cluster.tickAll(6)
        let last = cluster.sent.last { if case .quiesce = $0.body { true } else { false } }
        #expect(last?.body == .quiesce(.init(commit: cluster[1].commitIndex, livenessEpoch: 4)))
        #expect(cluster.ids.allSatisfy { cluster.replicas[$0]!.raft.isQuiet })
    }

    @Test("one member that lags keeps the leader awake, though the others have everything")
    func laggardKeepsAwake() {
        let cluster = quiet()
        cluster[1].raft.wake()
        cluster.isLost = { message in
            if case .append = message.body { message.to == replica(3) } else { false }
        }
        cluster.propose(1, "a")
        cluster.settle()
        #expect(cluster[1].commitIndex == cluster[1].lastIndex)
        for _ in 0..<12 {
            cluster.tickAll()
            #expect(!cluster[1].isQuiet)
        }
        let proposals = cluster.sent.filter { if case .quiesce = $0.body { true } else { false } }.count
        #expect(proposals == 2, "the two of the first quiet")
    }
}
