import FlotillaIO

/// What is due when, in the order of (time, sequence). Cancelling forgets the action; the place in the heap is
/// dropped when its time comes.
struct TimerQueue {
    enum Action {
        /// Runs on a loop when the loop's own clock has reached `due`; `sequence` is the loop's timer token.
        case loop(SimulatedLoop, due: MonotonicTime, @Sendable () -> Void)
        /// Runs outside every loop: a frame arrives, a worker is done.
        case world(@Sendable () -> Void)
        case sleeper(UnsafeContinuation<Void, any Error>)
    }

    private struct Place {
        var deadline: MonotonicTime
        var sequence: UInt64
        func isBefore(_ other: Place) -> Bool {
            deadline == other.deadline ? sequence < other.sequence : deadline < other.deadline
        }
    }

    private var heap: ContiguousArray<Place> = []
    /// A place whose deadline is not the action's was given up.
    private var actions: [UInt64: (deadline: MonotonicTime, action: Action)] = [:]
    private var lastSequence: UInt64 = 0

    mutating func makeSequence() -> UInt64 {
        lastSequence += 1
        return lastSequence
    }

    mutating func insert(_ sequence: UInt64, at deadline: MonotonicTime, _ action: Action) {
        actions[sequence] = (deadline, action)
        heap.append(Place(deadline: deadline, sequence: sequence))
        siftUp(heap.count - 1)
    }

    /// Moves the timers of loops that are due after `now`.
    /// - Parameter newDeadline: nil for a timer that stays where it is.
    mutating func reschedule(
        after now: MonotonicTime, _ newDeadline: (SimulatedLoop, _ due: MonotonicTime) -> MonotonicTime?
    ) {
        for sequence in actions.keys.sorted() {
            guard let (deadline, action) = actions[sequence], deadline > now,
                case .loop(let loop, let due, _) = action, let moved = newDeadline(loop, due)
            else { continue }
            insert(sequence, at: moved, action)
        }
    }

    /// Takes the action out, whether its time has come or not. Nil if it was taken or cancelled before.
    mutating func take(_ sequence: UInt64) -> Action? {
        actions.removeValue(forKey: sequence)?.action
    }

    /// The earliest deadline of an action that was not cancelled.
    mutating func nextDeadline() -> MonotonicTime? {
        while let first = heap.first {
            if actions[first.sequence]?.deadline == first.deadline { return first.deadline }
            removeFirst()
        }
        return nil
    }

    /// The next action due at `now`. A loop's action stays known, so that it can still be cancelled, until `take`.
    mutating func popDue(at now: MonotonicTime) -> (sequence: UInt64, action: Action)? {
        while let first = heap.first, first.deadline <= now {
            removeFirst()
            guard let (deadline, action) = actions[first.sequence], deadline == first.deadline else { continue }
            if case .loop = action {} else { actions[first.sequence] = nil }
            return (first.sequence, action)
        }
        return nil
    }

    /// Takes out all sleepers, in the order of their going to sleep.
    mutating func takeSleepers() -> [UnsafeContinuation<Void, any Error>] {
        actions.keys.sorted().compactMap { sequence in
            guard case .sleeper(let continuation)? = actions[sequence]?.action else { return nil }
            actions[sequence] = nil
            return continuation
        }
    }

    /// All pending actions, for the check at the end. In no order.
    var pending: some Collection<Action> { actions.values.lazy.map(\.action) }

    private mutating func removeFirst() {
        guard let last = heap.popLast(), !heap.isEmpty else { return }
        heap[0] = last
        siftDown(0)
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
            guard heap[child].isBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            parent = child
        }
    }
}
