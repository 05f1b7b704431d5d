// What must hold after every step. The checks that protect data are preconditions where the data changes, and stay in
// release builds; these are the expensive ones.

extension Raft {
    /// Traps, with the state in the message, if this replica's state contradicts itself. Called after every input in
    /// debug builds, and by simulations.
    public func assertInvariants() {
        let log = self.log
        require(log.applied <= log.commit && log.handedOut <= log.commit, "applied beyond commit")
        require(log.commit <= log.lastIndex, "commit beyond the log")
        require(log.applied <= log.handedOut, "applied what was not handed out")
        require(
            log.written <= log.lastIndex && log.durable <= log.written, "durable beyond written")
        require(log.window.end == log.lastIndex.next, "the entries in memory end elsewhere than the log")
        require(
            log.restoring != nil || log.window.start <= log.durable.next, "forgot entries that are not on disk")
        require(log.restoring != nil || log.offset <= log.durable, "compacted what is not durable")
        require(log.installing != nil || log.offset <= log.applied, "compacted what is not applied")
        require(
            log.lastTerm <= term || log.lastIndex == log.snapshot?.index, "an entry of a later term")
        require(
            log.snapshot.map { $0.index >= log.offset } ?? (log.offset == .zero),
            "compacted without a snapshot")
        require(outbox.writtenTerm <= term, "the term fell")
        assertConfiguration()
        switch role {
        case .follower: require(leader != id, "follows itself")
        case .preCandidate: require(leader == nil, "campaigns although it knows a leader")
        case .candidate:
            require(leader == nil && vote == id, "campaigns without its own vote")
        case .leader: assertLeadership()
        }
        if role != .leader {
            require(
                reads.requestCount == 0 && transferee == nil && unappliedBytes == 0 && progress.isEmpty, "leads still")
        }
        require(
            leader == nil || leader == leaderOfTerm, "follows another than the leader of the term")
        require(!isQuiet || role == .follower || role == .leader, "is quiet while it campaigns")
    }

    private func assertConfiguration() {
        let configuration = self.configuration
        for member in configuration.members {
            require(member.replica < configuration.nextReplica, "a replica id that was not issued")
            require(
                configuration.learners.contains(member.replica) != isVoter(member.replica),
                "a member must be either a voter or a learner")
        }
        for replica in configuration.nextLearners {
            require(
                configuration.outgoingVoters.contains(replica),
                "a later learner that is no outgoing voter")
        }
        if !configuration.isJoint {
            require(
                configuration.nextLearners.isEmpty && !configuration.leavesAutomatically,
                "half joint")
        }
    }

    private func assertLeadership() {
        require(leader == id, "leads without knowing")
        require(unappliedBytes == recomputedUnappliedBytes, "the count of unapplied bytes leaks")
        require(configuration.members.count == progress.count, "tracks others than the members")
        for (member, tracked) in zip(configuration.members, progress) {
            require(member.replica == tracked.replica, "members out of order")
            let isLearner = configuration.learners.contains(member.replica)
            require(tracked.isLearner == isLearner, "a learner tracked as a voter, or the reverse")
        }
        for member in progress {
            require(member.match < member.next, "match at or above next")
            require(
                member.match <= log.lastIndex, "a member acknowledged what does not exist")
            require(
                member.inflights.bytes == member.inflights.recomputedBytes,
                "the count of bytes in flight leaks")
            switch member.state {
            case .probe, .snapshot:
                require(member.inflights.isEmpty, "in flight without replicating")
            case .replicate: break
            }
            if member.replica == id {
                require(member.match <= log.written, "counts what its disk was never given")
            }
        }
        if !configuration.voters.isEmpty {
            let index = quorumIndex
            require(
                log.commit >= index || log.term(at: index) != term,
                "a quorum holds an entry of this term that is not committed")
        }
        require(
            reads.requestCount == reads.waiting.count
                + reads.rounds.reduce(0) { $0 + $1.requests.count },
            "the count of reads leaks")
        if isQuiet {
            require(log.commit == log.lastIndex && reads.isEmpty, "is quiet with work to do")
        }
    }

    private var recomputedUnappliedBytes: Int {
        var sum = 0
        var index = max(log.applied.next, firstOwnIndex)
        while let entry = log.entry(at: index) {
            sum += entry.payload.count
            index = index.next
        }
        return sum
    }

    private func require(_ condition: Bool, _ what: StaticString) {
        // Not `precondition`: its closure would copy the whole replica at every check of a debug build.
        if !condition { preconditionFailure("\(what): \(summary)") }
    }

    @inline(__always)
    func checkInvariants() {
        assert(
            {
                assertInvariants()
                return true
            }())
    }

    /// One line for messages.
    var summary: String {
        "\(id) \(role) term \(term) vote \(vote?.rawValue ?? 0) leader \(leader?.rawValue ?? 0) "
            + "log \(log.firstIndex)...\(log.lastIndex) (term \(log.lastTerm)) commit \(log.commit) "
            + "applied \(log.applied) durable \(log.durable) voters \(configuration.voters.map(\.rawValue)) "
            + "outgoing \(configuration.outgoingVoters.map(\.rawValue))"
    }
}
