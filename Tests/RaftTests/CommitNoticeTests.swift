import Testing

@testable import FlotillaRaft

/// How members hear of what is committed.
@Suite struct CommitNoticeTests {
    /// Led by 1, with nothing under way.
    private func settled(_ configure: (inout RaftOptions) -> Void = { _ in }) -> Cluster {
        let cluster = Cluster(voters: 3, configure: configure)
        cluster.elect(1)
        cluster.tickAll(1)
        cluster.settle()
        cluster.sent = []
        return cluster
    }

    private func proposeForItself(_ cluster: Cluster, _ text: String) {
        _ = cluster[1].raft.propose([Array(text.utf8)], isUrgent: false)
    }

    private func emptyAppends(_ cluster: Cluster) -> [Message.Append] {
        cluster.sent.compactMap { message in
            if case .append(let append) = message.body, append.entries.isEmpty { append } else { nil }
        }
    }

    private func answers(_ cluster: Cluster) -> Int {
        cluster.sent.count { if case .appendResponse = $0.body { true } else { false } }
    }

    private func heartbeats(_ cluster: Cluster) -> [ReplicaID] {
        defer { cluster.sent = [] }
        return cluster.sent.compactMap { if case .heartbeat = $0.body { $0.to } else { nil } }
    }

    @Test("what only the leader's own callers wait for is told with the next entries")
    func nextEntries() {
        let cluster = settled()
        proposeForItself(cluster, "a")
        cluster.settle()
        #expect(cluster.texts(1) == ["a"] && cluster.texts(2).isEmpty && cluster.texts(3).isEmpty)
        #expect(emptyAppends(cluster).isEmpty)
        proposeForItself(cluster, "b")
        cluster.settle()
        #expect(cluster.texts(1) == ["a", "b"] && cluster.texts(2) == ["a"] && cluster.texts(3) == ["a"])
    }

    @Test("or with the next heartbeat")
    func heartbeat() {
        let cluster = settled()
        proposeForItself(cluster, "a")
        cluster.settle()
        cluster.tickAll(1)
        cluster.settle()
        #expect(cluster.texts(2) == ["a"] && cluster.texts(3) == ["a"])
    }

    @Test("what others wait for is told at once, and all that precedes it")
    func urgent() {
        let cluster = settled()
        proposeForItself(cluster, "a")
        cluster.propose(1, "b")
        cluster.settle()
        for id in [1, 2, 3] as [UInt64] { #expect(cluster.texts(id) == ["a", "b"]) }
    }

    @Test("a follower that passed a command on hears at once that it is committed")
    func forwarded() {
        let cluster = settled()
        _ = cluster[2].raft.propose([Array("a".utf8)], isUrgent: false)
        cluster.settle()
        #expect(cluster.texts(2) == ["a"])
    }

    @Test("a follower's read brings what it has to apply")
    func read() {
        let cluster = settled()
        proposeForItself(cluster, "a")
        cluster.settle()
        cluster[2].raft.readIndex(context: 7)
        cluster.settle()
        #expect(cluster.replicas[replica(2)]!.readStates == [ReadState(context: 7, index: cluster[1].commitIndex)])
        #expect(cluster.texts(2) == ["a"])
    }

    @Test("an append that only tells the commit index is not answered, where that is agreed on")
    func unanswered() {
        let (spared, answered) = (settled { $0.sparesAnswersToNotices = true }, settled())
        for cluster in [spared, answered] {
            cluster.propose(1, "a")
            cluster.settle()
            #expect(cluster.texts(2) == ["a"] && cluster.texts(3) == ["a"])
            #expect(emptyAppends(cluster).count == 2)
        }
        #expect(emptyAppends(spared).allSatisfy(\.isNotice) && answers(spared) == 2)
        #expect(!emptyAppends(answered).contains { $0.isNotice } && answers(answered) == 4)
    }

    @Test("a notice to a member that lacks what precedes it is refused, and the member gets it")
    func refusedNotice() {
        let cluster = settled { $0.sparesAnswersToNotices = true }
        cluster.isLost = { message in
            if case .append(let append) = message.body {
                message.to == replica(3) && !append.entries.isEmpty
            } else {
                false
            }
        }
        cluster.propose(1, "a")
        cluster.settle()
        #expect(cluster.texts(2) == ["a"] && cluster.texts(3).isEmpty)
        cluster.heal()
        cluster.settle()
        cluster.tickAll(2)
        cluster.settle()
        #expect(cluster.texts(3) == ["a"])
    }

    @Test("a member that got an append since the last heartbeat gets none, and the next one when there was none")
    func heartbeatsBesideAppends() {
        let cluster = settled { $0.skipsHeartbeatsBesideAppends = true }
        cluster.propose(1, "a")
        cluster.settle()
        cluster[1].raft.tick()
        cluster.settle()
        #expect(heartbeats(cluster).isEmpty)
        cluster[1].raft.tick()
        cluster.settle()
        #expect(heartbeats(cluster) == [replica(2), replica(3)])
    }

    @Test("where reads are by lease, every heartbeat goes out: the lease rests on them")
    func leased() {
        let cluster = Cluster(voters: 3) { options in
            options.skipsHeartbeatsBesideAppends = true
            options.reads = .lease
        }
        while !cluster.ids.contains(where: { cluster.replicas[$0]!.role == .leader }) { cluster.tickAll() }
        let leader = cluster.ids.first { cluster.replicas[$0]!.role == .leader }!
        cluster.propose(leader.rawValue, "a")
        cluster.settle()
        cluster.sent = []
        cluster.replicas[leader]!.raft.tick()
        cluster.settle()
        #expect(heartbeats(cluster) == cluster.ids.filter { $0 != leader })
    }
}
