import FlotillaRaft

/// Quiet groups that are to look at their leaders again, because a node may have been silent without knowing it.
///
/// They are woken in portions. All at once they would keep a node with many groups busy for so long that its peers miss
/// its heartbeats, which wakes all of them again, for ever. Who waits its turn here still wakes at once for a message, a
/// command, or the death of its leader's node.
struct WakeQueue {
    /// How many are woken between two ticks.
    static let portion = 256

    private var waiting: [GroupID] = []
    private var start = 0
    private var members: Set<GroupID> = []
    /// How many more before the next tick.
    private var budget = WakeQueue.portion

    var isEmpty: Bool { members.isEmpty }

    /// Those that wait already keep their place.
    mutating func add(_ groups: [GroupID]) {
        for group in groups where members.insert(group).inserted { waiting.append(group) }
    }

    /// A tick has passed.
    mutating func refill() { budget = Self.portion }

    /// - Returns: those whose turn it is.
    mutating func take() -> [GroupID] {
        let count = min(budget, waiting.count - start)
        let taken = Array(waiting[start..<start + count])
        budget -= count
        start += count
        members.subtract(taken)
        if start == waiting.count {
            waiting = []
            start = 0
        }
        return taken
    }
}
