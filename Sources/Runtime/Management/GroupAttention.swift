import FlotillaIO
import FlotillaRaft

/// Groups that somebody should look at, collected for one task. A group that nothing happens in is never here.
final class GroupAttention: Sendable {
    private let groups = Lock<Set<GroupID>>([])
    /// Rings when there are some. One ring stands for many.
    let bell = Signal()

    func mark(_ group: GroupID) {
        let isFirst = groups.withLock { groups in
            defer { groups.insert(group) }
            return groups.isEmpty
        }
        if isFirst { bell.ring() }
    }

    /// Takes all of them, ascending.
    func take() -> [GroupID] {
        groups.withLock { groups in
            defer { groups = [] }
            return groups.sorted()
        }
    }
}
