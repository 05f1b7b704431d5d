/// What an object does when its operations come one after the other.
package protocol SequentialModel {
    associatedtype State: Hashable
    /// An operation together with what it answered, as far as that is known.
    associatedtype Operation
    static var initial: State { get }
    /// The state after the operation; nil if it cannot have answered so in this state.
    static func apply(_ operation: Operation, to state: State) -> State?
}

/// One operation of a history. Times are positions in one total order of all calls and returns.
package struct HistoryOperation<Operation> {
    package var operation: Operation
    package var called: Int
    /// Nil if nobody knows whether it took effect: then it did at some time after the call, or never.
    package var returned: Int?

    package init(_ operation: Operation, called: Int, returned: Int?) {
        precondition(returned.map { $0 > called } ?? true, "an operation returns after it was called")
        self.operation = operation
        self.called = called
        self.returned = returned
    }
}

/// Whether one object's concurrent history can be explained by some order of its operations in which each takes effect
/// at one moment between its call and its return.
///
/// The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993): take an operation that may be
/// the next, go on, and take it back when that leads nowhere. Lowe (Testing for Linearizability, 2017) remembers which
/// sets of operations in which state led nowhere. A history of several independent objects is linearizable if each
/// object's part is (P-compositionality: Horn and Kroening, Faster Linearizability Checking via P-compositionality,
/// 2015), so callers check one object at a time.
package enum Linearizability {
    package enum Verdict: Equatable, Sendable {
        case linearizable
        /// No order explains it. The longest part that one does leaves out the operation that was called at this time,
        /// which had to be next.
        case violated(atCall: Int)
        /// Not decided within so many steps.
        case undecided(steps: Int)
    }

    /// - Parameter stepLimit: how many operations may be tried before it is given up as undecided.
    package static func check<Model: SequentialModel>(
        _ history: [HistoryOperation<Model.Operation>], as model: Model.Type, stepLimit: Int = 5_000_000
    ) -> Verdict {
        var search = Search<Model>(history)
        return search.run(stepLimit: stepLimit)
    }
}

/// A set of operations, by number.
private struct OperationSet: Hashable {
    private var words: ContiguousArray<UInt64>
    init(count: Int) { words = ContiguousArray(repeating: 0, count: (count + 63) / 64) }
    mutating func insert(_ number: Int) { words[number / 64] |= 1 << UInt64(number % 64) }
    mutating func remove(_ number: Int) { words[number / 64] &= ~(1 << UInt64(number % 64)) }
}

private struct Search<Model: SequentialModel> {
    private struct Event {
        var operation: Int
        var isCall: Bool
        var time: Int
    }
    private struct Explored: Hashable {
        var done: OperationSet
        var state: Model.State
    }

    private let operations: [HistoryOperation<Model.Operation>]
    private let events: [Event]
    /// The events that are not explained yet, as a list in the order of time. Position 0 stands before the first.
    private var next: [Int]
    private var previous: [Int]
    private var callPlace: [Int]
    private var returnPlace: [Int?]

    init(_ history: [HistoryOperation<Model.Operation>]) {
        operations = history
        var events: [Event] = []
        for (number, operation) in history.enumerated() {
            events.append(Event(operation: number, isCall: true, time: operation.called))
            if let returned = operation.returned {
                events.append(Event(operation: number, isCall: false, time: returned))
            }
        }
        events.sort { $0.time < $1.time }
        self.events = events
        next = Array(1...events.count + 1)
        previous = Array(-1..<events.count + 1)
        callPlace = Array(repeating: 0, count: history.count)
        returnPlace = Array(repeating: nil, count: history.count)
        for (index, event) in events.enumerated() {
            if event.isCall { callPlace[event.operation] = index + 1 } else { returnPlace[event.operation] = index + 1 }
        }
    }

    private var end: Int { events.count + 1 }

    mutating func run(stepLimit: Int) -> Linearizability.Verdict {
        var explored: Set<Explored> = []
        var state = Model.initial
        var done = OperationSet(count: operations.count)
        var taken: [(operation: Int, before: Model.State)] = []
        /// Of those that returned: only they must be explained.
        var missing = operations.count { $0.returned != nil }
        var steps = 0
        var furthest = 0
        var place = next[0]
        while missing > 0 {
            // A return, or the end: everything that may be next has been tried.
            guard place != end, events[place - 1].isCall else {
                if place != end { furthest = max(furthest, events[place - 1].operation.called(in: operations)) }
                guard let last = taken.popLast() else { return .violated(atCall: furthest) }
                state = last.before
                done.remove(last.operation)
                putBack(last.operation)
                if operations[last.operation].returned != nil { missing += 1 }
                place = next[callPlace[last.operation]]
                continue
            }
            steps += 1
            guard steps <= stepLimit else { return .undecided(steps: stepLimit) }
            let operation = events[place - 1].operation
            guard let after = Model.apply(operations[operation].operation, to: state) else {
                place = next[place]
                continue
            }
            done.insert(operation)
            guard explored.insert(Explored(done: done, state: after)).inserted else {
                done.remove(operation)
                place = next[place]
                continue
            }
            taken.append((operation, state))
            state = after
            takeOut(operation)
            if operations[operation].returned != nil { missing -= 1 }
            place = next[0]
        }
        return .linearizable
    }

    private mutating func takeOut(_ operation: Int) {
        unlink(callPlace[operation])
        if let place = returnPlace[operation] { unlink(place) }
    }

    /// In the reverse order, so that the neighbours are those from before.
    private mutating func putBack(_ operation: Int) {
        if let place = returnPlace[operation] { link(place) }
        link(callPlace[operation])
    }

    private mutating func unlink(_ place: Int) {
        next[previous[place]] = next[place]
        previous[next[place]] = previous[place]
    }

    private mutating func link(_ place: Int) {
        next[previous[place]] = place
        previous[next[place]] = place
    }
}

extension Int {
    /// The call of the operation with this number.
    fileprivate func called<Operation>(in operations: [HistoryOperation<Operation>]) -> Int { operations[self].called }
}
