import FlotillaRaft

/// What is live in a log: in which segment, and in which files of payloads.
struct LogSpace {
    /// What is live in one segment.
    struct Usage: Hashable {
        var entries = 0
        var bytes = 0
    }

    private(set) var usage: [UInt64: Usage] = [:]
    var payloadUses = PayloadUses()

    /// What a table holds of the entries besides their places.
    enum Kept {
        case places
        /// What membership changes say, for whoever reads a log.
        case changes
        case entries
    }

    private(set) var kept: Kept
    /// The payloads of membership changes, also of some that were replaced since.
    private var changes: [LogKey: [LogIndex: [UInt8]]] = [:]
    var keepsEntries: Bool { kept == .entries }

    init(_ kept: Kept) { self.kept = kept }

    mutating func note(_ change: Entry, of key: LogKey) {
        if kept == .changes { changes[key, default: [:]][change.index] = change.payload }
    }

    /// What a change says that stands in the log; nil unless it is kept.
    func change(at index: LogIndex, of key: LogKey) -> [UInt8]? { changes[key]?[index] }

    /// The log is read: from now on the places are enough.
    mutating func forgetChanges() {
        if kept == .changes { kept = .places }
        changes = [:]
    }

    /// Gives up all that a replica holds, which is no longer in the table.
    mutating func drop(_ replica: LogTable.Replica) {
        changes[replica.identity.key] = nil
        for run in replica.runs { account(run, -1) }
        for payload in replica.payloads { payloadUses.remove(payload.reference) }
    }

    mutating func account(_ run: LogTable.Run, _ sign: Int) {
        account(entries: sign * run.count, bytes: sign * run.bytes, in: run.segment)
    }

    mutating func account(entries: Int, bytes: Int, in segment: UInt64) {
        var known = usage[segment] ?? Usage()
        known.entries += entries
        known.bytes += bytes
        precondition(known.entries >= 0, "segment \(segment) would hold \(known.entries) live entries")
        usage[segment] = known.entries == 0 ? nil : known
    }
}

// MARK: Changing one replica

extension LogTable.Replica {
    /// Takes over a write's snapshot and hard state.
    mutating func begin(_ head: LogHeads.Write, _ space: inout LogSpace) {
        if let snapshot = head.write.snapshot {
            let base = head.newBase ?? snapshot.position
            if head.keepsTail {
                compact(through: base.index, &space)
            } else {
                truncate(from: self.base.index.next, &space)
            }
            self.base = base
            self.snapshot = snapshot
        }
        if let hardState = head.write.hardState { self.hardState = hardState }
    }

    mutating func append(_ logged: LoggedEntries, place: LogTable.Place, _ space: inout LogSpace) {
        let entries = logged.entries.drop { $0.index <= snapshotIndex }
        guard let first = entries.first else { return }
        if !mutated(.replayKeepsReplacedTail) { truncate(from: first.index, &space) }
        var bytes = 0
        for entry in entries {
            runs.extend(with: entry, place: place)
            bytes += entry.payload.count + LogTable.entryOverheadBytes
            guard entry.kind == .configuration else { continue }
            configurations.append(entry.index)
            space.note(entry, of: identity.key)
        }
        if space.keepsEntries { self.entries.append(contentsOf: entries) }
        note(logged.payloads.drop { $0.index <= snapshotIndex }, &space)
        space.account(entries: entries.count, bytes: bytes, in: place.segment)
    }

    /// Adds places of entries that are not there.
    mutating func extend(through last: LogIndex, in segment: UInt64, _ space: inout LogSpace) {
        let run = LogTable.Run(first: self.last.next, last: last, term: .zero, segment: segment, bytes: 0)
        runs.append(run)
        space.account(run, 1)
    }

    /// Drops the entries from `index` on.
    mutating func truncate(from index: LogIndex, _ space: inout LogSpace) {
        guard index <= last else { return }
        while let run = runs.last, run.last >= index {
            runs.removeLast()
            space.account(run, -1)
            guard run.first < index else { continue }
            let kept = run.part(first: run.first, last: index.previous)
            runs.append(kept)
            space.account(kept, 1)
        }
        while let change = configurations.last, change >= index { configurations.removeLast() }
        dropPayloads(from: index, &space)
        if space.keepsEntries { entries.removeLast(entries.count - base.index.distance(to: last)) }
    }

    /// Drops the entries up to `index`, which the log holds.
    mutating func compact(through index: LogIndex, _ space: inout LogSpace) {
        if space.keepsEntries { entries.removeFirst(base.index.distance(to: index)) }
        configurations.removeAll { $0 <= index }
        dropPayloads(through: index, &space)
        let passed = runs.prefix { $0.last <= index }
        for run in passed { space.account(run, -1) }
        runs.removeFirst(passed.count)
        guard let run = runs.first, run.first <= index else { return }
        runs[0] = run.part(first: index.next, last: run.last)
        space.account(run, -1)
        space.account(runs[0], 1)
    }
}

extension [LogTable.Run] {
    mutating func extend(with entry: Entry, place: LogTable.Place) {
        let bytes = entry.payload.count + LogTable.entryOverheadBytes
        let end = count - 1
        if end >= 0, self[end].term == entry.term, self[end].segment == place.segment,
            self[end].last.next == entry.index
        {
            self[end].extend(through: entry.index, bytes: bytes, at: place.offset)
        } else {
            append(
                LogTable.Run(
                    first: entry.index, last: entry.index, term: entry.term, segment: place.segment, bytes: bytes,
                    start: place.offset))
        }
    }
}

extension LogTable.Run {
    var marks: [LogTable.Mark] {
        [LogTable.Mark(first: first, offset: start)]
            + laterMarks.map {
                LogTable.Mark(first: first + Int($0.entries), offset: start + UInt64($0.bytes))
            }
    }

    @inline(__always)
    fileprivate mutating func extend(through last: LogIndex, bytes: Int, at offset: UInt64) {
        self.last = last
        self.bytes += bytes
        let marked = start + UInt64(laterMarks.last?.bytes ?? 0)
        if offset - marked >= LogTable.Mark.spacing { mark(last, at: offset) }
    }

    /// Marks the batch of an entry. One that is too far behind the start for a mark is looked for from the last one on.
    private mutating func mark(_ index: LogIndex, at offset: UInt64) {
        guard let entries = UInt32(exactly: first.distance(to: index)), let bytes = UInt32(exactly: offset - start)
        else { return }
        laterMarks.append(LogTable.LaterMark(entries: entries, bytes: bytes))
    }

    func part(first: LogIndex, last: LogIndex) -> Self {
        var part = self
        part.first = first
        part.last = last
        part.bytes = Int(Double(bytes) * Double(part.count) / Double(count))
        let marks = marks
        part.start = marks.last { $0.first <= first }?.offset ?? start
        part.laterMarks = []
        for mark in marks where mark.first > first && mark.first <= last { part.mark(mark.first, at: mark.offset) }
        return part
    }
}
