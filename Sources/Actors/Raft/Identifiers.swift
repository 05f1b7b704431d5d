/// A machine of the fleet, named by its operator. It may host replicas of many groups.
public struct NodeID: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public var description: String { "node \(rawValue)" }
    public static func < (a: NodeID, b: NodeID) -> Bool { a.rawValue < b.rawValue }
}

/// One life of one member of one group.
///
/// Each membership change that adds a member issues a new replica id, and none is used twice: a node that
/// lost its data for a group is not that replica any more, and comes back under a new id.
public struct ReplicaID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public var description: String { "replica \(rawValue)" }
    public static func < (a: ReplicaID, b: ReplicaID) -> Bool { a.rawValue < b.rawValue }
}

/// A replicated log and the replicas that keep it.
public struct GroupID: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public var description: String { "group \(rawValue)" }
    public static func < (a: GroupID, b: GroupID) -> Bool { a.rawValue < b.rawValue }
}

/// A reign: at most one leader is elected in each.
public struct Term: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public static let zero = Term(0)
    public var description: String { "\(rawValue)" }
    public var next: Term { Term(rawValue + 1) }
    public static func < (a: Term, b: Term) -> Bool { a.rawValue < b.rawValue }
}

/// A position in a group's log. The first entry stands at 1; 0 means "before the first".
public struct LogIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    public static let zero = LogIndex(0)
    public var description: String { "\(rawValue)" }
    public var next: LogIndex { LogIndex(rawValue + 1) }
    public var previous: LogIndex {
        precondition(rawValue > 0, "index 0 has no predecessor")
        return LogIndex(rawValue - 1)
    }
    public static func < (a: LogIndex, b: LogIndex) -> Bool { a.rawValue < b.rawValue }
    public static func + (index: LogIndex, count: Int) -> LogIndex { LogIndex(index.rawValue + UInt64(count)) }
    /// How many entries lie between two positions; `to` must not be the smaller one.
    public func distance(to other: LogIndex) -> Int {
        precondition(other >= self, "no distance from \(self) back to \(other)")
        return Int(other.rawValue - rawValue)
    }
}
