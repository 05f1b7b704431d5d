/// The part of the log that is in memory: everything behind the last compaction.
///
///     offset <= applied <= handedOut <= commit <= last        written <= last, durable <= written
///
/// Entries up to `written` were given to the shell in a `Persist`; those up to `durable` are on this disk.
struct RaftLog: Sendable {
    /// The position before the first entry that is kept, and the term that stands there.
    private(set) var offset = LogIndex.zero
    private(set) var offsetTerm = Term.zero
    /// `entries[0]` stands at `offset + 1`.
    private(set) var entries: ContiguousArray<Entry> = []
    /// The newest snapshot of this replica; what a member that lags too far is given.
    private(set) var snapshot: SnapshotMetadata?

    private(set) var commit = LogIndex.zero
    private(set) var applied = LogIndex.zero
    /// Committed entries up to here were given to the shell.
    private(set) var handedOut = LogIndex.zero
    private(set) var written = LogIndex.zero
    private(set) var durable = LogIndex.zero

    /// A received snapshot that the shell has not installed yet; nothing behind it is handed out before.
    private(set) var installing: LogIndex?
    /// A received snapshot that is not durable yet.
    private(set) var restoring: LogIndex?

    private var applyingBytes = 0
    private var isApplyingPaused = false

    var firstIndex: LogIndex { offset.next }
    var lastIndex: LogIndex { offset + entries.count }
    var lastTerm: Term { entries.last?.term ?? offsetTerm }
    var hasPendingSnapshot: Bool { installing != nil || restoring != nil }

    init(restoring restored: RestoredReplica) {
        if let snapshot = restored.snapshot {
            precondition(snapshot.index > .zero, "a snapshot stands for at least one entry")
            self.snapshot = snapshot
            offset = snapshot.index
            offsetTerm = snapshot.term
        }
        for entry in restored.entries where entry.index > offset {
            precondition(
                entry.index == lastIndex.next && entry.term >= lastTerm,
                "the restored log jumps from \(lastIndex) (term \(lastTerm)) to \(entry.index) (term \(entry.term))"
            )
            entries.append(entry)
        }
        commit = min(max(restored.hardState.commit, offset), lastIndex)
        applied = offset
        handedOut = offset
        written = lastIndex
        durable = lastIndex
    }

    // MARK: Looking things up

    /// The term at `index`, or nil where it is compacted or not there yet. Never 0 for a compacted index.
    func term(at index: LogIndex) -> Term? {
        if index == offset { return offsetTerm }
        return entry(at: index)?.term
    }

    func entry(at index: LogIndex) -> Entry? {
        if index <= offset || index > lastIndex { return nil }
        return entries[offset.distance(to: index) - 1]
    }

    func matches(_ index: LogIndex, _ term: Term) -> Bool { self.term(at: index) == term }

    /// Whether a log that ends so is at least as good as this one (Raft paper 5.4.1).
    func isUpToDate(lastIndex: LogIndex, lastTerm: Term) -> Bool {
        lastTerm > self.lastTerm || (lastTerm == self.lastTerm && lastIndex >= self.lastIndex)
    }

    /// The highest index at or below `index` whose term is at most `term` (etcd's `findConflictByTerm`): nothing
    /// above it can agree with the other log. The term is 0 where it is not known here.
    func conflictHint(from index: LogIndex, term: Term) -> (index: LogIndex, term: Term) {
        var index = index
        while index > .zero {
            guard let own = self.term(at: index) else { return (index, .zero) }
            if own <= term { return (index, own) }
            index = index.previous
        }
        return (.zero, .zero)
    }

    /// Entries from `first` on, at least one if there is one, up to about `bytesMax`.
    func slice(from first: LogIndex, through last: LogIndex, bytesMax: Int) -> [Entry] {
        if first > last { return [] }
        let start = offset.distance(to: first) - 1
        let limit = offset.distance(to: last)
        var end = start + 1
        var bytes = entries[start].logBytes
        while end < limit {
            bytes += entries[end].logBytes
            if bytes > bytesMax { break }
            end += 1
        }
        return Array(entries[start..<end])
    }

    /// Whether a committed configuration change waits to be applied.
    var hasUnappliedConfiguration: Bool { hasConfiguration(from: applied, through: commit) }

    /// Whether the log holds a configuration change that is not applied, committed or not.
    var hasConfigurationBehindApplied: Bool { hasConfiguration(from: applied, through: lastIndex) }

    private func hasConfiguration(from first: LogIndex, through last: LogIndex) -> Bool {
        let first = max(first, offset)
        if first >= last { return false }
        let positions = offset.distance(to: first)..<offset.distance(to: last)
        return entries[positions].contains { $0.kind == .configuration }
    }

    // MARK: Growing

    mutating func append(_ entry: Entry) {
        precondition(
            entry.index == lastIndex.next && entry.term >= lastTerm,
            "entry \(entry.index) of term \(entry.term) cannot follow \(lastIndex) of term \(lastTerm)"
        )
        entries.append(entry)
    }

    /// Takes a leader's entries, which follow a position that matches. What is there already stays, also when
    /// this append was overtaken by a longer one; only a real conflict cuts the tail.
    /// - Returns: what was cut.
    mutating func merge(_ incoming: [Entry]) -> RaftEvent? {
        for (position, entry) in incoming.enumerated() where !matches(entry.index, entry.term) {
            let conflict = self.entry(at: entry.index).map {
                RaftEvent.replacedTail(
                    from: entry.index, ownTerm: $0.term, leaderTerm: entry.term, firstNotDurable: durable.next)
            }
            if conflict != nil { truncate(from: entry.index) }
            entries.append(contentsOf: incoming[position...])
            return conflict
        }
        return nil
    }

    private mutating func truncate(from index: LogIndex) {
        precondition(
            index > commit,
            "a leader overwrites entry \(index), which is committed (commit \(commit), last \(lastIndex))"
        )
        entries.removeLast(index.previous.distance(to: lastIndex))
        written = min(written, index.previous)
        durable = min(durable, index.previous)
    }

    mutating func advanceCommit(to index: LogIndex) {
        if index <= commit { return }
        precondition(index <= lastIndex, "commit \(index) lies behind the last entry \(lastIndex)")
        commit = index
    }

    // MARK: Applying

    /// The next committed entries, or none while those given before weigh `bytesMax` or a page was cut short.
    mutating func takeCommitted(bytesMax: Int, onlyDurable: Bool) -> [Entry] {
        if !hasCommitted(onlyDurable: onlyDurable) { return [] }
        let end = applicable(onlyDurable: onlyDurable)
        let page = slice(from: handedOut.next, through: end, bytesMax: bytesMax - applyingBytes)
        for entry in page { applyingBytes += entry.logBytes }
        handedOut = handedOut + page.count
        isApplyingPaused = applyingBytes >= bytesMax || handedOut < end
        return page
    }

    func hasCommitted(onlyDurable: Bool) -> Bool {
        handedOut < applicable(onlyDurable: onlyDurable) && installing == nil && !isApplyingPaused
    }

    private func applicable(onlyDurable: Bool) -> LogIndex { onlyDurable ? min(commit, durable) : commit }

    mutating func advanceApplied(to index: LogIndex, bytesMax: Int) {
        precondition(
            index >= applied && index <= handedOut,
            "applied \(index) must lie between \(applied) and \(handedOut), which was handed out")
        // After a snapshot was received, the entries before it are gone, and so is their weight.
        var next = max(applied, offset).next
        while next <= index, let entry = entry(at: next) {
            applyingBytes -= entry.logBytes
            next = next.next
        }
        applied = index
        precondition(applyingBytes >= 0, "more was applied (\(index)) than was handed out")
        isApplyingPaused = applyingBytes >= bytesMax
        if let snapshot = installing, applied >= snapshot { installing = nil }
    }

    // MARK: The disk

    var hasUnwritten: Bool { written < lastIndex }

    mutating func takeUnwritten() -> [Entry] {
        if !hasUnwritten { return [] }
        let start = offset.distance(to: max(written, offset))
        written = lastIndex
        return Array(entries[start...])
    }

    /// A write of this term is on disk, and with it everything up to `index`, if that is still what stands there.
    /// - Returns: whether that was news.
    mutating func becameDurable(through index: LogIndex, term: Term) -> Bool {
        guard index > durable, index <= written, matches(index, term) else { return false }
        durable = index
        return true
    }

    mutating func snapshotBecameDurable(_ index: LogIndex) {
        guard let restoring, index >= restoring else { return }
        self.restoring = nil
        durable = max(durable, offset)
    }

    // MARK: Snapshots

    /// Replaces everything by a received snapshot.
    mutating func restore(_ metadata: SnapshotMetadata) {
        precondition(
            metadata.index > commit,
            "a snapshot at \(metadata.index) would undo what is committed (\(commit))")
        durable = min(durable, commit)
        entries.removeAll()
        offset = metadata.index
        offsetTerm = metadata.term
        snapshot = metadata
        commit = metadata.index
        handedOut = metadata.index
        written = metadata.index
        installing = metadata.index
        restoring = metadata.index
        applyingBytes = 0
        isApplyingPaused = false
    }

    /// Notes this replica's own snapshot and drops entries that it covers, keeping some for members that lag.
    /// Entries that are not durable, or not applied, stay whatever the snapshot says.
    mutating func compact(_ metadata: SnapshotMetadata, keeping kept: Int) {
        if let snapshot, metadata.index <= snapshot.index { return }
        precondition(
            metadata.index <= handedOut && matches(metadata.index, metadata.term),
            "a snapshot at \(metadata.index) (term \(metadata.term)) does not stand for what was applied here"
        )
        snapshot = metadata
        let wanted = LogIndex(
            metadata.index.rawValue - min(UInt64(max(0, kept)), metadata.index.rawValue))
        drop(through: wanted)
    }

    mutating func drop(through wanted: LogIndex) {
        let target = min(wanted, durable, applied)
        if target <= offset { return }
        guard let targetTerm = term(at: target) else { return }
        entries.removeFirst(offset.distance(to: target))
        offset = target
        offsetTerm = targetTerm
    }
}

extension Entry {
    /// What an entry is taken to weigh in a message and in a page of committed entries.
    var logBytes: Int { payload.count + Self.overheadBytes }
    /// Index, term, kind and framing; keeps a million empty entries from counting as nothing.
    private static let overheadBytes = 24
}
