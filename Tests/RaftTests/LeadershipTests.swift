import Testing

@testable import FlotillaRaft

/// Who leads, and what a leader does on the way to its disk and out of its group.
@Suite struct LeadershipTests {
    @Test("a longer log of an earlier term and a shorter one of a later term still elect a leader")
    func preVoteBetweenTerms() {
        let cluster = Cluster(voters: 2)
        cluster.elect(1)
        cluster.isolate([1])
        // 1 has an entry that 2 lacks; 2 is in a later term, in which it knows no leader.
        cluster.propose(1, "long")
        cluster.settle()
        cluster.deliver(
            Message(from: replica(1), to: replica(2), term: Term(9), body: .heartbeatResponse(.init(readRound: 0))))
        #expect(cluster[2].term == Term(9))
        cluster[1].raft.forgetLeader()
        cluster[1].raft.step(
            Message(from: replica(2), to: replica(1), term: Term(3), body: .heartbeatResponse(.init(readRound: 0))))
        cluster.heal()
        cluster.tickAll(100)
        #expect(cluster[1].status.role == .leader && cluster[1].term > Term(9))
        #expect(cluster.failure == nil)
    }

    @Test("a leader sends heartbeats while its disk stands still")
    func heartbeatsDoNotWaitForTheDisk() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "not on disk yet")
        cluster.collect(replica(1))
        cluster.network = []
        for _ in 0..<3 {
            cluster[1].raft.tick()
            cluster.collect(replica(1))
        }
        let heartbeats = cluster.network.filter { if case .heartbeat = $0.body { true } else { false } }
        #expect(heartbeats.count == 6)
    }

    @Test("a leader that lost its vote and leads on counts the voters alone")
    func removedLeaderDoesNotCount() {
        let cluster = Cluster(voters: 3) { $0.removedLeader = .stays }
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.demote(replica(1))]))
        cluster.settle()
        #expect(cluster[1].configuration.voters == [replica(2), replica(3)])
        let committed = cluster[1].commitIndex
        cluster.isolate([3])
        cluster.propose(1, "held by 1 and 2")
        cluster.settle()
        #expect(cluster[1].commitIndex == committed)
        cluster.heal()
        cluster.tickAll(3)
        #expect(cluster[1].commitIndex == committed.next)
        #expect(cluster.failure == nil)
    }
}
