import Testing

@testable import FlotillaRaft

@Suite struct QuorumTests {
    @Test("the index of a majority equals the one found by counting every subset")
    func majorityIndex() {
        var random = SplitMix64(seed: 42)
        for _ in 0..<2_000 {
            let voters = (0..<random.below(8)).map { ReplicaID(UInt64($0 + 1)) }
            let values = voters.map { _ in random.below(5) == 0 ? nil : UInt64(random.below(6)) }
            let index = Quorum.reached(by: voters) { values[Int($0.rawValue) - 1] }
            if voters.isEmpty {
                #expect(index == .max)
                continue
            }
            let sorted = values.map { $0 ?? 0 }.sorted(by: >)
            #expect(index == sorted[voters.count / 2], "\(values)")
        }
    }

    @Test("a joint majority is the lower of both, and of a verdict both halves must agree")
    func joint() {
        let acknowledged: [UInt64: UInt64] = [1: 9, 2: 9, 3: 1, 4: 5, 5: 5]
        let incoming = [1, 2, 3].map { ReplicaID($0) }
        let outgoing = [3, 4, 5].map { ReplicaID($0) }
        #expect(Quorum.reached(by: incoming, and: outgoing) { acknowledged[$0.rawValue] } == 5)
        #expect(Quorum.reached(by: incoming, and: []) { acknowledged[$0.rawValue] } == 9)
        func verdict(_ votes: [UInt64: Bool]) -> Quorum.Verdict {
            Quorum.verdict(of: incoming, and: outgoing) { votes[$0.rawValue] }
        }
        #expect(verdict([1: true, 2: true]) == .pending)
        #expect(verdict([1: true, 2: true, 4: true, 5: true]) == .won)
        #expect(verdict([1: true, 2: true, 4: false, 5: false]) == .lost)
        // Four of five, but not both majorities.
        #expect(verdict([1: false, 2: false, 3: true, 4: true, 5: true]) == .lost)
        #expect(verdict([:]) == .pending)
    }
}

@Suite struct InflightsTests {
    @Test("the window is limited by count and by bytes, and frees from the front")
    func window() {
        var inflights = Inflights(countMax: 3, bytesMax: 100)
        for round in 0..<5 as Range<UInt64> {
            inflights.add(lastIndex: index(round * 10 + 1), bytes: 10)
            inflights.add(lastIndex: index(round * 10 + 2), bytes: 10)
            inflights.add(lastIndex: index(round * 10 + 3), bytes: 10)
            #expect(inflights.isFull)
            inflights.acknowledge(through: index(round * 10 + 2))
            #expect(inflights.count == 1 && inflights.bytes == 10)
            inflights.acknowledge(through: index(round * 10 + 3))
            #expect(inflights.isEmpty && inflights.bytes == 0)
        }
        inflights.add(lastIndex: index(99), bytes: 250)
        #expect(inflights.isFull)
    }
}

@Suite struct ProgressTests {
    private func progress() -> Progress {
        Progress(
            replica: replica(2), match: index(3), next: index(6), isLearner: false,
            inflights: Inflights(countMax: 2, bytesMax: 1000))
    }

    @Test("only news moves match, and next stays above it")
    func acknowledgements() {
        var progress = progress()
        #expect(!progress.acknowledged(index(2)) && !progress.acknowledged(index(3)))
        let isNews = progress.acknowledged(index(8))
        #expect(isNews && progress.match == index(8) && progress.next == index(9))
    }

    @Test("a probe pauses until it is answered, and only the answer to the last probe counts")
    func probe() {
        var progress = progress()
        progress.sent(entries: 1, bytes: 1)
        #expect(progress.isThrottled)
        let isStale = !progress.refused(index(4), hint: index(1))
        #expect(isStale && progress.isThrottled)
        let isNews = progress.refused(index(5), hint: index(1))
        #expect(isNews && progress.next == index(4) && !progress.isThrottled)
    }

    @Test("a snapshot is followed by the entry behind it, or, if it failed, by what is known")
    func snapshot() {
        var arrived = progress()
        arrived.becomeSnapshot(index(20))
        #expect(arrived.isThrottled)
        arrived.becomeProbe()
        #expect(arrived.next == index(21))
        var failed = progress()
        failed.becomeSnapshot(index(20))
        failed.forgetSnapshot()
        #expect(failed.next == index(4) && failed.sentCommit <= index(3))
    }
}

@Suite struct RaftLogTests {
    @Test("the hint about a conflict skips whole terms, and stops at what is compacted")
    func conflictHint() {
        let configuration = Cluster.configuration(voters: 1)
        let entries = [(4, 2), (5, 2), (6, 5), (7, 5)].map {
            Entry(index: index($0.0), term: Term($0.1), kind: .command, payload: [])
        }
        let log = RaftLog(
            restoring: RestoredReplica(
                snapshot: SnapshotMetadata(
                    index: index(3), term: Term(2), configuration: configuration),
                entries: entries))
        #expect(log.conflictHint(from: index(7), term: Term(9)) == (index(7), Term(5)))
        #expect(log.conflictHint(from: index(7), term: Term(4)) == (index(5), Term(2)))
        #expect(log.conflictHint(from: index(7), term: Term(1)) == (index(2), .zero))
        #expect(
            log.term(at: index(2)) == nil && log.term(at: index(3)) == Term(2)
                && log.term(at: index(8)) == nil)
    }
}

@Suite struct ElectionTimeoutTests {
    @Test("replicas that share a seed never fall into step, however many timeouts each has drawn")
    func independentTimeouts() {
        let cluster = Cluster(voters: 5, seed: 0)
        let drawn = cluster.ids.map { id in
            (0..<80).map { _ in
                cluster.replicas[id]!.raft.drawElectionTimeout()
                return cluster.replicas[id]!.raft.randomizedElectionTicks
            }
        }
        for (one, other) in [(0, 1), (0, 2), (1, 2), (1, 4), (2, 4), (3, 4)] {
            for shift in 0..<16 {
                #expect(drawn[one].dropFirst(shift).prefix(60) != drawn[other].prefix(60), "shifted by \(shift)")
                #expect(drawn[other].dropFirst(shift).prefix(60) != drawn[one].prefix(60), "shifted by \(shift)")
            }
        }
    }
}

@Suite struct MemoryTests {
    @Test("a core takes few bytes besides its lists: a node may have thousands")
    func size() {
        #expect(MemoryLayout<Raft>.size <= 736)
    }

    @Test("a list of membership changes that are all in force takes no memory")
    func changesInForce() {
        var outline = LogOutline()
        for number in 1...3 as ClosedRange<UInt64> {
            outline.append(Entry(index: index(number), term: Term(1), kind: .configuration, payload: []))
        }
        outline.forgetConfigurations(through: index(2))
        #expect(outline.configurations == [index(3)])
        outline.forgetConfigurations(through: index(3))
        #expect(outline.configurations.capacity == 0)
    }
}
