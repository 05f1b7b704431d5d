package import FlotillaRaft

/// Groups that wait for their turn, so many between two ticks, in the order in which they came.
///
/// What concerns all groups of a node at once would keep its loop busy for so long that its peers miss its heartbeats. Of
/// quiet groups that are to look at their leaders again that wakes all of them once more, for ever; of groups that have lost
/// a member it makes so many commands that the next node is given up for them.
package struct GroupQueue: Sendable {
    /// How many have their turn between two ticks.
    package static let portion = 256

    private var waiting: [GroupID] = []
    private var start = 0
    private var members: Set<GroupID> = []
    /// How many more before the next tick.
    private var budget = GroupQueue.portion

    package init() {}

    package var isEmpty: Bool { members.isEmpty }

    /// Those that wait already keep their place.
    package mutating func add(_ groups: [GroupID]) {
        for group in groups where members.insert(group).inserted { waiting.append(group) }
    }

    /// A tick has passed.
    package mutating func refill() { budget = Self.portion }

    /// - Returns: those whose turn it is.
    package mutating func take() -> [GroupID] {
        let count = min(budget, waiting.count - start)
        let taken = Array(waiting[start..<start + count])
        budget -= count
        start += count
        members.subtract(taken)
        if members.isEmpty {
            members = []
            waiting = []
            start = 0
        } else if start >= members.count {
            // Also where some always wait.
            waiting.removeFirst(start)
            start = 0
        }
        return taken
    }

    /// For tests: what is kept of those that had their turn.
    var keptCount: Int { start }
}
