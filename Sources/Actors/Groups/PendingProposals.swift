import FlotillaIO
import FlotillaRaft

/// This replica's own commands whose outcome is not known yet, in the order of their sequence numbers.
struct PendingProposals {
    struct Item {
        var completion: Completion<Answer>
        var payload: [UInt8]
        var deadline: MonotonicTime
        var retryAt: MonotonicTime
        /// The term in which this replica, as the leader, appended it: no need to send it again in that term.
        var appendedIn: Term?
    }

    private var items: [UInt64: Item] = [:]
    private(set) var nextSequence: UInt64 = 1
    /// All sequence numbers below this have been answered here.
    private var oldest: UInt64 = 1

    var isEmpty: Bool { items.isEmpty }
    var count: Int { items.count }
    /// The sequence numbers that wait, ascending.
    var sequences: [UInt64] { items.keys.sorted() }

    subscript(sequence: UInt64) -> Item? {
        get { items[sequence] }
        set { items[sequence] = newValue }
    }

    /// Issues the next sequence number.
    mutating func issue() -> (sequence: UInt64, acknowledgedBelow: UInt64) {
        while oldest < nextSequence, items[oldest] == nil { oldest += 1 }
        defer { nextSequence += 1 }
        return (nextSequence, oldest)
    }

    /// Gives the memory of an empty list back.
    mutating func shrink() { if items.isEmpty { items = [:] } }

    mutating func remove(_ sequence: UInt64) -> Item? { items.removeValue(forKey: sequence) }

    mutating func removeAll() -> [Completion<Answer>] {
        let all = sequences.map { items[$0]!.completion }
        items = [:]
        return all
    }
}

/// Reads that wait for a confirmation by the leader, or for this replica to have applied what they must see.
struct PendingReads {
    struct Round {
        var completions: [Completion<Void>]
        var deadline: MonotonicTime
        var retryAt: MonotonicTime
    }

    /// Asked, by context.
    private(set) var asked: [UInt64: Round] = [:]
    /// Confirmed: complete as soon as the index is applied.
    private var confirmed: [(index: LogIndex, completions: [Completion<Void>])] = []
    private var nextContext: UInt64

    /// - Parameter contextBase: differs between boots, so that an old answer is not taken for a new one.
    init(contextBase: UInt64 = 0) { nextContext = contextBase }

    var isEmpty: Bool { asked.isEmpty && confirmed.isEmpty }
    var contexts: [UInt64] { asked.keys.sorted() }

    mutating func ask(_ round: Round) -> UInt64 {
        nextContext += 1
        asked[nextContext] = round
        return nextContext
    }

    mutating func confirm(_ state: ReadState) {
        guard let round = asked.removeValue(forKey: state.context) else { return }
        confirmed.append((state.index, round.completions))
    }

    /// The leader could not serve it: it is asked again at the next tick.
    mutating func fail(_ context: UInt64) {
        asked[context]?.retryAt = MonotonicTime(nanoseconds: 0)
    }

    mutating func take(_ context: UInt64) -> Round? { asked.removeValue(forKey: context) }

    func isReady(at applied: LogIndex) -> Bool { confirmed.contains { $0.index <= applied } }

    mutating func takeReady(at applied: LogIndex) -> [Completion<Void>] {
        guard isReady(at: applied) else { return [] }
        let ready = confirmed.filter { $0.index <= applied }.flatMap(\.completions)
        confirmed.removeAll { $0.index <= applied }
        return ready
    }

    mutating func removeAll() -> [Completion<Void>] {
        let all = contexts.flatMap { asked[$0]!.completions } + confirmed.flatMap(\.completions)
        asked = [:]
        confirmed = []
        return all
    }
}
