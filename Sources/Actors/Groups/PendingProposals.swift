import FlotillaIO
import FlotillaRaft

/// This replica's own commands whose outcome is not known yet, in the order of their sequence numbers.
///
/// Their numbers follow each other, so that a place in a list is found without hashing.
struct PendingProposals {
    struct Item {
        var completion: Completion<Answer>
        var payload: [UInt8]
        /// Whether other members wait for it as well.
        var isForOthers: Bool
        var deadline: MonotonicTime
        var retryAt: MonotonicTime
        /// The term in which this replica, as the leader, appended it: no need to send it again in that term.
        var appendedIn: Term?
    }

    /// Of the sequence numbers from `first - begin` on; nil where there is an answer.
    private var items: [Item?] = []
    /// Before it everything is nil.
    private var begin = 0
    /// The sequence number at `begin`: all below it have been answered here.
    private var first: UInt64 = 1
    private(set) var nextSequence: UInt64 = 1
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    /// The sequence numbers that wait, ascending.
    var sequences: [UInt64] { items.indices.filter { items[$0] != nil }.map { first + UInt64($0 - begin) } }

    private func place(of sequence: UInt64) -> Int? {
        guard sequence >= first, sequence - first < UInt64(items.count - begin) else { return nil }
        return begin + Int(sequence - first)
    }

    subscript(sequence: UInt64) -> Item? { place(of: sequence).flatMap { items[$0] } }

    /// Changes one that waits, in its place.
    mutating func with<R>(_ sequence: UInt64, _ body: (inout Item) -> R) -> R {
        guard let place = place(of: sequence), items[place] != nil else {
            preconditionFailure("no proposal \(sequence) waits")
        }
        return body(&items[place]!)
    }

    /// The number that the next one gets, and below which everything is answered.
    var next: (sequence: UInt64, acknowledgedBelow: UInt64) { (nextSequence, first) }

    /// - Returns: its sequence number, which is `next`'s.
    mutating func append(_ item: Item) -> UInt64 {
        items.append(item)
        count += 1
        defer { nextSequence += 1 }
        return nextSequence
    }

    /// Gives the memory of an empty list back.
    mutating func shrink() { if isEmpty { clear() } }

    mutating func remove(_ sequence: UInt64) -> Item? {
        guard let place = place(of: sequence), let item = items[place] else { return nil }
        items[place] = nil
        count -= 1
        while begin < items.count, items[begin] == nil { (begin, first) = (begin + 1, first + 1) }
        if begin == items.count {
            items.removeAll(keepingCapacity: true)
            begin = 0
        } else if begin >= 64, begin > items.count / 2 {
            items.removeFirst(begin)
            begin = 0
        }
        return item
    }

    mutating func removeAll() -> [Completion<Answer>] {
        let all = items.compactMap { $0?.completion }
        clear()
        return all
    }

    private mutating func clear() { (items, begin, first, count) = ([], 0, nextSequence, 0) }
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
