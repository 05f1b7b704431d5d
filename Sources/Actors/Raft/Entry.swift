/// One position of the replicated log.
public struct Entry: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
        /// What a new leader appends to commit its predecessors' entries (thesis 6.4).
        case empty = 0
        /// A command for the state machine; the core never looks inside.
        case command = 1
        /// An encoded `ConfigurationChange`; it takes effect when it is applied.
        case configuration = 2
    }

    public var index: LogIndex
    public var term: Term
    public var kind: Kind
    public var payload: [UInt8]

    public init(index: LogIndex, term: Term, kind: Kind, payload: [UInt8]) {
        self.index = index
        self.term = term
        self.kind = kind
        self.payload = payload
    }
}

/// What a replica must remember across restarts besides its log.
public struct HardState: Hashable, Sendable {
    public var term: Term
    /// Whom this replica voted for in `term`; it is kept until the term rises.
    public var vote: ReplicaID?
    public var commit: LogIndex

    public init(term: Term = .zero, vote: ReplicaID? = nil, commit: LogIndex = .zero) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// Which prefix of the log a snapshot stands for, and the configuration in force at its end.
public struct SnapshotMetadata: Hashable, Sendable {
    public var index: LogIndex
    public var term: Term
    public var configuration: Configuration {
        get { box.configuration }
        set { box = Box(newValue) }
    }

    /// A replica has room for several snapshots and mostly has none: so that an empty place is small.
    private var box: Box

    public init(index: LogIndex, term: Term, configuration: Configuration) {
        self.index = index
        self.term = term
        box = Box(configuration)
    }

    private final class Box: Hashable, Sendable {
        let configuration: Configuration
        init(_ configuration: Configuration) { self.configuration = configuration }
        static func == (a: Box, b: Box) -> Bool { a === b || a.configuration == b.configuration }
        func hash(into hasher: inout Hasher) { hasher.combine(configuration) }
    }
}
