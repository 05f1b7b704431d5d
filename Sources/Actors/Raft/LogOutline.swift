/// A place in a log, and the term that stands there.
public struct LogPosition: Hashable, Sendable {
    public var index: LogIndex
    public var term: Term
    public init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }
    public static let zero = LogPosition(index: .zero, term: .zero)
}

/// What a replica must know of every entry of its log, wherever the entry itself is: its term, and whether it changes
/// the configuration. Terms are runs, so a long log takes no more than its elections did.
public struct LogOutline: Hashable, Sendable {
    struct Run: Hashable, Sendable {
        var first: LogIndex
        var term: Term
    }

    /// What stands right before the first entry.
    public private(set) var base: LogPosition
    public private(set) var last: LogIndex
    /// Ascending in both; the first one begins right behind `base`.
    private var runs: ContiguousArray<Run> = []
    /// Where membership changes stand, ascending; fewer than that once a reader has forgotten some.
    public private(set) var configurations: [LogIndex] = []

    /// A log without entries.
    public init(base: LogPosition = .zero) {
        self.base = base
        last = base.index
    }

    /// The log that these make up, which follow `base`.
    public init(base: LogPosition = .zero, entries: some Sequence<Entry>) {
        self.init(base: base)
        for entry in entries { append(entry) }
    }

    public var lastTerm: Term { runs.last?.term ?? base.term }
    public var count: Int { base.index.distance(to: last) }

    // MARK: Looking things up

    /// The term at `index`, or nil where it is compacted or not there yet. Never 0 for a compacted index.
    public func term(at index: LogIndex) -> Term? {
        if index == base.index { return base.term }
        if index < base.index || index > last { return nil }
        return runs[run(of: index)].term
    }

    /// The highest index at or below `index` whose term is at most `term`, and that term; nil where every entry's is
    /// higher, and the base's as well.
    func lastPosition(through index: LogIndex, termAtMost term: Term) -> LogPosition? {
        if index > base.index {
            for position in (0...run(of: index)).reversed() where runs[position].term <= term {
                let end = position + 1 < runs.count ? runs[position + 1].first.previous : last
                return LogPosition(index: min(index, end), term: runs[position].term)
            }
        }
        return index >= base.index && base.term <= term ? base : nil
    }

    func hasConfiguration(behind first: LogIndex, through last: LogIndex) -> Bool {
        configurations.contains { $0 > first && $0 <= last }
    }

    /// Which run holds an entry of the log.
    private func run(of index: LogIndex) -> Int {
        var low = 0
        var high = runs.count - 1
        // Nearly always it is the last one.
        if runs[high].first <= index { return high }
        while low < high {
            let middle = (low + high + 1) / 2
            if runs[middle].first <= index { low = middle } else { high = middle - 1 }
        }
        return low
    }

    // MARK: Changing

    public mutating func append(_ entry: Entry) {
        precondition(entry.index == last.next, "entry \(entry.index) of term \(entry.term) cannot follow \(last)")
        extend(through: entry.index, term: entry.term)
        if entry.kind == .configuration { configurations.append(entry.index) }
    }

    /// Adds entries of one term that are known to change no configuration.
    public mutating func extend(through index: LogIndex, term: Term) {
        precondition(
            index > last && term >= lastTerm, "entries to \(index) of term \(term) cannot follow \(last) of \(lastTerm)"
        )
        if runs.isEmpty || runs[runs.count - 1].term != term { runs.append(Run(first: last.next, term: term)) }
        last = index
    }

    /// Notes a membership change among the entries.
    public mutating func noteConfiguration(at index: LogIndex) {
        precondition(index > configurations.last ?? base.index && index <= last, "a change at \(index) is out of place")
        configurations.append(index)
    }

    /// Drops the entries behind `index`.
    mutating func truncate(behind index: LogIndex) {
        last = index
        while let run = runs.last, run.first > index { runs.removeLast() }
        while let change = configurations.last, change > index { configurations.removeLast() }
    }

    /// Drops the entries up to `index`, which the log holds.
    mutating func compact(through index: LogIndex) {
        guard let term = term(at: index) else { preconditionFailure("\(index) is not in the log") }
        base = LogPosition(index: index, term: term)
        if index == last {
            runs = []
        } else {
            runs.removeFirst(run(of: index.next))
            runs[0].first = index.next
        }
        forgetConfigurations(through: index)
    }

    /// Their changes are in force, and nobody asks for them any more.
    mutating func forgetConfigurations(through index: LogIndex) {
        guard let first = configurations.first, first <= index else { return }
        configurations.removeAll { $0 <= index }
        // Mostly none is left, and an empty list that keeps its room would be one in each of very many groups.
        if configurations.isEmpty { configurations = [] }
    }
}
