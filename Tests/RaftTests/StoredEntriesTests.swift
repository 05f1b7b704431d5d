import Testing

@testable import FlotillaRaft

/// Entries that are not in memory any more come from the disk, page by page, and nothing else waits for them.
@Suite struct StoredEntriesTests {
    /// 1 leads, and keeps nothing in memory that is applied and on disk; 3 has missed all of it.
    private func lagging(entries count: Int = 12, appendBytes: Int = 8) -> Cluster {
        let cluster = Cluster(voters: 3) { options in
            options.windowBytes = 0
            options.maxAppendBytes = appendBytes
            options.maxAppendsInFlight = 2
        }
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<count {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        return cluster
    }

    /// Until 1 has asked for entries of 3, which it gets an answer of.
    private func untilAsked(_ cluster: Cluster) throws -> LogRead {
        cluster.heal()
        for _ in 0..<20 {
            cluster[1].raft.tick()
            cluster.collect(replica(1))
            if let read = cluster[1].reads.first { return read }
            let messages = cluster.network
            cluster.network = []
            messages.forEach(cluster.deliver)
            for other in [replica(2), replica(3)] {
                cluster.collect(other)
                while !cluster.replicas[other]!.writes.isEmpty { cluster.persistOne(other) }
            }
        }
        return try #require(nil as LogRead?)
    }

    private func entriesSent(_ cluster: Cluster, to id: UInt64) -> [LogIndex] {
        cluster.sent.filter { $0.to == replica(id) }.flatMap { message in
            if case .append(let append) = message.body { append.entries.map(\.index) } else { [LogIndex]() }
        }
    }

    @Test("entries that are applied and on disk leave memory, up to the window, and their terms stay known")
    func window() {
        let cluster = Cluster(voters: 1) { $0.windowBytes = 400 }
        cluster.elect(1)
        for _ in 0..<100 {
            cluster.propose(1, "0123456789")
            cluster.settle()
        }
        let log = cluster[1].log
        #expect(log.lastIndex == index(102) && log.firstIndex == index(2))
        #expect(log.window.settledBytes <= 400 && log.window.settledBytes > 200)
        #expect(log.entry(at: index(50)) == nil && log.term(at: index(50)) == cluster[1].term)
        #expect(log.entry(at: index(102)) != nil)
        cluster.propose(1, "not on disk")
        #expect(log.window.settledBytes == log.window.recomputedSettledBytes)
        #expect(cluster[1].log.entry(at: index(103)) != nil)
    }

    @Test("what is not applied or not on disk stays in memory, however little of it may")
    func unsettled() {
        let cluster = Cluster(voters: 1) { $0.windowBytes = 0 }
        cluster.elect(1)
        cluster.settle()
        for number in 0..<5 { cluster.propose(1, "\(number)") }
        cluster.collect(replica(1))
        let first = cluster[1].log.window.start
        #expect(first.distance(to: cluster[1].lastIndex) == 4)
        cluster.persistOne(replica(1))
        cluster.collect(replica(1))
        #expect(cluster[1].log.window.start == first)
        cluster.applyOne(replica(1))
        #expect(cluster[1].log.window.start == cluster[1].lastIndex.next)
    }

    @Test("a follower far behind gets everything from the leader's disk, one append after the other")
    func farBehind() {
        let cluster = lagging(entries: 40)
        #expect(cluster[1].log.window.start == cluster[1].lastIndex.next)
        cluster.heal()
        cluster.tickAll(3)
        #expect(cluster.texts(3).count == 40)
        #expect(cluster[1].progress(of: replica(3))?.state == .replicate)
        #expect(cluster.failure == nil)
    }

    @Test("a member waits alone for what is read: heartbeats, commits and the others go on")
    func nothingElseWaits() throws {
        let cluster = lagging()
        let read = try untilAsked(cluster)
        #expect(read.purpose == .send(to: replica(3)) && read.bytesMax == 8)
        let commit = cluster[1].commitIndex
        cluster.network = []
        cluster.propose(1, "next")
        cluster[1].raft.tick()
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        #expect(cluster[1].reads.count == 1, "nobody asks twice")
        let toLaggard = cluster.network.filter { $0.to == replica(3) }.map(\.body)
        #expect(toLaggard.allSatisfy { if case .heartbeat = $0 { true } else { false } } && !toLaggard.isEmpty)
        cluster.network.forEach(cluster.deliver)
        cluster.network = []
        cluster.collect(replica(2))
        cluster.persistOne(replica(2))
        cluster.network.forEach(cluster.deliver)
        #expect(cluster[1].commitIndex > commit)
        #expect(cluster.failure == nil)
    }

    @Test("what was read for an earlier reign is dropped, and the present one's still waited for")
    func earlierReign() throws {
        let cluster = lagging()
        let read = try untilAsked(cluster)
        var earlier = read
        earlier.term = Term(read.term.rawValue - 1)
        let other = Entry(index: read.first, term: Term(1), kind: .command, payload: Array("other".utf8))
        let sent = entriesSent(cluster, to: 3)
        #expect(cluster[1].complete(earlier, [other]))
        cluster.collect(replica(1))
        #expect(entriesSent(cluster, to: 3) == sent)
        cluster.readOne(replica(1))
        cluster.collect(replica(1))
        #expect(entriesSent(cluster, to: 3).last.map { $0 >= read.first } == true)
        #expect(cluster.failure == nil)
    }

    @Test("what was read is dropped if the member has gone on meanwhile, and its next entries are asked for")
    func movedOn() throws {
        let cluster = lagging()
        let read = try untilAsked(cluster)
        let acknowledged = read.first + 3
        let sent = entriesSent(cluster, to: 3)
        cluster.deliver(
            Message(
                from: replica(3), to: replica(1), term: cluster[1].term,
                body: .appendResponse(.init(index: acknowledged))))
        cluster.collect(replica(1))
        cluster.readOne(replica(1))
        cluster.collect(replica(1))
        #expect(entriesSent(cluster, to: 3) == sent)
        #expect(cluster[1].reads.map(\.first) == [acknowledged.next])
    }

    @Test("entries that are compacted while they are read make way for the snapshot")
    func compactedMeanwhile() throws {
        let cluster = lagging()
        let read = try untilAsked(cluster)
        cluster.takeSnapshot(replica(1))
        #expect(cluster[1].firstIndex > read.first)
        cluster.readOne(replica(1))
        cluster.collect(replica(1))
        #expect(cluster[1].progress(of: replica(3))?.state == .snapshot)
        cluster.tickAll(3)
        #expect(cluster.texts(3).count == 12)
        #expect(cluster.failure == nil)
    }

    @Test("a disk that lacks what the log contains is reported, and nothing of what it gave is sent")
    func lostEntries() throws {
        let cluster = lagging()
        let read = try untilAsked(cluster)
        let sent = entriesSent(cluster, to: 3)
        let wrong = Entry(index: read.first, term: Term(99), kind: .command, payload: [])
        #expect(!cluster[1].complete(read, [wrong]))
        cluster.collect(replica(1))
        #expect(entriesSent(cluster, to: 3) == sent)
    }

    @Test("a replica that restarts applies its log page by page from the disk")
    func restart() {
        let cluster = Cluster(voters: 1) { options in
            options.windowBytes = 0
            options.maxCommittedBytesPerEffects = 20
        }
        cluster.restartsWithoutEntries = true
        cluster.elect(1)
        for number in 0..<30 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.crash(replica(1))
        cluster.restart(replica(1))
        #expect(cluster[1].appliedIndex == index(1))
        cluster.collect(replica(1))
        #expect(cluster[1].reads.map(\.purpose) == [.apply])
        cluster.collect(replica(1))
        #expect(cluster[1].reads.count == 1)
        cluster.readOne(replica(1))
        cluster.collect(replica(1))
        #expect(cluster[1].applies.count == 1 && cluster[1].appliedIndex == index(1))
        cluster.settle()
        #expect(cluster[1].appliedIndex == cluster[1].commitIndex && cluster[1].machine.index == cluster[1].commitIndex)
        cluster.elect(1)
        #expect(cluster.texts(1).count == 30)
        #expect(cluster.failure == nil)
    }

    @Test("a change that is not applied yet keeps a restarted replica from campaigning, also while it is on disk alone")
    func unappliedChange() {
        let cluster = Cluster(voters: 3)
        cluster.restartsWithoutEntries = true
        cluster.elect(1)
        cluster.change(1, ConfigurationChange([.addLearner(NodeID(4))]))
        cluster.settle()
        cluster.tickAll(2)
        cluster.crash(replica(2))
        cluster.replicas[replica(2)]!.disk.hardState.commit = cluster[1].commitIndex
        cluster.restart(replica(2))
        cluster[2].raft.campaign()
        #expect(cluster[2].role == .follower)
        cluster.settle()
        cluster[2].raft.forgetLeader()
        cluster[2].raft.campaign()
        #expect(cluster[2].role != .follower)
    }

    @Test("a page that was asked for before a snapshot came is dropped")
    func snapshotOvertakesPage() {
        let cluster = Cluster(voters: 3) { $0.windowBytes = 0 }
        cluster.restartsWithoutEntries = true
        cluster.elect(1)
        for number in 0..<6 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.tickAll(2)
        cluster.crash(replica(3))
        for number in 6..<12 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.takeSnapshot(replica(1))
        cluster.replicas[replica(3)]!.disk.hardState.commit = index(5)
        cluster.restart(replica(3))
        cluster.collect(replica(3))
        let read = cluster[3].reads[0]
        cluster.deliver(
            Message(from: replica(1), to: replica(3), term: cluster[1].term, body: .snapshot(cluster[1].snapshot!)))
        #expect(cluster[3].log.hasPendingSnapshot)
        let entries = cluster[3].disk.read(from: read.first, bytesMax: read.bytesMax)
        #expect(cluster[3].complete(read, entries))
        cluster.replicas[replica(3)]!.reads = []
        cluster.tickAll(3)
        #expect(cluster.texts(3) == cluster.texts(1))
        #expect(cluster.failure == nil)
    }

    @Test("the terms of a log are known by runs, however the log grew and shrank")
    func outline() {
        var random = SplitMix64(seed: 11)
        var outline = LogOutline()
        var terms: [Term] = []
        var base = 0
        var changes: [Int] = []
        for _ in 0..<2_000 {
            switch random.below(8) {
            case 0..<5:
                let term = Term((terms.last?.rawValue ?? 1) + UInt64(random.below(5) / 4))
                terms.append(term)
                let kind: Entry.Kind = random.below(6) == 0 ? .configuration : .command
                if kind == .configuration { changes.append(terms.count) }
                outline.append(Entry(index: index(UInt64(terms.count)), term: term, kind: kind, payload: []))
            case 5, 6:
                let end = base + random.below(terms.count - base + 1)
                terms.removeSubrange(end...)
                changes.removeAll { $0 > end }
                outline.truncate(behind: index(UInt64(end)))
            default:
                base += random.below(min(4, terms.count - base) + 1)
                changes.removeAll { $0 <= base }
                if base > 0 { outline.compact(through: index(UInt64(base))) }
            }
            #expect(outline.last == index(UInt64(terms.count)) && outline.base.index == index(UInt64(base)))
            for at in 0...terms.count + 1 {
                let isKnown = at >= base && at <= terms.count
                let expected: Term? = isKnown ? (at == 0 ? .zero : terms[at - 1]) : nil
                if outline.term(at: index(UInt64(at))) != expected { Issue.record("the term at \(at)") }
            }
            #expect(outline.configurations == changes.map { index(UInt64($0)) })
        }
    }
}
