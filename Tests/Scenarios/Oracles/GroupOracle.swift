package import FlotillaActors
package import FlotillaRaft

/// Sees every step of every replica of a simulated world, and compares them: what Raft promises must hold among all
/// replicas at every moment, not only at the end.
///
/// - Election safety: one leader per term.
/// - State machine safety: what was committed at an index, by whichever replica, at whichever time, is the same command
///   of the same term, and states at one index are equal.
/// - Leader completeness: who becomes leader has what was committed in earlier terms.
/// - Within one life of a replica: term, commit and applied index never fall, committed entries are handed out in order.
/// - Each replica's own invariants (`Raft.assertInvariants`).
package final class GroupOracle: GroupObserver, @unchecked Sendable {
    // Unchecked: called on the simulation's thread only.

    /// One group in one incarnation.
    private struct Key: Hashable {
        var group: GroupID
        var incarnation: UInt64
    }
    /// One life of one replica.
    private struct Life: Hashable {
        var key: Key
        var replica: ReplicaID
        var boot: UInt64
    }
    private struct Committed {
        var term: Term
        var hash: UInt64
        /// The term of the replica that was the first to know; it was committed then or before.
        var knownIn: Term
    }
    private final class Group {
        var leaders: [Term: ReplicaID] = [:]
        /// By index. What only a snapshot covers is missing.
        var committed: [LogIndex: Committed] = [:]
        var states: [LogIndex: UInt64] = [:]
    }
    private struct Progress {
        var term = Term.zero
        var commit = LogIndex.zero
        var applied = LogIndex.zero
        var handedOut: LogIndex?
    }

    private var groups: [Key: Group] = [:]
    private var lives: [Life: Progress] = [:]
    /// The first thing that was wrong; what comes after may be its consequence.
    package private(set) var failure: ScenarioFailure?
    /// Steps of replicas that were looked at.
    package private(set) var steps: UInt64 = 0
    package private(set) var elections: UInt64 = 0

    package init() {}

    /// - Throws: what was found wrong so far.
    package func check() throws(ScenarioFailure) {
        if let failure { throw failure }
    }

    package func replica(
        _ replica: ReplicaIdentity, boot: UInt64, stepped core: borrowing Raft, into effects: Effects
    ) {
        steps += 1
        core.assertInvariants()
        let key = Key(group: replica.group, incarnation: replica.incarnation)
        let life = Life(key: key, replica: replica.replica, boot: boot)
        checkProgress(life, core, effects)
        if let status = effects.statusChange, status.role == .leader { checkLeader(life, core, status.term) }
        for entry in effects.committed { checkCommitted(entry, by: life, in: core.status.term) }
    }

    /// Compares a replica's state at an index with the others'.
    package func replica(of group: GroupID, incarnation: UInt64 = 1, reached state: UInt64, at index: LogIndex) {
        let key = Key(group: group, incarnation: incarnation)
        guard let known = self.group(key).states.updateValue(state, forKey: index) else { return }
        if known != state { fail("two replicas of \(group) differ in their state at index \(index)") }
    }

    // MARK: Checks

    private func checkProgress(_ life: Life, _ core: borrowing Raft, _ effects: Effects) {
        var progress = lives[life] ?? Progress()
        if core.status.term < progress.term {
            fail("the term of \(life.replica) fell from \(progress.term) to \(core.status.term)")
        }
        if core.commitIndex < progress.commit {
            fail("the commit index of \(life.replica) fell from \(progress.commit) to \(core.commitIndex)")
        }
        if core.appliedIndex < progress.applied {
            fail("the applied index of \(life.replica) fell from \(progress.applied) to \(core.appliedIndex)")
        }
        progress.term = core.status.term
        progress.commit = core.commitIndex
        progress.applied = core.appliedIndex
        if let restore = effects.restore { progress.handedOut = restore.index }
        for entry in effects.committed {
            if let last = progress.handedOut, entry.index != last.next {
                fail("\(life.replica) was given the committed entry \(entry.index) after \(last)")
            }
            progress.handedOut = entry.index
        }
        lives[life] = progress
    }

    private func checkLeader(_ life: Life, _ core: borrowing Raft, _ term: Term) {
        elections += 1
        let known = group(life.key).leaders.updateValue(life.replica, forKey: term)
        if let known, known != life.replica { fail("\(known) and \(life.replica) both lead in term \(term)") }
        for (index, entry) in group(life.key).committed where entry.knownIn < term && index >= core.firstIndex {
            if core.term(at: index) != entry.term {
                fail(
                    "\(life.replica) leads in term \(term) without entry \(index) of term \(entry.term), "
                        + "which was committed in term \(entry.knownIn)")
            }
        }
    }

    private func checkCommitted(_ entry: Entry, by life: Life, in term: Term) {
        let hash = Self.hash(entry)
        let group = group(life.key)
        guard let known = group.committed[entry.index] else {
            group.committed[entry.index] = Committed(term: entry.term, hash: hash, knownIn: term)
            return
        }
        if known.term != entry.term || known.hash != hash {
            fail(
                "\(life.replica) commits entry \(entry.index) of term \(entry.term), where another of term "
                    + "\(known.term) was committed before")
        }
        if term < known.knownIn { group.committed[entry.index]!.knownIn = term }
    }

    private func group(_ key: Key) -> Group {
        if let group = groups[key] { return group }
        let group = Group()
        groups[key] = group
        return group
    }

    private func fail(_ message: String) {
        if failure == nil { failure = ScenarioFailure(message) }
    }

    /// FNV-1a, 64 bits.
    private static func hash(_ entry: Entry) -> UInt64 {
        entry.payload.reduce(0xCBF2_9CE4_8422_2325 ^ UInt64(entry.kind.rawValue)) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
    }
}
