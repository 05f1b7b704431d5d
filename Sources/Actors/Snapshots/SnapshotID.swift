public import FlotillaRaft

/// Names a snapshot: the state of a group, in one of its lives, right after one entry. Every member that takes a
/// snapshot there gets the same bytes.
public struct SnapshotID: Hashable, Sendable {
    public var group: GroupID
    public var incarnation: UInt64
    public var index: LogIndex
    public var term: Term

    static let suffix = ".snap"
    static let partSuffix = ".part"

    public init(group: GroupID, incarnation: UInt64, index: LogIndex, term: Term) {
        self.group = group
        self.incarnation = incarnation
        self.index = index
        self.term = term
    }

    public init(_ replica: ReplicaIdentity, _ metadata: SnapshotMetadata) {
        self.init(
            group: replica.group, incarnation: replica.incarnation, index: metadata.index, term: metadata.term)
    }

    /// Nil for any other file.
    init?(fileName: String, suffix: String = SnapshotID.suffix) {
        guard fileName.hasSuffix(suffix) else { return nil }
        let parts = fileName.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { UInt64($0) }
        guard parts.count == 4, numbers.count == 4 else { return nil }
        self.init(
            group: GroupID(numbers[0]), incarnation: numbers[1], index: LogIndex(numbers[2]), term: Term(numbers[3]))
        guard description + suffix == fileName else { return nil }
    }

    var fileName: String { description + Self.suffix }

    /// Whether `self` is the same group's, in the same life, and older.
    func isOlder(than other: SnapshotID) -> Bool {
        group == other.group && incarnation == other.incarnation && index < other.index
    }
}

extension SnapshotID: Comparable, CustomStringConvertible {
    public var description: String { "\(group.rawValue)-\(incarnation)-\(index.rawValue)-\(term.rawValue)" }

    public static func < (a: SnapshotID, b: SnapshotID) -> Bool {
        (a.group, a.incarnation, a.index, a.term) < (b.group, b.incarnation, b.index, b.term)
    }
}
