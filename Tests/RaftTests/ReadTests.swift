import Testing

@testable import FlotillaRaft

@Suite struct ReadTests {
    private func states(_ cluster: Cluster, _ id: UInt64) -> [ReadState] {
        cluster.replicas[replica(id)]!.readStates
    }
    private func failed(_ cluster: Cluster, _ id: UInt64) -> [UInt64] {
        cluster.replicas[replica(id)]!.failedReads
    }

    @Test("a leader, a follower and a learner can all ask")
    func everyone() {
        let cluster = Cluster(voters: 3, learners: 1)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.settle()
        for id in [1, 2, 4] as [UInt64] { cluster[id].raft.readIndex(context: id) }
        cluster.settle()
        for id in [1, 2, 4] as [UInt64] {
            #expect(states(cluster, id) == [ReadState(context: id, index: cluster[1].commitIndex)])
        }
    }

    @Test("no read is answered before an entry of the leader's own term is committed")
    func notBeforeFirstCommit() {
        let cluster = Cluster(voters: 3)
        cluster.elect(2)
        cluster.propose(2, "committed by 2, which alone knows it")
        // 2 commits; nobody else learns that.
        cluster.isLost = { message in
            if case .append(let append) = message.body { append.entries.isEmpty } else { false }
        }
        cluster.settle()
        let committed = cluster[2].commitIndex
        #expect(cluster[1].commitIndex < committed)
        cluster.heal()
        cluster.isolate([2])
        // 1 leads; its first entry does not get through yet, heartbeats do.
        cluster.isLost = { message in
            if case .append = message.body {
                true
            } else {
                message.from == replica(2) || message.to == replica(2)
            }
        }
        cluster.elect(1)
        #expect(cluster[1].status.role == .leader)
        cluster.tickAll(1)
        cluster[1].raft.readIndex(context: 1)
        cluster[3].raft.readIndex(context: 3)
        cluster.tickAll(3)
        #expect(states(cluster, 1).isEmpty && states(cluster, 3).isEmpty)
        cluster.isolate([2])
        cluster.tickAll(3)
        #expect(states(cluster, 1).map(\.context) == [1])
        #expect(states(cluster, 3).map(\.context) == [3])
        #expect(states(cluster, 1).allSatisfy { $0.index >= committed })
    }

    @Test("a leader in a minority answers no read, and fails it when it steps down")
    func minority() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([1])
        cluster[1].raft.readIndex(context: 5)
        cluster.tickAll(5)
        #expect(states(cluster, 1).isEmpty)
        cluster.tickAll(20)
        #expect(states(cluster, 1).isEmpty)
        #expect(failed(cluster, 1) == [5])
    }

    @Test("an answer to an earlier round confirms no later read")
    func lateAnswer() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster[1].raft.readIndex(context: 1)
        cluster.settle()
        #expect(states(cluster, 1).map(\.context) == [1])
        cluster.isolate([1])
        cluster[1].raft.readIndex(context: 2)
        cluster.settle()
        let term = cluster[1].status.term
        for _ in 0..<3 {
            for follower in [2, 3] as [UInt64] {
                cluster.deliver(
                    Message(
                        from: replica(follower), to: replica(1), term: term,
                        body: .heartbeatResponse(.init(readRound: 1))))
            }
        }
        cluster.settle()
        #expect(states(cluster, 1).map(\.context) == [1])
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: term,
                body: .heartbeatResponse(.init(readRound: 2))))
        cluster.settle()
        #expect(states(cluster, 1).map(\.context) == [1, 2])
    }

    @Test("reads that come together share a round of heartbeats")
    func batching() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        let before = cluster.sent.count
        for context in 0..<100 as Range<UInt64> { cluster[1].raft.readIndex(context: context) }
        cluster.settle()
        #expect(states(cluster, 1).count == 100)
        #expect(cluster.sent.count - before == 4)
    }

    @Test("a round whose heartbeats were lost is confirmed by the next heartbeat")
    func lostRound() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([1])
        cluster[1].raft.readIndex(context: 1)
        cluster.settle()
        cluster.heal()
        cluster.tickAll(1)
        #expect(states(cluster, 1).map(\.context) == [1])
    }

    @Test(
        "without a leader a read fails at once; without an answer it fails after an election timeout"
    )
    func failures() {
        let cluster = Cluster(voters: 3)
        cluster[2].raft.readIndex(context: 1)
        cluster.settle()
        #expect(failed(cluster, 2) == [1])
        cluster.elect(1)
        cluster.isLost = { if case .readIndex = $0.body { true } else { false } }
        cluster[2].raft.readIndex(context: 2)
        cluster.tickAll(9)
        #expect(failed(cluster, 2) == [1])
        cluster.tickAll(1)
        #expect(failed(cluster, 2) == [1, 2])
        cluster[2].raft.readIndex(context: 3)
        cluster[2].raft.leaderLost()
        cluster.collect(replica(2))
        #expect(failed(cluster, 2) == [1, 2, 3])
    }

    @Test(
        "a removed replica's confirmation does not count, and in a joint configuration both majorities do"
    )
    func jointReads() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        for node in 4...5 as ClosedRange<UInt64> { cluster.boot(replica(node)) }
        cluster.change(
            1,
            ConfigurationChange(
                [
                    .remove(replica(2)), .remove(replica(3)), .addVoter(NodeID(4)),
                    .addVoter(NodeID(5)),
                ], transition: .jointExplicit))
        cluster.settle()
        cluster.tickAll(3)
        #expect(cluster[1].configuration.isJoint)
        cluster.isolate([4, 5])
        cluster[1].raft.readIndex(context: 1)
        cluster.tickAll(2)
        #expect(states(cluster, 1).isEmpty)
        cluster.isolate([2, 3])
        cluster[1].raft.readIndex(context: 2)
        cluster.tickAll(2)
        // Each half answered once: together, that confirms the first read, which was asked before both.
        #expect(states(cluster, 1).map(\.context) == [1])
        cluster.heal()
        cluster.tickAll(2)
        #expect(states(cluster, 1).map(\.context) == [1, 2])
    }
}
