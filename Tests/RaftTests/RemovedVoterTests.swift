import Testing

@testable import FlotillaRaft

/// Leaders and voters that a change took the vote from.
@Suite struct RemovedVoterTests {
    private func ids(_ range: ClosedRange<UInt64>) -> [ReplicaID] { range.map(ReplicaID.init) }

    @Test("a removed leader hands over only when another has everything, and takes no proposals")
    func removedLeader() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.remove(replica(1))]))
        cluster.settle()
        #expect(cluster[1].status.role == .follower)
        #expect(cluster.propose(1, "x") == .refused(.noLeader))
        cluster[1].raft.campaign()
        cluster[1].raft.tick(500)
        #expect(cluster[1].status.role == .follower)
        cluster.crash(replica(1))
        cluster.tickAll(60)
        let leader = [2, 3].first { cluster[$0].status.role == .leader }
        #expect(leader != nil)
        #expect(cluster.propose(leader ?? 2, "after") != .refused(.noLeader))
        cluster.settle()
        #expect(cluster.texts(2) == ["after"])
    }

    /// 1 and 2 vote; 2 leads and takes 1's vote by `change`, tells 1 so together with entries that 2's own disk never
    /// got, and crashes: it does not know any more that the change is committed.
    private func outvoted(_ change: ConfigurationChange, voters: Int) -> Cluster {
        let cluster = Cluster(voters: voters)
        let (leader, other) = (replica(2), replica(1))
        cluster.elect(2)
        cluster.change(2, change)
        cluster.settle()
        if cluster[2].configuration.isJoint { cluster.change(2, ConfigurationChange([])) }
        let target = cluster[2].lastIndex
        for _ in 0..<4 {
            for id in cluster.ids {
                cluster.collect(id)
                let isTail =
                    id == leader
                    && cluster.replicas[id]!.writes.first?.entries.first?.index ?? .zero > target
                if !isTail { cluster.persistOne(id) }
                cluster.applyOne(id)
            }
            let batch = cluster.network
            cluster.network = []
            batch.forEach(cluster.deliver)
            if cluster[2].lastIndex == target { cluster.propose(2, "tail") }
        }
        #expect(cluster[1].lastIndex > target)
        #expect(!cluster[1].isVoter(other))
        cluster.crash(leader)
        cluster.network = []
        cluster.restart(leader)
        cluster.settle()
        #expect(cluster[2].lastIndex < cluster[1].lastIndex)
        #expect(cluster[2].isVoter(other))
        return cluster
    }

    @Test("a replica that lost its vote does not keep those out who have not heard of it yet")
    func outvotedReplicaVotes() {
        for change in [
            ConfigurationChange([.demote(replica(1))], transition: .jointExplicit),
            ConfigurationChange([.demote(replica(1))]),
        ] {
            let cluster = outvoted(change, voters: 2)
            cluster.tickAll(60)
            #expect(cluster[2].status.role == .leader)
            #expect(cluster[2].configuration.voters == [replica(2)])
            cluster.propose(2, "after")
            cluster.settle()
            #expect(cluster.texts(1) == ["after"])
            #expect(cluster.failure == nil)
        }
    }

    @Test("where quorums needed the lost vote, its holder still insists on its whole log")
    func lostVoteOfOddGroup() {
        // 2 and 1 may have committed the tail before 2 applied the change, and 3 may know nothing of it.
        for voters in [3, 4] {
            let cluster = outvoted(ConfigurationChange([.demote(replica(1))]), voters: voters)
            let request = Message.VoteRequest(
                lastIndex: cluster[1].commitIndex, lastTerm: cluster[1].status.term,
                isTransfer: true)
            cluster.deliver(
                Message(from: replica(3), to: replica(1), term: Term(9), body: .vote(request)))
            #expect(cluster[1].hardState.vote == (voters == 3 ? nil : replica(3)))
        }
    }

    @Test("a removed leader with entries that nobody has leads until a voter has them")
    func removedLeaderWithTail() {
        let cluster = Cluster(voters: 2)
        cluster.elect(1)
        cluster.isLost = { $0.from == replica(2) }
        cluster.change(1, ConfigurationChange([.remove(replica(1))]))
        cluster.settle()
        // Both have the change; 1 leads again and does not know what it means.
        cluster.crash(replica(1))
        cluster.restart(replica(1))
        cluster.isLost = { if case .appendResponse = $0.body { true } else { false } }
        cluster.elect(1)
        let shared = cluster[1].lastIndex
        cluster.isLost = { message in
            if case .append(let append) = message.body {
                append.entries.contains { $0.index > shared }
            } else {
                false
            }
        }
        cluster.propose(1, "tail")
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: cluster[1].status.term,
                body: .appendResponse(.init(index: shared))))
        cluster.settle()
        #expect(cluster[1].configuration.voters == [replica(2)])
        #expect(cluster[1].status.role == .leader)
        #expect(cluster.propose(1, "no more") == .refused(.notMember))
        cluster.heal()
        cluster[1].raft.reportUnreachable(replica(2))
        cluster.tickAll(3)
        #expect(cluster[1].status.role == .follower)
        cluster.tickAll(30)
        #expect(cluster[2].status.role == .leader)
        #expect(cluster.texts(2) == ["tail"])
    }

    @Test("a removed leader goes on leading, steps down at once, or when it can be replaced, as it is told")
    func removedLeaderOption() {
        for option in [RemovedLeader.stays, .stepsDownAtOnce, .stepsDownWhenReplaceable] {
            let cluster = Cluster(voters: 3) { $0.removedLeader = option }
            cluster.elect(1)
            cluster.change(1, ConfigurationChange([.remove(replica(1))]))
            let shared = cluster[1].lastIndex
            // 2 and 3 get the change, and nothing behind it.
            cluster.isLost = { message in
                if case .append(let append) = message.body {
                    append.entries.contains { $0.index > shared }
                } else {
                    false
                }
            }
            cluster.propose(1, "tail")
            cluster.settle()
            #expect(cluster[1].configuration.voters == ids(2...3))
            #expect(cluster[1].status.role == (option == .stepsDownAtOnce ? .follower : .leader))
            cluster.heal()
            if option != .stepsDownAtOnce { cluster[1].raft.reportUnreachable(replica(2)) }
            cluster.tickAll(3)
            #expect(cluster[1].status.role == (option == .stays ? .leader : .follower))
            if option == .stays { continue }
            cluster.tickAll(60)
            #expect([2, 3].contains { cluster[$0].status.role == .leader }, "\(option)")
        }
    }
}
