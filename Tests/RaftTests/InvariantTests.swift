import Testing

@testable import FlotillaRaft

/// Every invariant is shown to fail: a state that contradicts it ends the process, and says why.
@Suite struct InvariantTests {
    private static func doctor(_ position: Int, _ change: @escaping @Sendable (inout Progress) -> Void)
        -> @Sendable (Cluster) -> Void
    {
        { cluster in change(&cluster[1].raft.progress[position]) }
    }

    /// What a message says, and a deed that brings it about. 1 leads three voters, and 4 is a learner.
    private static let contradictions: [String: @Sendable (Cluster) -> Void] = [
        "the term fell": { $0[2].raft.outbox.writtenTerm = Term(99) },
        "an entry of a later term": { $0[2].raft.term = Term(1) },
        "follows itself": { $0[2].raft.leader = replica(2) },
        "follows another than the leader of the term": { $0[2].raft.leader = replica(3) },
        "campaigns although it knows a leader": { $0[2].raft.role = .preCandidate },
        "campaigns without its own vote": { cluster in
            cluster[2].raft.role = .candidate
            cluster[2].raft.leader = nil
        },
        "is quiet while it campaigns": { cluster in
            cluster[2].raft.role = .preCandidate
            cluster[2].raft.leader = nil
            cluster[2].raft.isQuiet = true
        },
        "leads still": { $0[2].raft.transferee = replica(3) },
        "leads without knowing": { $0[1].raft.leader = replica(2) },
        "tracks others than the members": { $0[1].raft.progress.removeLast() },
        "members out of order": { $0[1].raft.progress.swapAt(0, 1) },
        "a replica id that was not issued": { $0[1].raft.configuration.nextReplica = replica(2) },
        "a learner tracked as a voter": doctor(3) { $0.isLearner = false },
        "either a voter or a learner": { $0[1].raft.configuration.voters.append(replica(4)) },
        "a later learner that is no outgoing voter": { $0[1].raft.configuration.nextLearners = [replica(2)] },
        "half joint": { $0[1].raft.configuration.leavesAutomatically = true },
        "the count of unapplied bytes leaks": { $0[1].raft.unappliedBytes += 1 },
        "a member acknowledged what does not exist": doctor(1) { _ = $0.acknowledged(index(99)) },
        "counts what its disk was never given": { cluster in
            cluster.propose(1, "not on disk")
            _ = cluster[1].raft.progress[0].acknowledged(cluster[1].lastIndex)
        },
        "a quorum holds an entry of this term that is not committed": { cluster in
            cluster.propose(1, "on two disks")
            for position in 1...2 { _ = cluster[1].raft.progress[position].acknowledged(cluster[1].lastIndex) }
        },
        "the count of reads leaks": { $0[1].raft.reads.requestCount += 1 },
        "is quiet with work to do": { cluster in
            cluster.propose(1, "not committed")
            cluster[1].raft.isQuiet = true
        },
    ]

    private static func settled() -> Cluster {
        let cluster = Cluster(voters: 3, learners: 1)
        cluster.elect(1)
        return cluster
    }

    @Test("a state that contradicts itself ends the process with the reason", arguments: contradictions.keys.sorted())
    func contradiction(_ message: String) async throws {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) { [message] in
            let cluster = InvariantTests.settled()
            cluster[1].raft.assertInvariants()
            cluster[2].raft.assertInvariants()
            InvariantTests.contradictions[message]!(cluster)
            cluster[1].raft.assertInvariants()
            cluster[2].raft.assertInvariants()
        }
        let output = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
        #expect(output.contains(message), "\(output.prefix(300))")
    }

    @Test("no replica follows two leaders of one term")
    func secondLeader() async {
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            let heartbeat = Message.Heartbeat(commit: .zero, readRound: 0)
            cluster.deliver(
                Message(from: replica(3), to: replica(2), term: cluster[2].term, body: .heartbeat(heartbeat)))
        }
    }

    @Test("a committed entry is never cut off, nor replaced by a snapshot")
    func committedEntries() async {
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster.propose(1, "a")
            cluster.settle()
            let last = cluster[2].commitIndex
            _ = cluster[2].raft.log.merge([Entry(index: last, term: Term(9), kind: .empty, payload: [])])
        }
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster[2].raft.log.restore(
                SnapshotMetadata(
                    index: cluster[2].commitIndex, term: Term(9), configuration: cluster[2].configuration))
        }
    }

    @Test("the commit index stays within the log, and the applied index within what was handed out")
    func indexes() async {
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster[2].raft.log.advanceCommit(to: cluster[2].lastIndex.next)
        }
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster[2].raft.applied(through: cluster[2].lastIndex.next)
        }
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster[2].raft.applied(through: cluster[2].appliedIndex.previous)
        }
    }

    @Test("only a recovering member may lose what it acknowledged")
    func lostTail() async {
        await #expect(processExitsWith: .failure) {
            let cluster = InvariantTests.settled()
            cluster[1].raft.progress[1].lostTail(after: .zero)
        }
    }
}

/// The harness' own judgements, each on a cluster that was doctored so that it must object.
@Suite struct ClusterCheckTests {
    private func settled() -> Cluster {
        let cluster = Cluster(voters: 3)
        cluster.elect(1)
        cluster.propose(1, "a")
        cluster.settle()
        #expect(cluster.failure == nil)
        return cluster
    }

    private func check(_ what: String, _ deed: (Cluster) -> Void) {
        let cluster = settled()
        deed(cluster)
        #expect(cluster.failure?.contains(what) == true, "\(what): \(cluster.failure ?? "no objection")")
    }

    @Test("the harness objects to two leaders, two votes, a lost or changed entry, and to what falls")
    func objections() {
        check("both lead") { cluster in
            cluster.checks.leaders[cluster[1].term] = replica(3)
            cluster.check(replica(1))
        }
        check("voted for") { cluster in
            cluster.checks.ballots[.init(voter: replica(2), term: Term(7))] = replica(3)
            cluster.checkBallot(
                Message(from: replica(2), to: replica(1), term: Term(7), body: .voteResponse(granted: true)))
        }
        check("without committed entry") { cluster in
            let lost = Entry(index: cluster[1].lastIndex, term: Term(1), kind: .empty, payload: [])
            cluster.checks.add(lost, by: Term(1))
            cluster.checks.leaders = [:]
            cluster.check(replica(1))
        }
        check("others") { cluster in
            let other = Entry(index: cluster[1].lastIndex, term: Term(1), kind: .empty, payload: [])
            cluster.checks.add(other, by: Term(1))
            cluster.checks.seen = [:]
            cluster.check(replica(2))
        }
        check("which only") { cluster in
            cluster.checks.seen[replica(1)]!.commit = index(1)
            cluster.replicas[replica(2)]!.disk.entries = []
            cluster.replicas[replica(3)]!.disk.entries = []
            cluster.check(replica(1))
        }
        check("took it back") { cluster in
            cluster.checks.seen[replica(2)]!.vote = replica(3)
            cluster.check(replica(2))
        }
        check("the commit index of") { cluster in
            cluster.checks.seen[replica(2)]!.commit = index(99)
            cluster.check(replica(2))
        }
        check("the match of") { cluster in
            cluster.checks.seen[replica(1)]!.matches[replica(2)] = index(99)
            cluster.check(replica(1))
        }
        check("neither its log nor its snapshot") { cluster in
            cluster.replicas[replica(2)]!.machine.configuration.voters.removeLast()
            cluster.checkConfiguration(replica(2))
        }
        check("agree behind") { cluster in
            let last = cluster[1].lastIndex
            for (id, text) in [(UInt64(1), "x"), (2, "y")] {
                let forged = Entry(index: last.next, term: Term(3), kind: .command, payload: Array(text.utf8))
                cluster[id].raft.log.append(forged)
            }
            cluster.checkLogsMatch()
        }
    }
}
