import Testing

@testable import FlotillaRaft

@Suite struct ReplicationTests {
    private func entry(_ at: UInt64, _ term: UInt64, _ text: String = "") -> Entry {
        Entry(index: index(at), term: Term(term), kind: .command, payload: Array(text.utf8))
    }

    private func append(
        from: UInt64, to: UInt64, term: UInt64, previous: (UInt64, UInt64), commit: UInt64 = 1,
        _ entries: [Entry]
    ) -> Message {
        Message(
            from: replica(from), to: replica(to), term: Term(term),
            body: .append(
                .init(
                    previousIndex: index(previous.0), previousTerm: Term(previous.1),
                    commit: index(commit),
                    entries: entries)))
    }

    private func acknowledgement(from: UInt64, to: UInt64, term: UInt64, _ at: UInt64) -> Message {
        Message(
            from: replica(from), to: replica(to), term: Term(term),
            body: .appendResponse(.init(index: index(at))))
    }

    @Test("what is proposed is applied everywhere, in order")
    func order() {
        let cluster = Cluster(voters: 3, learners: 1)
        cluster.elect(1)
        for number in 0..<50 { cluster.propose(1, "\(number)") }
        cluster.settle()
        cluster.tickAll(2)
        let expected = (0..<50).map { "\($0)" }
        for id in cluster.ids { #expect(cluster.texts(id.rawValue) == expected) }
        #expect(cluster[1].uncommittedBytes == 0)
        #expect(cluster.failure == nil)
    }

    @Test("a leader sends while its own disk writes, and counts itself only afterwards")
    func ownDisk() {
        let cluster = Cluster(voters: 2)
        cluster.elect(1)
        let committed = cluster[1].commitIndex
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        #expect(cluster.network.count == 1)
        let batch = cluster.network
        cluster.network = []
        batch.forEach(cluster.deliver)
        cluster.collect(replica(2))
        cluster.persistOne(replica(2))
        cluster.network.forEach(cluster.deliver)
        #expect(cluster[1].commitIndex == committed)
        cluster.persistOne(replica(1))
        #expect(cluster[1].commitIndex == committed.next)
    }

    @Test("a single voter commits when its disk has written, not before")
    func singleVoter() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        let committed = cluster[1].commitIndex
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        #expect(cluster[1].commitIndex == committed)
        #expect(cluster.replicas[replica(1)]!.applies.isEmpty)
        cluster.persistOne(replica(1))
        #expect(cluster[1].commitIndex == committed.next)
    }

    @Test(
        "a follower acknowledges only what is durable, also when it had it already but not on disk")
    func acknowledgementsWaitForTheDisk() {
        let cluster = Cluster(voters: 3)
        let message = append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2)])
        cluster.deliver(message)
        cluster.collect(replica(1))
        // Once more, while the first write is under way.
        cluster.deliver(message)
        cluster.collect(replica(1))
        #expect(cluster.network.isEmpty)
        #expect(cluster.replicas[replica(1)]!.writes.count == 2)
        cluster.persistOne(replica(1))
        #expect(cluster.network.count == 1)
        cluster.persistOne(replica(1))
        #expect(
            cluster.network.map(\.body)
                == Array(repeating: .appendResponse(.init(index: index(2))), count: 2))
        // Nothing is under way any more: the third answer needs no write.
        cluster.deliver(message)
        cluster.collect(replica(1))
        #expect(cluster.network.count == 3)
        #expect(cluster.replicas[replica(1)]!.writes.isEmpty)
    }

    @Test("every write that holds entries holds term, vote and commit as well")
    func hardStateWithEntries() throws {
        let cluster = Cluster(voters: 3)
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2)]))
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (2, 2), commit: 2, [entry(3, 2)]))
        cluster.collect(replica(1))
        let write = try #require(cluster.replicas[replica(1)]!.writes.first)
        #expect(write.hardState == HardState(term: Term(2), vote: nil, commit: index(2)))
        cluster.persistOne(replica(1))
        // A commit index alone is no reason to write.
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (3, 2), commit: 3, []))
        cluster.collect(replica(1))
        #expect(cluster[1].commitIndex == index(3))
        #expect(cluster.replicas[replica(1)]!.writes.isEmpty)
    }

    @Test("a leader does not commit an entry of an earlier term by counting (Raft paper, figure 8)")
    func figure8() {
        let founding = SnapshotMetadata(
            index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 5))
        let alone = Cluster(voters: 5) { $0.usesPreVote = false }
        alone.boot(replica(1), snapshot: founding, entries: [entry(2, 2, "old")])
        alone[1].raft.campaign()
        alone.collect(replica(1))
        alone.persistOne(replica(1))
        for voter in [2, 3] as [UInt64] {
            alone.deliver(
                Message(
                    from: replica(voter), to: replica(1), term: Term(3),
                    body: .voteResponse(granted: true)))
        }
        alone.collect(replica(1))
        alone.persistOne(replica(1))
        #expect(alone[1].status.role == .leader)
        for follower in [2, 3, 4] as [UInt64] {
            alone.deliver(acknowledgement(from: follower, to: 1, term: 3, 2))
        }
        #expect(alone[1].commitIndex == index(1))
        for follower in [2, 3] as [UInt64] {
            alone.deliver(acknowledgement(from: follower, to: 1, term: 3, 3))
        }
        #expect(alone[1].commitIndex == index(3))
    }

    @Test("an acknowledgement of an earlier term counts for nothing")
    func staleAcknowledgement() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        let term = cluster[1].status.term.rawValue
        cluster.isolate([1])
        cluster.propose(1, "a")
        cluster.settle()
        let last = cluster[1].lastIndex
        let committed = cluster[1].commitIndex
        cluster.deliver(acknowledgement(from: 2, to: 1, term: term - 1, last.rawValue))
        #expect(cluster[1].commitIndex == committed)
        // Nor does one for entries that do not exist.
        cluster.deliver(acknowledgement(from: 2, to: 1, term: term, last.rawValue + 5))
        #expect(cluster[1].commitIndex == committed)
        cluster.deliver(acknowledgement(from: 2, to: 1, term: term, last.rawValue))
        #expect(cluster[1].commitIndex == last)
    }

    @Test("match never falls, and an overtaken refusal changes nothing")
    func matchIsMonotonic() throws {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.settle()
        let before = try #require(cluster[1].progress(of: replica(2)))
        #expect(before.match == cluster[1].lastIndex)
        let term = cluster[1].status.term
        cluster.deliver(acknowledgement(from: 2, to: 1, term: term.rawValue, 1))
        cluster.deliver(
            Message(
                from: replica(2), to: replica(1), term: term,
                body: .appendResponse(.init(index: index(1), isRejected: true, hintIndex: .zero))))
        #expect(cluster[1].progress(of: replica(2)) == before)
    }

    @Test(
        "the completion of a write whose entries were overwritten, and rewritten, proves nothing (ABA)"
    )
    func staleReceipt() {
        let cluster = Cluster(voters: 3)
        // Term 2 writes entry 2, term 3 overwrites it, term 4 brings the first one back.
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2, "first")]))
        cluster.collect(replica(1))
        cluster.deliver(append(from: 3, to: 1, term: 3, previous: (1, 1), [entry(2, 3, "second")]))
        cluster.collect(replica(1))
        #expect(cluster.replicas[replica(1)]!.writes.count == 2)
        cluster.deliver(append(from: 2, to: 1, term: 4, previous: (1, 1), [entry(2, 2, "first")]))
        // The log conflicts by term: (2, 3) is replaced by (2, 2) only if a leader of term 4 says so.
        cluster.collect(replica(1))
        #expect(cluster.replicas[replica(1)]!.writes.count == 3)
        cluster.persistOne(replica(1))
        #expect(cluster[1].durableIndex == index(1))
        cluster.persistOne(replica(1))
        #expect(cluster[1].durableIndex == index(1))
        cluster.persistOne(replica(1))
        #expect(cluster[1].durableIndex == index(2))
    }

    @Test("a completion that nobody waits for, or a second one, is ignored")
    func unknownReceipt() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.collect(replica(1))
        let receipt = cluster.replicas[replica(1)]!.writes[0].receipt
        var wrong = receipt
        wrong.lastIndex = receipt.lastIndex.next
        cluster[1].raft.persisted(wrong)
        #expect(cluster[1].durableIndex < receipt.lastIndex)
        cluster.persistOne(replica(1))
        cluster[1].raft.persisted(receipt)
        #expect(cluster[1].durableIndex == receipt.lastIndex)
    }

    @Test("a delayed or repeated append never shortens the log")
    func repeatedAppend() {
        let cluster = Cluster(voters: 3)
        cluster.deliver(
            append(
                from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2), entry(3, 2), entry(4, 2)]))
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2)]))
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), []))
        #expect(cluster[1].lastIndex == index(4))
    }

    @Test("a follower commits no more than the prefix that an append verified")
    func commitIsVerified() {
        let cluster = Cluster(voters: 3)
        let founding = SnapshotMetadata(
            index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 3))
        cluster.boot(
            replica(1), snapshot: founding, entries: [entry(2, 2, "mine"), entry(3, 2, "mine")])
        cluster.deliver(append(from: 2, to: 1, term: 3, previous: (1, 1), commit: 3, []))
        #expect(cluster[1].commitIndex == index(1))
        cluster.deliver(
            append(from: 2, to: 1, term: 3, previous: (1, 1), commit: 3, [entry(2, 3, "yours")]))
        #expect(cluster[1].commitIndex == index(2))
        #expect(cluster[1].lastIndex == index(2))
    }

    @Test("malformed appends change nothing")
    func malformedAppends() {
        let cluster = Cluster(voters: 3)
        let before = cluster[1].hardState
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(3, 2)]))
        cluster.deliver(
            append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 2), entry(2, 2)]))
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 1), [entry(2, 3)]))
        cluster.deliver(append(from: 2, to: 1, term: 2, previous: (1, 2), [entry(2, 1)]))
        cluster.deliver(append(from: 2, to: 7, term: 2, previous: (1, 1), [entry(2, 2)]))
        #expect(cluster[1].hardState == before && cluster[1].lastIndex == index(1))
    }

    @Test("a long divergent tail is found by whole terms, not one entry at a time")
    func longDivergentTail() {
        let cluster = Cluster(voters: 3)
        let founding = SnapshotMetadata(
            index: index(1), term: Term(1), configuration: Cluster.configuration(voters: 3))
        let common = (2...10).map { entry($0, 2) }
        cluster.boot(
            replica(1), snapshot: founding,
            entries: common + (11...200).map { entry($0, 5, "good") })
        cluster.boot(
            replica(2), snapshot: founding, entries: common + (11...200).map { entry($0, 3, "bad") }
        )
        cluster.boot(replica(3), snapshot: founding, entries: common)
        cluster.elect(1)
        #expect(cluster[1].status.role == .leader)
        let appendCount = cluster.sent.filter {
            if case .append = $0.body { $0.to == replica(2) } else { false }
        }.count
        #expect(appendCount < 10)
        cluster.tickAll(2)
        #expect(cluster[2].commitIndex == cluster[1].lastIndex)
        #expect(cluster.failure == nil)
    }

    @Test("one follower that is away holds nobody back, and what waits for it is bounded")
    func unreachableFollower() throws {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<500 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        #expect(cluster.texts(2).count == 500)
        let away = try #require(cluster[1].progress(of: replica(3)))
        #expect(away.inFlight <= 4)
        let toAway = cluster.sent.filter {
            if case .append = $0.body { $0.to == replica(3) } else { false }
        }.count
        #expect(toAway < 10)
        cluster.heal()
        cluster.tickAll(5)
        #expect(cluster.texts(3).count == 500)
    }

    @Test("a full window opens again after all of it was lost")
    func lostWindow() {
        let cluster = Cluster(voters: 3) { $0.maxAppendsInFlight = 2 }
        cluster.elect(1)
        cluster.isolate([3])
        for number in 0..<5 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        #expect(cluster[1].progress(of: replica(3))?.inFlight == 2)
        cluster.heal()
        cluster[1].raft.reportUnreachable(replica(3))
        #expect(cluster[1].progress(of: replica(3))?.state == .probe)
        cluster.tickAll(3)
        #expect(cluster[1].progress(of: replica(3))?.match == cluster[1].lastIndex)
        #expect(cluster[1].progress(of: replica(3))?.inFlight == 0)
    }

    @Test("a follower passes proposals on in order, and without a leader refuses them")
    func forwarding() {
        let cluster = Cluster(voters: 3)
        #expect(cluster.propose(2, "too early") == .refused(.noLeader))
        cluster.elect(1)
        for number in 0..<20 {
            #expect(cluster.propose(2, "\(number)") == .forwarded(to: replica(1)))
        }
        cluster.settle()
        #expect(cluster.texts(1) == (0..<20).map { "\($0)" })
    }

    @Test("a forwarded proposal never travels twice")
    func forwardingDoesNotLoop() {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        let proposal = Message.Body.forwardedProposal([entry(0, 0, "x")])
        cluster.deliver(
            Message(from: replica(2), to: replica(3), term: cluster[1].status.term, body: proposal))
        cluster.settle()
        #expect(cluster.texts(1).isEmpty)
        #expect(!cluster.sent.contains { $0.body == proposal })
    }

    @Test("at the limit of unapplied bytes proposals are refused, and taken again afterwards")
    func uncommittedLimit() {
        let cluster = Cluster(voters: 3) { $0.maxUncommittedBytes = 10 }
        cluster.elect(1)
        cluster.isolate([1])
        // One proposal is taken however large it is.
        #expect(
            cluster[1].raft.propose([[UInt8](repeating: 1, count: 30)]) != .refused(.tooManyUncommitted))
        #expect(cluster.propose(1, "x") == .refused(.tooManyUncommitted))
        cluster.heal()
        cluster.tickAll(2)
        #expect(cluster[1].uncommittedBytes == 0)
        #expect(cluster.propose(1, "x") != .refused(.tooManyUncommitted))
    }

    @Test("committed entries come in pages, each once, and none while too many wait to be applied")
    func pages() {
        let cluster = Cluster(voters: 1) { $0.maxCommittedBytesPerEffects = 60 }
        cluster.elect(1)
        _ = cluster[1].raft.propose((0..<10).map { [UInt8($0)] })
        cluster.collect(replica(1))
        cluster.persistOne(replica(1))
        var pages: [Int] = []
        while cluster[1].hasEffects {
            cluster.collect(replica(1))
            guard case .entries(let page)? = cluster.replicas[replica(1)]!.applies.first else {
                break
            }
            pages.append(page.count)
            #expect(!cluster[1].hasEffects, "more is handed out before the page is applied")
            cluster.applyOne(replica(1))
        }
        #expect(pages.reduce(0, +) == 10)
        #expect(pages.allSatisfy { $0 <= 2 })
    }

    @Test("a restarted replica hands out again what it knows to be committed, and nothing else")
    func restart() {
        let cluster = Cluster(voters: 1)
        cluster.elect(1)
        for number in 0..<5 {
            cluster.propose(1, "\(number)")
            cluster.settle()
        }
        cluster.crash(replica(1))
        cluster.restart(replica(1))
        // The commit index of the last entry was never written: it is known again after the election.
        cluster.settle()
        #expect(cluster.texts(1).count == 4)
        cluster.elect(1)
        #expect(cluster.texts(1) == ["0", "1", "2", "3", "4"])
        #expect(cluster.failure == nil)
    }
}
