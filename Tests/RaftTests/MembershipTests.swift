import Testing

@testable import FlotillaRaft

@Suite struct MembershipTests {
    private func ids(_ values: ClosedRange<UInt64>) -> [ReplicaID] { values.map(ReplicaID.init) }

    @Test("one voter becomes three by a joint change, which is left by itself")
    func oneToThree() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        cluster.propose(1, "before")
        cluster.boot(replica(2))
        cluster.boot(replica(3))
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(20)), .addLearner(NodeID(30))]))
        cluster.settle()
        cluster.tickAll(2)
        #expect(cluster[1].configuration.learners == ids(2...3))
        cluster.change(1, ConfigurationChange([.promote(replica(2)), .promote(replica(3))]))
        cluster.settle()
        cluster.tickAll(2)
        for id in 1...3 as ClosedRange<UInt64> {
            #expect(cluster[id].configuration.voters == ids(1...3))
            #expect(!cluster[id].configuration.isJoint)
            #expect(cluster[id].configuration.learners.isEmpty)
            #expect(cluster[id].configuration.nextReplica == replica(4))
            #expect(cluster[id].configuration.node(of: replica(3)) == NodeID(30))
            #expect(cluster.texts(id) == ["before"])
        }
        // Entering and leaving, each once.
        #expect(cluster.history.values.filter { $0.kind == .configuration }.count == 4)
        cluster.isolate([1])
        cluster[2].raft.leaderLost()
        cluster.tickAll(40)
        #expect([2, 3].contains { cluster[$0].status.role == .leader })
        #expect(cluster.failure == nil)
    }

    @Test("a group founded by its first entry gives it to those that join")
    func foundingEntry() {
        let cluster = Cluster(voters: 1)
        let founding = ConfigurationChange([
            .addVoter(NodeID(1)), .addVoter(NodeID(2)), .addVoter(NodeID(3)),
        ])
        let first = Entry(
            index: index(1), term: Term(1), kind: .configuration, payload: cluster.encode(founding))
        cluster.machines = [:]
        for id in 1...3 as ClosedRange<UInt64> {
            cluster.boot(replica(id), entries: [first], commit: index(1))
        }
        cluster.settle()
        #expect(cluster[2].configuration.voters == ids(1...3))
        cluster.elect(2)
        cluster.boot(replica(4))
        cluster.change(2, ConfigurationChange([.addLearner(NodeID(4))]))
        cluster.settle()
        cluster.tickAll(2)
        #expect(cluster[4].configuration == cluster[2].configuration)
        #expect(cluster[4].status.role == .learner)
        #expect(cluster.failure == nil)
    }

    @Test("a change is in force when it is applied, not before")
    func inForceWhenApplied() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([1])
        cluster.change(1, ConfigurationChange([.remove(replica(3))]))
        cluster.settle()
        #expect(cluster[1].configuration.voters == ids(1...3))
        cluster.heal()
        cluster.tickAll(2)
        #expect(cluster[1].configuration.voters == ids(1...2))
        #expect(cluster[2].configuration.voters == ids(1...2))
    }

    @Test(
        "an uncommitted change that another leader overwrites never takes effect, and blocks nothing"
    )
    func overwrittenChange() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([1])
        cluster.change(1, ConfigurationChange([.remove(replica(3))]))
        cluster.settle()
        cluster.elect(2)
        cluster.heal()
        cluster.tickAll(3)
        #expect(cluster[1].status.leader == replica(2))
        #expect(cluster[1].configuration.voters == ids(1...3))
        #expect(
            cluster.change(2, ConfigurationChange([.demote(replica(1))]))
                != .refused(.changePending))
        cluster.settle()
        #expect(cluster[1].configuration.learners == [replica(1)])
        #expect(cluster.failure == nil)
    }

    @Test("one change at a time; a follower passes its own on to the leader, which drops it then")
    func oneAtATime() {
        let cluster = Cluster(voters: 3)
        let add = ConfigurationChange([.addLearner(NodeID(9))])
        #expect(cluster.change(1, add) == .refused(.noLeader))
        cluster.elect(1)
        #expect(cluster.change(2, add) == .forwarded(to: replica(1)))
        guard case .appended = cluster.change(1, add) else {
            Issue.record("refused")
            return
        }
        #expect(cluster.change(1, add) == .refused(.changePending))
        cluster.settle()
        guard case .appended = cluster.change(1, ConfigurationChange([.promote(replica(4))])) else {
            Issue.record("still pending after it was applied")
            return
        }
    }

    @Test("a new leader takes no change before it applied what its predecessors left")
    func newLeaderWaits() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "not applied by 2")
        cluster.isLost = {
            if case .append(let append) = $0.body { append.entries.isEmpty } else { false }
        }
        cluster.settle()
        cluster.heal()
        cluster.isLost = { if case .appendResponse = $0.body { true } else { false } }
        cluster.elect(2)
        #expect(cluster[2].status.role == .leader)
        #expect(
            cluster.change(2, ConfigurationChange([.remove(replica(3))]))
                == .refused(.changePending))
    }

    @Test("changes that do not fit are refused with a reason")
    func invalid() {
        let cluster = Cluster(voters: 3, learners: 1)
        cluster.elect(1)
        let unfit: [ConfigurationChange] = [
            ConfigurationChange([]),
            ConfigurationChange([.promote(replica(1))]),
            ConfigurationChange([.promote(replica(99))]),
            ConfigurationChange([.demote(replica(4))]),
            ConfigurationChange([.remove(replica(99))]),
            ConfigurationChange([.addLearner(NodeID(2))]),
            ConfigurationChange([.remove(replica(1)), .remove(replica(2)), .remove(replica(3))]),
            ConfigurationChange([.remove(replica(2)), .demote(replica(2))]),
        ]
        for change in unfit {
            guard case .refused(.invalidChange(let reason)) = cluster.change(1, change) else {
                Issue.record("\(change) was taken")
                continue
            }
            #expect(!reason.isEmpty)
        }
        // A replica may be replaced by another on the same node.
        guard
            case .appended = cluster.change(
                1, ConfigurationChange([.remove(replica(2)), .addLearner(NodeID(2))]))
        else {
            Issue.record("a replacement on the same node was refused")
            return
        }
        cluster.boot(replica(5))
        cluster.settle()
        cluster.tickAll(2)
        #expect(cluster[1].configuration.replica(on: NodeID(2)) == replica(5))
        #expect(cluster[1].configuration.voters == [replica(1), replica(3)])
    }

    @Test("an unreadable or unsuitable change changes nothing")
    func unreadable() {
        let cluster = Cluster(voters: 3)
        let before = cluster[1].configuration
        #expect(cluster[1].raft.applyConfiguration(nil) == before)
        #expect(cluster[1].raft.applyConfiguration(ConfigurationChange([])) == before)
        #expect(
            cluster[1].raft.applyConfiguration(ConfigurationChange([.promote(replica(77))])) == before)
    }

    @Test("an explicit joint configuration stays until it is left, and needs both majorities")
    func explicitJoint() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        for id in 4...5 as ClosedRange<UInt64> { cluster.boot(replica(id)) }
        cluster.change(
            1,
            ConfigurationChange(
                [
                    .remove(replica(2)), .remove(replica(3)), .addVoter(NodeID(4)),
                    .addVoter(NodeID(5)),
                ],
                transition: .jointExplicit))
        cluster.settle()
        cluster.tickAll(3)
        #expect(cluster[1].configuration.voters == [replica(1), replica(4), replica(5)])
        #expect(cluster[1].configuration.outgoingVoters == ids(1...3))
        for away in [[2, 3], [4, 5]] as [Set<UInt64>] {
            cluster.isolate(away)
            let committed = cluster[1].commitIndex
            cluster.propose(1, "x")
            cluster.settle()
            cluster.tickAll(2)
            #expect(cluster[1].commitIndex == committed, "\(away)")
            cluster.heal()
            cluster.tickAll(3)
            #expect(cluster[1].commitIndex > committed)
        }
        guard
            case .refused(.invalidChange) = cluster.change(
                1, ConfigurationChange([.remove(replica(4))]))
        else {
            Issue.record("a change was taken while joint")
            return
        }
        cluster.change(1, ConfigurationChange([]))
        cluster.settle()
        #expect(!cluster[1].configuration.isJoint)
        #expect(
            cluster[1].configuration.members.map(\.replica) == [replica(1), replica(4), replica(5)])
        cluster.isolate([2, 3])
        let committed = cluster[1].commitIndex
        cluster.propose(1, "without the old ones")
        cluster.settle()
        #expect(cluster[1].commitIndex == committed.next)
        #expect(cluster.failure == nil)
    }

    @Test(
        "the leaving of a joint configuration is proposed once, however often entries are applied meanwhile"
    )
    func leavesOnce() {
        let cluster = Cluster(voters: 3) { $0.maxCommittedBytesPerEffects = 1 }
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.demote(replica(3))], transition: .jointImplicit))
        for number in 0..<5 { cluster.propose(1, "\(number)") }
        cluster.settle()
        cluster.tickAll(2)
        #expect(!cluster[1].configuration.isJoint)
        #expect(cluster.history.values.filter { $0.kind == .configuration }.count == 2)
    }

    @Test("a new leader leaves the joint configuration that the old one entered")
    func leaderChangesWhileJoint() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.boot(replica(4))
        // 1 enters the joint configuration and dies before it can leave it.
        cluster.change(1, ConfigurationChange([.remove(replica(3)), .addVoter(NodeID(4))]))
        let target = cluster[1].lastIndex
        cluster.isLost = { message in
            if case .append(let append) = message.body {
                append.entries.contains { $0.index > target }
            } else {
                false
            }
        }
        cluster.settle()
        cluster.tickAll(2)
        #expect(cluster[2].configuration.isJoint)
        cluster.crash(replica(1))
        cluster.heal()
        cluster.elect(2)
        cluster.tickAll(30)
        let leader = [2, 3, 4].first { cluster[$0].status.role == .leader }
        #expect(leader != nil)
        #expect(!cluster[2].configuration.isJoint)
        #expect(cluster[2].configuration.voters == [replica(1), replica(2), replica(4)])
        #expect(cluster.failure == nil)
    }

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

    @Test("a demoted voter becomes a learner when the joint configuration is left")
    func demotion() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.demote(replica(3))], transition: .jointExplicit))
        cluster.settle()
        #expect(cluster[3].configuration.nextLearners == [replica(3)])
        #expect(cluster[3].status.role == .follower)
        cluster.change(1, ConfigurationChange([]))
        cluster.settle()
        #expect(cluster[3].configuration.learners == [replica(3)])
        #expect(cluster[3].status.role == .learner)
        cluster[3].raft.tick(500)
        #expect(cluster[3].status.role == .learner)
    }

    @Test("an added voter does not make the leader step down before it could answer")
    func newVoterIsTakenToBeAlive() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.addVoter(NodeID(2))]))
        cluster.settle()
        #expect(cluster[1].configuration.voters == ids(1...2))
        cluster.tickAll(8)
        cluster.boot(replica(2))
        cluster.tickAll(30)
        #expect(cluster[1].status.role == .leader)
        #expect(cluster[2].configuration.voters == ids(1...2))
    }
}
