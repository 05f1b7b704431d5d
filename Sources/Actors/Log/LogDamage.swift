public import FlotillaRaft

// WHAT BECOMES OF DAMAGED ENTRIES
//
// A batch whose heads verify and whose body does not tells which entries of which groups are lost. Where a snapshot, a
// later write or a copy has replaced them, nothing is. Otherwise the group's log is cut before the first of them and its
// replica is *recovering* up to where the log ended: it neither votes nor campaigns, and what it acknowledges does not
// count, until a leader has brought it past that end by ordinary replication, or by a snapshot.
//
// Why that is safe:
//  1. Term and vote are in the heads, and those verify. The replica votes twice in no term, and follows no leader of an
//     earlier one.
//  2. What it acknowledged before, and now lacks, may have been committed by counting it. Whoever is elected without
//     its vote has the votes of a majority of the others, each of which compares whole logs; that majority and the one
//     that committed share a replica besides this one, or this one would have had to vote. So every leader has the
//     entry, and gives it back.
//  3. A leader that counted it for entries that it lacks now is told by every answer that the replica is recovering,
//     and takes back what it noted down. What was committed before that stays committed: see 2.
//  4. It counts again once its log has reached the old end in agreement with a leader whose term is not earlier than its
//     own: then it holds all that it can ever have acknowledged, or what a leader replaced it with.
//
// Where a majority is recovering, nobody can be elected, though a leader that is there goes on. Nothing is lost silently,
// and it does not end by itself either: the operator puts one of the disks back as it was, or gives the group up. A
// group without other voters has nobody to ask. Its node does not start, unless the operator accepts the loss.

/// Entries that the log of a node does not hold any more as they were written.
public struct LogDamage: Hashable, Sendable, CustomStringConvertible {
    /// The file.
    public var path: String
    /// Of the batch that they were written in, in bytes; 0 of a payload's file.
    public var offset: UInt64
    public var group: GroupID
    public var incarnation: UInt64
    public var first: LogIndex
    public var last: LogIndex
    /// False where a snapshot, later entries or a copy have taken their place: then nothing is lost.
    public var isNeeded: Bool
    /// Whether the file is that of a payload, which is missing or damaged.
    public var isPayload = false

    var key: LogKey { LogKey(group: group, incarnation: incarnation) }

    public var description: String {
        if isPayload { return "\(path) is missing or damaged at byte 0: it is the payload of entry \(first) of \(key)" }
        return "\(path) is damaged at byte \(offset): entries \(first) to \(last) of \(key) do not match their checksum"
    }
}

extension LogTable.Replica {
    /// Takes note of lost entries, which later writes may still replace.
    mutating func lose(_ claim: LogHeads.Claim, _ space: inout LogSpace) {
        guard claim.last > snapshotIndex else { return }
        truncate(from: max(claim.first, snapshotIndex.next), &space)
        extend(through: claim.last, in: LogTable.Run.lost, &space)
    }
}

extension LogTable {
    /// Takes note of lost copies. What they were made of is where it was, unless its segment was deleted.
    mutating func loseCopy(_ claim: LogHeads.Claim, of key: LogKey) {
        lose(claim.first...claim.last, of: key) { $0.segment == Run.nowhere }
    }

    /// Takes note of lost entries among those that the log holds.
    mutating func lose(_ indexes: ClosedRange<LogIndex>, of key: LogKey, where isLost: (Run) -> Bool = { _ in true }) {
        guard let runs = replicas[key]?.runs else { return }
        var changed: [Run] = []
        for run in runs {
            let first = max(run.first, indexes.lowerBound)
            let last = min(run.last, indexes.upperBound)
            guard isLost(run), first <= last else {
                changed.append(run)
                continue
            }
            if run.first < first { changed.append(run.part(first: run.first, last: first.previous)) }
            var lost = run.part(first: first, last: last)
            lost.segment = Run.lost
            changed.append(lost)
            if last < run.last { changed.append(run.part(first: last.next, last: run.last)) }
        }
        for run in runs { space.account(run, -1) }
        for run in changed { space.account(run, 1) }
        replicas[key]?.runs = changed
    }

    /// Whether the log needs entries of `damage`.
    func needs(_ damage: LogDamage) -> Bool {
        replicas[damage.key]?.runs.contains {
            $0.segment == Run.lost && $0.first <= damage.last && damage.first <= $0.last
        } ?? false
    }

    /// What a snapshot covers was kept for members that lag, who get the snapshot instead.
    mutating func forgetLossesBehindSnapshots() {
        for key in replicas.sortedKeys {
            guard var replica = replicas[key], let snapshot = replica.snapshot,
                replica.runs.contains(where: { $0.segment == Run.lost && $0.first <= snapshot.index })
            else { continue }
            replica.compact(through: snapshot.index, &space)
            replica.base = snapshot.position
            replicas[key] = replica
        }
    }

    /// Cuts each log before its first lost entry, and leaves its replica recovering up to where it ended.
    mutating func cutLosses() {
        for key in replicas.sortedKeys {
            guard var replica = replicas[key], let lost = replica.runs.first(where: { $0.segment == Run.lost })
            else { continue }
            // The commit index counts as well: the log may have been cut before.
            let end = max(replica.last, replica.hardState.commit, replica.recoveringUntil ?? .zero)
            replica.truncate(from: lost.first, &space)
            replica.hardState.commit = min(replica.hardState.commit, replica.last)
            replica.recoveringUntil = mutated(.forgetsLostEntries) ? nil : end
            replicas[key] = replica
        }
    }

    /// The replicas that recover and have nobody to recover from: no other voter, as far as their logs tell.
    var recoveringAlone: [LogKey] {
        replicas.sortedKeys.filter { key in
            guard let replica = replicas[key] else { return false }
            let isRecovering =
                replica.recoveringUntil != nil || replica.runs.contains { $0.segment == Run.lost }
            return isRecovering && isOnlyVoter(replica)
        }
    }

    /// The operator's decision: what is left is all there is.
    mutating func acceptLosses(of keys: [LogKey]) {
        for key in keys { replicas[key]?.recoveringUntil = nil }
    }

    private func isOnlyVoter(_ replica: Replica) -> Bool {
        var configuration = replica.snapshot?.configuration ?? Configuration()
        for index in replica.configurations where index > replica.snapshotIndex {
            guard let payload = space.change(at: index, of: replica.identity.key),
                let change = try? ConfigurationChange(decodingPayload: payload)
            else { continue }
            configuration = configuration.applying(change) ?? configuration
        }
        let voters = configuration.voters + configuration.outgoingVoters
        return !voters.isEmpty && voters.allSatisfy { $0 == replica.identity.replica }
    }
}
