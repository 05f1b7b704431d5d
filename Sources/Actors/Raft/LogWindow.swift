/// The entries of a log that are in memory: its end. Those that are not settled, which means applied here and on this
/// disk, all stay; of the others, the last ones that weigh `bytesMax` together.
struct LogWindow: Sendable {
    /// The first entry that is here, or the one to come.
    private(set) var start: LogIndex
    private var entries: ContiguousArray<Entry>
    /// What is settled of them ends before here, and weighs so much.
    private var firstUnsettled: LogIndex
    private(set) var settledBytes = 0
    let bytesMax: Int

    /// - Parameter last: the end of the log, where the entries end as well.
    init(_ entries: some Collection<Entry>, behind last: LogIndex, bytesMax: Int) {
        self.entries = ContiguousArray(entries)
        start = LogIndex(last.rawValue - UInt64(entries.count)).next
        firstUnsettled = start
        self.bytesMax = bytesMax
    }

    func entry(at index: LogIndex) -> Entry? {
        index < start || start.distance(to: index) >= entries.count ? nil : entries[start.distance(to: index)]
    }

    func slice(from first: LogIndex, through last: LogIndex, bytesMax: Int) -> [Entry] {
        let begin = start.distance(to: first)
        let limit = start.distance(to: last.next)
        if bytesMax == .max { return Array(entries[begin..<limit]) }
        var end = begin + 1
        var bytes = entries[begin].logBytes
        while end < limit {
            bytes += entries[end].logBytes
            if bytes > bytesMax { break }
            end += 1
        }
        return Array(entries[begin..<end])
    }

    mutating func append(_ entry: Entry) { entries.append(entry) }

    /// Drops the entries behind `index`, which are not settled, or not here at all.
    mutating func truncate(behind index: LogIndex) {
        if index.next <= start {
            entries.removeAll(keepingCapacity: true)
            start = index.next
        } else {
            entries.removeLast(entries.count - start.distance(to: index.next))
        }
        firstUnsettled = min(firstUnsettled, index.next)
    }

    /// Drops the entries up to `index`.
    mutating func drop(through index: LogIndex) {
        if index < start { return }
        let count = min(start.distance(to: index.next), entries.count)
        for position in 0..<count where start + position < firstUnsettled {
            settledBytes -= entries[position].logBytes
        }
        remove(count)
    }

    /// Entries up to `index` are applied and on disk.
    mutating func settle(through index: LogIndex) {
        while firstUnsettled <= index, let entry = entry(at: firstUnsettled) {
            settledBytes += entry.logBytes
            firstUnsettled = firstUnsettled.next
        }
        if settledBytes > bytesMax { trim() }
    }

    /// Drops all that is settled, up to `last`.
    mutating func shrink(through last: LogIndex) {
        drop(through: min(last.next, firstUnsettled).previous)
        // Else few entries would keep the room of many.
        if entries.capacity > 2 * entries.count { entries = ContiguousArray(entries.map(\.self)) }
    }

    /// More than has to go at once, because the others are moved for it.
    private mutating func trim() {
        let target = bytesMax - bytesMax / 4
        var count = 0
        while settledBytes > target, start + count < firstUnsettled {
            settledBytes -= entries[count].logBytes
            count += 1
        }
        remove(count)
    }

    private mutating func remove(_ count: Int) {
        entries.removeFirst(count)
        start = start + count
        firstUnsettled = max(firstUnsettled, start)
    }

    /// For tests: what `settledBytes` must be.
    var recomputedSettledBytes: Int {
        entries.prefix(start.distance(to: firstUnsettled)).reduce(0) { $0 + $1.logBytes }
    }
    /// Right behind the last entry.
    var end: LogIndex { start + entries.count }
}
