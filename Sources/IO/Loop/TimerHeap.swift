/// The pending timers of one loop: a binary heap by (deadline, order of scheduling). Cancelling
/// forgets the work at once and leaves the heap's entry behind; when most entries are such
/// leftovers, the heap is rebuilt, so that memory stays in proportion to the timers that are
/// pending.
struct TimerHeap {
    private struct Entry {
        var deadline: MonotonicTime
        var id: UInt64
        func isBefore(_ other: Entry) -> Bool {
            deadline == other.deadline ? id < other.id : deadline < other.deadline
        }
    }
    private var heap: ContiguousArray<Entry> = []
    private var work: [UInt64: @Sendable () -> Void] = [:]
    /// What the next timer will be called; grows.
    private(set) var nextID: UInt64 = 1

    var count: Int { work.count }

    mutating func insert(at deadline: MonotonicTime, _ body: @escaping @Sendable () -> Void)
        -> TimerToken
    {
        let id = nextID
        nextID += 1
        work[id] = body
        heap.append(Entry(deadline: deadline, id: id))
        siftUp(heap.count - 1)
        return TimerToken(id)
    }

    mutating func cancel(_ token: TimerToken) {
        guard work.removeValue(forKey: token.rawValue) != nil else { return }
        if heap.count > 64, heap.count > 2 * work.count { rebuild() }
    }

    /// When the earliest pending timer is due.
    mutating func earliest() -> MonotonicTime? {
        while let first = heap.first {
            if work[first.id] != nil { return first.deadline }
            removeFirst()
        }
        return nil
    }

    /// Takes the earliest timer if it is due at `now` and older than the timer called `limit`.
    mutating func popDue(at now: MonotonicTime, before limit: UInt64) -> (@Sendable () -> Void)? {
        guard let deadline = earliest(), deadline <= now, heap[0].id < limit else { return nil }
        let id = heap[0].id
        removeFirst()
        let body = work.removeValue(forKey: id)
        shrinkIfEmpty()
        return body
    }

    /// Thousands may have slept at once, which needs not be kept.
    private mutating func shrinkIfEmpty() {
        if work.isEmpty, heap.isEmpty, work.capacity > 64 { (work, heap) = ([:], []) }
    }

    private mutating func rebuild() {
        let work = self.work
        heap.removeAll { work[$0.id] == nil }
        // A sorted array is a heap.
        heap.sort { $0.isBefore($1) }
    }

    private mutating func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
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
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].isBefore(heap[least]) {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
