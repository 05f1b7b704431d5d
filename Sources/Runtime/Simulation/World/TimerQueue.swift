import FlotillaIO

/// What is due when, in the order of (time, sequence). Cancelling forgets the action; the place in the heap is
/// dropped when its time comes.
struct TimerQueue {
    enum Action {
        /// Runs on a loop; `sequence` is the loop's timer token.
        case loop(SimulatedLoop, @Sendable () -> Void)
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
    private var actions: [UInt64: Action] = [:]
    private var lastSequence: UInt64 = 0

    mutating func makeSequence() -> UInt64 {
        lastSequence += 1
        return lastSequence
    }

    mutating func insert(_ sequence: UInt64, at deadline: MonotonicTime, _ action: Action) {
        actions[sequence] = action
        heap.append(Place(deadline: deadline, sequence: sequence))
        siftUp(heap.count - 1)
    }

    /// Takes the action out, whether its time has come or not. Nil if it was taken or cancelled before.
    mutating func take(_ sequence: UInt64) -> Action? {
        actions.removeValue(forKey: sequence)
    }

    /// The earliest deadline of an action that was not cancelled.
    mutating func nextDeadline() -> MonotonicTime? {
        while let first = heap.first {
            if actions[first.sequence] != nil { return first.deadline }
            removeFirst()
        }
        return nil
    }

    /// The next action due at `now`. A loop's action stays known, so that it can still be cancelled, until `take`.
    mutating func popDue(at now: MonotonicTime) -> (sequence: UInt64, action: Action)? {
        while let first = heap.first, first.deadline <= now {
            removeFirst()
            guard let action = actions[first.sequence] else { continue }
            if case .loop = action {} else { actions[first.sequence] = nil }
            return (first.sequence, action)
        }
        return nil
    }

    /// Takes out all sleepers, in the order of their going to sleep.
    mutating func takeSleepers() -> [UnsafeContinuation<Void, any Error>] {
        actions.keys.sorted().compactMap { sequence in
            guard case .sleeper(let continuation)? = actions[sequence] else { return nil }
            actions[sequence] = nil
            return continuation
        }
    }

    /// All pending actions, for the check at the end. In no order.
    var pending: some Collection<Action> { actions.values }

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
