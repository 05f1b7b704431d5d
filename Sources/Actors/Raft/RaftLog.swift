/// The log as one replica's core knows it: the terms of all its entries, and those entries that are still needed or were
/// needed not long ago. The others are on disk; who wants them asks for a read.
///
///     offset <= applied <= handedOut <= commit <= last        written <= last, durable <= written
///
/// Entries up to `written` were given to the shell in a `Persist`; those up to `durable` are on this disk.
struct RaftLog: Sendable {
    private(set) var outline: LogOutline
    private(set) var window: LogWindow
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
    /// Committed entries that came from the disk, until they are applied.
    private var page: ContiguousArray<Entry> = []
    /// Where the page begins that was asked for and did not come yet.
    private var pageRead: LogIndex?

    /// The position before the first entry that is kept.
    var offset: LogIndex { outline.base.index }
    var firstIndex: LogIndex { offset.next }
    var lastIndex: LogIndex { outline.last }
    var lastTerm: Term { outline.lastTerm }
    var hasPendingSnapshot: Bool { installing != nil || restoring != nil }

    init(restoring restored: RestoredReplica, windowBytes: Int = .max) {
        outline = restored.outline
        window = LogWindow(restored.entries, behind: restored.outline.last, bytesMax: windowBytes)
        if let snapshot = restored.snapshot {
            precondition(snapshot.index > .zero, "a snapshot stands for at least one entry")
            precondition(
                outline.term(at: snapshot.index) == snapshot.term,
                "the log from \(outline.base) to \(outline.last) lacks the end of the snapshot at \(snapshot.index)")
            self.snapshot = snapshot
        }
        let start = restored.snapshot?.index ?? .zero
        commit = min(max(restored.hardState.commit, start), lastIndex)
        applied = mutated(.restartsAsApplied) ? commit : start
        handedOut = applied
        written = lastIndex
        durable = lastIndex
        outline.forgetConfigurations(through: applied)
        settle()
    }

    // MARK: Looking things up

    /// The term at `index`, or nil where it is compacted or not there yet. Never 0 for a compacted index.
    func term(at index: LogIndex) -> Term? {
        if mutated(.compactedTermIsZero), index < offset { return .zero }
        return outline.term(at: index)
    }

    /// An entry that is in memory.
    func entry(at index: LogIndex) -> Entry? { index > lastIndex ? nil : window.entry(at: index) }

    func matches(_ index: LogIndex, _ term: Term) -> Bool { self.term(at: index) == term }

    /// Whether a log that ends so is at least as good as this one (Raft paper 5.4.1).
    func isUpToDate(lastIndex: LogIndex, lastTerm: Term) -> Bool {
        if mutated(.comparesLogsByLength) { return lastIndex >= self.lastIndex }
        return lastTerm > self.lastTerm || (lastTerm == self.lastTerm && lastIndex >= self.lastIndex)
    }

    /// The highest index at or below `index` whose term is at most `term` (etcd's `findConflictByTerm`): nothing
    /// above it can agree with the other log. The term is 0 where it is not known here.
    func conflictHint(from index: LogIndex, term: Term) -> (index: LogIndex, term: Term) {
        if index < offset || index > lastIndex { return (index, .zero) }
        if let known = outline.lastPosition(through: index, termAtMost: term) { return (known.index, known.term) }
        return (offset > .zero ? offset.previous : .zero, .zero)
    }

    /// Whether the entries from `first` on are in memory.
    func isInWindow(_ first: LogIndex) -> Bool { first >= window.start }

    /// Entries from `first` on, which are in memory: at least one if there is one, up to about `bytesMax`.
    func slice(from first: LogIndex, through last: LogIndex, bytesMax: Int) -> [Entry] {
        first > last ? [] : window.slice(from: first, through: last, bytesMax: bytesMax)
    }

    /// What of entries that were read stands in this log.
    func known(_ entries: [Entry], from first: LogIndex) -> ArraySlice<Entry> {
        var next = first
        return entries.prefix { entry in
            defer { next = next.next }
            return entry.index == next && matches(next, entry.term) && next > offset
        }
    }

    /// Whether a committed configuration change waits to be applied.
    var hasUnappliedConfiguration: Bool { outline.hasConfiguration(behind: applied, through: commit) }

    /// Whether the log holds a configuration change that is not applied, committed or not.
    var hasConfigurationBehindApplied: Bool { outline.hasConfiguration(behind: applied, through: lastIndex) }

    // MARK: Growing

    mutating func append(_ entry: Entry) {
        outline.append(entry)
        window.append(entry)
    }

    /// Takes a leader's entries, which follow a position that matches. What is there already stays, also when
    /// this append was overtaken by a longer one; only a real conflict cuts the tail.
    /// - Returns: what was cut.
    mutating func merge(_ incoming: [Entry]) -> RaftEvent? {
        for (position, entry) in incoming.enumerated()
        where !matches(entry.index, entry.term) || mutated(.truncatesOnOverlap) {
            let conflict = outline.term(at: entry.index).map {
                RaftEvent.replacedTail(
                    from: entry.index, ownTerm: $0, leaderTerm: entry.term, firstNotDurable: durable.next)
            }
            if conflict != nil { truncate(from: entry.index) }
            for entry in incoming[position...] { append(entry) }
            return conflict
        }
        return nil
    }

    private mutating func truncate(from index: LogIndex) {
        precondition(
            index > commit,
            "a leader overwrites entry \(index), which is committed (commit \(commit), last \(lastIndex))"
        )
        outline.truncate(behind: index.previous)
        window.truncate(behind: index.previous)
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
        let next = handedOut.next
        let taken =
            isInWindow(next) ? slice(from: next, through: end, bytesMax: bytesMax - applyingBytes) : Array(page)
        for entry in taken { applyingBytes += entry.logBytes }
        handedOut = handedOut + taken.count
        if mutated(.countsAppliedAtHandOut) { applied = handedOut }
        isApplyingPaused = applyingBytes >= bytesMax || handedOut < end
        return taken
    }

    func hasCommitted(onlyDurable: Bool) -> Bool {
        mayHandOut(onlyDurable: onlyDurable) && (isInWindow(handedOut.next) || page.first?.index == handedOut.next)
    }

    private func mayHandOut(onlyDurable: Bool) -> Bool {
        handedOut < applicable(onlyDurable: onlyDurable)
            && (installing == nil || mutated(.appliesBesideSnapshot)) && !isApplyingPaused
    }

    private func applicable(onlyDurable: Bool) -> LogIndex { onlyDurable ? min(commit, durable) : commit }

    mutating func advanceApplied(to index: LogIndex, bytesMax: Int) {
        precondition(
            index >= applied && index <= handedOut,
            "applied \(index) must lie between \(applied) and \(handedOut), which was handed out")
        // After a snapshot was received, the entries before it are gone, and so is their weight.
        var next = max(applied, offset).next
        while next <= index, let entry = handedOutEntry(at: next) {
            applyingBytes -= entry.logBytes
            next = next.next
        }
        applied = index
        precondition(applyingBytes >= 0, "more was applied (\(index)) than was handed out")
        isApplyingPaused = applyingBytes >= bytesMax
        if let end = page.last?.index, end <= index { page = [] }
        if let snapshot = installing, applied >= snapshot { installing = nil }
        outline.forgetConfigurations(through: applied)
        settle()
    }

    private func handedOutEntry(at index: LogIndex) -> Entry? {
        if isInWindow(index) { return entry(at: index) }
        guard let first = page.first?.index, first <= index, index <= page[page.count - 1].index else { return nil }
        return page[first.distance(to: index)]
    }

    // MARK: Pages from the disk

    /// Whether the next committed entries have to be read, and nobody was asked to yet.
    func needsPage(onlyDurable: Bool) -> Bool {
        pageRead == nil && mayHandOut(onlyDurable: onlyDurable) && !hasCommitted(onlyDurable: onlyDurable)
            && page.isEmpty
    }

    /// - Returns: where the page is to begin.
    mutating func askForPage() -> LogIndex {
        pageRead = handedOut.next
        return handedOut.next
    }

    /// Takes what was read, up to what is committed; a page that is not waited for any more is dropped.
    /// - Returns: false if the disk lacks the entries.
    mutating func takePage(_ entries: [Entry], from first: LogIndex) -> Bool {
        guard pageRead == first else { return true }
        pageRead = nil
        page = ContiguousArray(known(entries, from: first).prefix { $0.index <= commit && !isInWindow($0.index) })
        return !page.isEmpty
    }

    // MARK: The disk

    var hasUnwritten: Bool { written < lastIndex }

    mutating func takeUnwritten() -> [Entry] {
        if !hasUnwritten { return [] }
        let first = max(written, offset).next
        written = lastIndex
        return window.slice(from: first, through: lastIndex, bytesMax: .max)
    }

    /// A write of this term is on disk, and with it everything up to `index`, if that is still what stands there.
    /// - Returns: whether that was news.
    mutating func becameDurable(through index: LogIndex, term: Term) -> Bool {
        guard index > durable || mutated(.lateCompletionLowersDurable), index <= written, matches(index, term) else {
            return false
        }
        durable = index
        settle()
        return true
    }

    mutating func snapshotBecameDurable(_ index: LogIndex) {
        guard let restoring, index >= restoring else { return }
        self.restoring = nil
        durable = max(durable, offset)
        settle()
    }

    /// What is applied here and on disk stays in memory only for members that lag a little.
    private mutating func settle() { window.settle(through: min(applied, durable)) }

    /// What is settled leaves the memory, up to `last`: whoever lags behind that is sent it from the disk.
    mutating func shrink(through last: LogIndex) { window.shrink(through: last) }

    // MARK: Snapshots

    /// Replaces everything by a received snapshot.
    mutating func restore(_ metadata: SnapshotMetadata) {
        precondition(
            metadata.index > commit,
            "a snapshot at \(metadata.index) would undo what is committed (\(commit))")
        durable = min(durable, commit)
        outline = LogOutline(base: LogPosition(index: metadata.index, term: metadata.term))
        window = LogWindow([], behind: metadata.index, bytesMax: window.bytesMax)
        page = []
        pageRead = nil
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
        let target = mutated(.compactsBeforeDurable) ? min(wanted, applied) : min(wanted, durable, applied)
        if target <= offset || target > lastIndex { return }
        outline.compact(through: target)
        window.drop(through: target)
    }
}

extension Entry {
    /// What an entry is taken to weigh in a message, in a page of committed entries and in the window.
    var logBytes: Int { payload.count + Self.overheadBytes }
    /// Index, term, kind and framing; keeps a million empty entries from counting as nothing.
    private static let overheadBytes = 24
}
