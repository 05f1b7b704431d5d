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
        cluster.settle()
        #expect(cluster[1].configuration.members.count == 4)
        cluster.change(2, ConfigurationChange([.demote(replica(4))]))
        cluster.settle()
        #expect(cluster[3].configuration.learners == [replica(4)])
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
