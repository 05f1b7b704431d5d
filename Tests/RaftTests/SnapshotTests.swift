import Testing

@testable import FlotillaRaft

@Suite struct SnapshotTests {
    /// 3 is away while the others go on and compact.
    private func lagging() -> Cluster {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<10 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.takeSnapshot(replica(1))
        cluster.takeSnapshot(replica(2))
        return cluster
    }

    @Test("a follower that lags behind the log gets the snapshot, and goes on from there")
    func laggingFollower() {
        let cluster = lagging()
        #expect(cluster[1].firstIndex == cluster[1].lastIndex.next)
        cluster.heal()
        cluster.tickAll(5)
        #expect(cluster.texts(3).count == 10)
        #expect(cluster[3].snapshot == cluster[1].snapshot)
        #expect(cluster[1].progress(of: replica(3))?.state == .replicate)
        cluster.propose(1, "next")
        cluster.settle()
        #expect(cluster.texts(3).last == "next")
        #expect(cluster.failure == nil)
    }

    @Test("a learner that joins a compacted group gets a snapshot that does not know it yet")
    func learnerOfCompactedGroup() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        for number in 0..<5 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.takeSnapshot(replica(1))
        cluster.boot(replica(2))
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(2))]))
        cluster.settle()
        cluster.tickAll(3)
        #expect(cluster[2].configuration == cluster[1].configuration)
        #expect(cluster.texts(2).count == 5)
        #expect(cluster.failure == nil)
    }

    @Test(
        "nothing behind a snapshot is handed out before it is installed, nor does its replica campaign"
    )
    func installsFirst() {
        let cluster = lagging()
        cluster.heal()
        let metadata = cluster[1].snapshot!
        let term = cluster[1].status.term
        cluster.deliver(
            Message(from: replica(1), to: replica(3), term: term, body: .snapshot(metadata)))
        let next = Entry(index: metadata.index.next, term: term, kind: .command, payload: [])
        cluster.deliver(
            Message(
                from: replica(1), to: replica(3), term: term,
                body: .append(
                    .init(
                        previousIndex: metadata.index, previousTerm: metadata.term,
                        commit: next.index, entries: [next]))))
        let effects = cluster[3].raft.takeEffects()
        #expect(effects.restore == metadata)
        #expect(effects.persist?.snapshot == metadata)
        #expect(effects.committed.isEmpty)
        #expect(effects.messages.isEmpty)
        #expect(effects.persist?.messagesWhenDurable.count == 2)
        cluster[3].raft.campaign()
        #expect(cluster[3].status.role == .follower)
        cluster[3].raft.persisted(effects.persist!.receipt)
        #expect(cluster[3].raft.takeEffects().committed.isEmpty)
        cluster[3].raft.applied(through: metadata.index)
        #expect(cluster[3].raft.takeEffects().committed == [next])
    }

    @Test("changes handed out before a snapshot came apply to the configuration they were made for")
    func changeUnderWayWhenSnapshotArrives() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(4))]))
        // Replica 3 is given the change, and has not applied it when a later snapshot arrives.
        for _ in 0..<6 {
            for id in cluster.ids {
                cluster.collect(id)
                while !cluster.replicas[id]!.writes.isEmpty { cluster.persistOne(id) }
                if id != replica(3) { cluster.applyOne(id) }
            }
            let batch = cluster.network
            cluster.network = []
            batch.forEach(cluster.deliver)
        }
        #expect(!cluster.replicas[replica(3)]!.applies.isEmpty)
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(5))]))
        cluster.settleAll(except: replica(3))
        cluster.takeSnapshot(replica(1))
        let metadata = cluster[1].snapshot!
        #expect(metadata.index > cluster[3].commitIndex)
        cluster.deliver(
            Message(
                from: replica(1), to: replica(3), term: cluster[1].status.term,
                body: .snapshot(metadata)))
        cluster.settle()
        #expect(cluster.failure == nil)
        #expect(cluster[3].configuration == metadata.configuration)
        #expect(cluster[3].configuration.nextReplica == replica(6))
    }

    @Test(
        "a snapshot that is older than what is committed, or that the log holds, replaces nothing")
    func needlessSnapshot() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        for number in 0..<5 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        let term = cluster[1].status.term
        let configuration = cluster[3].configuration
        let last = cluster[3].lastIndex
        cluster.deliver(
            Message(
                from: replica(1), to: replica(3), term: term,
                body: .snapshot(.init(index: index(3), term: term, configuration: configuration))))
        #expect(cluster[3].lastIndex == last && cluster[3].firstIndex == index(2))
        // Held, but not known to be committed.
        cluster.isLost = {
            if case .append(let append) = $0.body { append.entries.isEmpty } else { false }
        }
        cluster.propose(1, "uncommitted on 3")
        cluster.settle()
        #expect(cluster[3].commitIndex == last)
        cluster.deliver(
            Message(
                from: replica(1), to: replica(3), term: term,
                body: .snapshot(.init(index: last.next, term: term, configuration: configuration))))
        #expect(cluster[3].commitIndex == last.next)
        #expect(cluster[3].raft.takeEffects().restore == nil)
    }

    @Test("an announcement that was lost is repeated; one that failed is followed by a probe")
    func lostAnnouncement() {
        let cluster = lagging()
        cluster.isLost = { if case .snapshot = $0.body { true } else { false } }
        cluster.tickAll(5)
        #expect(cluster[1].progress(of: replica(3))?.state == .snapshot)
        #expect(cluster.texts(3).isEmpty)
        cluster.heal()
        cluster.tickAll(5)
        #expect(cluster[1].progress(of: replica(3))?.state == .snapshot)
        cluster[1].raft.reportSnapshot(replica(3), succeeded: false)
        #expect(cluster[1].progress(of: replica(3))?.state == .probe)
        cluster.tickAll(5)
        #expect(cluster.texts(3).count == 10)
    }

    @Test("without any report the leader announces the snapshot again after a while")
    func repeatedAnnouncement() {
        let cluster = lagging()
        cluster.isLost = { if case .snapshot = $0.body { true } else { false } }
        cluster.tickAll(5)
        cluster.heal()
        cluster.tickAll(60)
        #expect(cluster.texts(3).count == 10)
    }

    @Test("compaction keeps what is wanted, what is not durable, and what is not applied")
    func compactionKeeps() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        for number in 0..<10 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        let last = cluster[1].lastIndex
        cluster.takeSnapshot(replica(1), keeping: 4)
        #expect(cluster[1].firstIndex == LogIndex(last.rawValue - 3))
        #expect(cluster[1].term(at: LogIndex(last.rawValue - 4)) != nil)
        #expect(cluster[1].term(at: LogIndex(last.rawValue - 5)) == nil)
        // An older one, or the same again, changes nothing.
        let metadata = cluster[1].snapshot!
        cluster[1].raft.snapshotTaken(metadata, keepingEntriesBehind: 0)
        #expect(cluster[1].firstIndex == LogIndex(last.rawValue - 3))
    }

    @Test("what a follower has applied but not written yet is not compacted away")
    func compactionWaitsForTheDisk() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        for _ in 0..<4 {
            for id in cluster.ids {
                cluster.collect(id)
                cluster.applyOne(id)
                if id != replica(3) {
                    while !cluster.replicas[id]!.writes.isEmpty { cluster.persistOne(id) }
                }
            }
            let batch = cluster.network
            cluster.network = []
            batch.forEach(cluster.deliver)
        }
        let applied = cluster[3].appliedIndex
        #expect(applied > cluster[3].durableIndex)
        let metadata = SnapshotMetadata(
            index: applied, term: cluster[3].term(at: applied)!,
            configuration: cluster[3].configuration)
        cluster[3].raft.snapshotTaken(metadata, keepingEntriesBehind: 0)
        #expect(cluster[3].firstIndex == cluster[3].durableIndex.next)
        cluster.settle()
        #expect(cluster[3].durableIndex == applied)
    }
}
