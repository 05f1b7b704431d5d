import Testing

@testable import FlotillaRaft

/// What completions say, and what a restart brings back.
@Suite struct DurabilityTests {
    @Test("a write that completes together with later ones, and is reported late, takes nothing back")
    func lateCompletion() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        for text in ["a", "b", "c"] {
            cluster.propose(1, text)
            cluster.collect(replica(1))
        }
        #expect(cluster[1].writes.count == 3)
        cluster.persistTogether(replica(1))
        #expect(cluster[1].durableIndex == cluster[1].lastIndex)
        #expect(cluster[1].commitIndex == cluster[1].lastIndex)
        #expect(cluster.failure == nil)
    }

    @Test("what is applied before a crash is applied again after it, in the configuration of that time")
    func restartAppliesAgain() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        cluster.boot(replica(2))
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(2))]))
        cluster.settle()
        cluster.propose(1, "a")
        cluster.settle()
        cluster.crash(replica(1))
        cluster.restart(replica(1))
        #expect(cluster[1].appliedIndex == index(1) && cluster[1].configuration.learners.isEmpty)
        cluster.settle()
        #expect(cluster[1].configuration.learners == [replica(2)])
        #expect(cluster.failure == nil)
    }

    @Test("entries that are handed out are not applied before the state machine says so")
    func handedOutIsNotApplied() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        let applied = cluster[1].appliedIndex
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        cluster.collect(replica(1))
        #expect(cluster[1].applies.count == 1 && cluster[1].commitIndex == applied.next)
        #expect(cluster[1].appliedIndex == applied)
        cluster.applyOne(replica(1))
        #expect(cluster[1].appliedIndex == applied.next)
    }
}
