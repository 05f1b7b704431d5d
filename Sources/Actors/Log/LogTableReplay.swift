import FlotillaRaft

/// What only a reader of the log does to a table, and what only its writer asks of one.
extension LogTable {
    /// How many entries may lie nowhere: more is no log that was ever written.
    private static let maximumAbsentEntries: UInt64 = 1 << 28

    /// Takes over a checkpoint. What it says of a replica replaces what is known, except the entries: those behind its
    /// end go, and those before it that are not known lie nowhere for now.
    /// - Returns: what is wrong, or nil.
    mutating func apply(checkpoint heads: LogHeads) -> String? {
        let kept = Set(heads.replicas.map(\.identity.key))
        for key in replicas.sortedKeys where !kept.contains(key) {
            if let replica = replicas.remove(key) { space.drop(replica) }
        }
        for head in heads.replicas {
            let key = head.identity.key
            var replica = replicas.remove(key) ?? Replica(identity: head.identity)
            if replica.base.index < head.base.index {
                if replica.last > head.base.index {
                    replica.compact(through: head.base.index, &space)
                } else {
                    replica.truncate(from: replica.base.index.next, &space)
                }
            }
            replica.base = head.base
            replica.identity = head.identity
            replica.hardState = head.hardState
            replica.snapshot = head.snapshot
            replica.recoveringUntil = head.recoveringUntil
            replica.truncate(from: head.last.next, &space)
            if replica.last < head.last {
                let absent = head.last.rawValue - replica.last.rawValue
                guard absent <= Self.maximumAbsentEntries else { return "\(key) lacks \(absent) entries" }
                replica.extend(through: head.last, in: Run.nowhere, &space)
            }
            replicas[key] = replica
        }
        removed = heads.removed
        return nil
    }

    /// Moves live entries to another segment.
    /// - Returns: what is wrong, or nil.
    mutating func apply(copy key: LogKey, _ logged: LoggedEntries, place: Place) -> String? {
        let entries = logged.entries
        guard let first = entries.first?.index, let last = entries.last?.index,
            var replica = replicas.remove(key)
        else { return "a copy of entries of \(key), which has no replica here" }
        defer { replicas[key] = replica }
        guard replica.base.index < first, last <= replica.last else {
            return
                "a copy of entries \(first) to \(last) of \(key), which holds those behind \(replica.base.index) "
                + "up to \(replica.last)"
        }
        var runs: [Run] = []
        for run in replica.runs {
            space.account(run, -1)
            if run.first < first {
                runs.append(run.part(first: run.first, last: min(run.last, first.previous)))
            }
            if run.first <= first, first <= run.last {
                for entry in entries { runs.extend(with: entry, place: place) }
            }
            if run.last > last {
                runs.append(run.part(first: max(run.first, last.next), last: run.last))
            }
        }
        replica.runs = runs
        for run in runs { space.account(run, 1) }
        replica.replacePayloads(in: first...last, by: logged.payloads, &space)
        // A reader may see the copy alone.
        let changes = entries.filter { $0.kind == .configuration }
        for change in changes { space.note(change, of: key) }
        if !changes.isEmpty {
            replica.configurations.removeAll { $0 >= first && $0 <= last }
            replica.configurations = (replica.configurations + changes.map(\.index)).sorted()
        }
        return nil
    }

    /// The state of all replicas, for the start of a segment.
    var checkpoint: LogHeads {
        var heads = LogHeads()
        heads.replicas = replicas.sorted.map { replica in
            LogHeads.Replica(
                identity: replica.identity, hardState: replica.hardState,
                snapshot: replica.snapshot, base: replica.base,
                last: replica.last, recoveringUntil: replica.recoveringUntil)
        }
        heads.removed = removed
        return heads
    }

    /// Whether the live entry with this index lies in this segment.
    func isLive(_ entry: Entry, of key: LogKey, in segment: UInt64) -> Bool {
        guard let replica = replicas[key] else { return false }
        return replica.runs.contains {
            $0.segment == segment && $0.first <= entry.index && entry.index <= $0.last
                && $0.term == entry.term
        }
    }

    /// The first entries that a replica needs and no segment holds.
    var absent: (key: LogKey, first: LogIndex, last: LogIndex)? {
        for replica in replicas.sorted {
            if let run = replica.runs.first(where: { $0.segment == Run.nowhere }) {
                return (replica.identity.key, run.first, run.last)
            }
        }
        return nil
    }
}
