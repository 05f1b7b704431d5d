import Testing

@testable import FlotillaRaft

@Suite struct TransferTests {
    @Test("leadership moves to a voter that has everything, at once and against the lease")
    func transfer() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster[1].raft.transferLeadership(to: replica(3))
        #expect(cluster.propose(1, "meanwhile") == .refused(.transferring))
        cluster.settle()
        #expect(cluster[3].status.role == .leader)
        #expect(cluster[1].status.leader == replica(3))
    }

    @Test("a follower passes the request on; a voter that lags catches up first")
    func lagging() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<20 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.heal()
        cluster[2].raft.transferLeadership(to: replica(3))
        cluster.tickAll(3)
        #expect(cluster[3].status.role == .leader)
        #expect(cluster.texts(3).count == 20)
    }

    @Test("a transfer to a learner, a stranger or itself is ignored")
    func unsuitable() {
        let cluster = Cluster(voters: 2, learners: 1)
        cluster.elect(1)
        for target in [1, 3, 77] as [UInt64] {
            cluster[1].raft.transferLeadership(to: replica(target))
            cluster.settle()
            #expect(cluster[1].status.role == .leader)
            #expect(cluster.propose(1, "x") != .refused(.transferring))
        }
    }

    @Test("a transfer that does not come about within an election timeout is given up")
    func timeout() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([3])
        cluster[1].raft.transferLeadership(to: replica(3))
        cluster.tickAll(9)
        #expect(cluster.propose(1, "x") == .refused(.transferring))
        cluster.tickAll(1)
        #expect(cluster.propose(1, "x") != .refused(.transferring))
        #expect(cluster[1].status.role == .leader)
    }

    @Test("a transfer under way defers the leaving of a joint configuration, and does not lose it")
    func transferWhileJoint() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.demote(replica(2))], transition: .jointImplicit))
        cluster.isLost = { if case .timeoutNow = $0.body { true } else { false } }
        cluster[1].raft.transferLeadership(to: replica(3))
        cluster.settle()
        #expect(cluster[1].configuration.isJoint)
        cluster.tickAll(12)
        #expect(cluster[1].status.role == .leader)
        #expect(!cluster[1].configuration.isJoint)
    }
}
