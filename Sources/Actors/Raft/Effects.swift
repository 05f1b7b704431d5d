/// What the shell has to do after it gave the core some input. The order is data:
/// `messages` may leave at once; `persist.messagesWhenDurable` only after `persist` is on disk;
/// `committed` may be applied at once (a majority holds it, perhaps without this replica's disk).
public struct Effects: Sendable {
    public var messages: [Message] = []
    public var persist: Persist?
    /// A snapshot to install in the state machine, before `committed` is applied. It is in `persist` as well.
    public var restore: SnapshotMetadata?
    public var committed: [Entry] = []
    /// Entries of this log that are wanted from the disk. Nothing else here waits for them.
    public var reads: [LogRead] = []
    public var readStates: [ReadState] = []
    /// Reads that were refused: no leader, or leadership was lost before they were confirmed. Ask again.
    public var failedReads: [UInt64] = []
    /// Present when role, leader or term changed.
    public var statusChange: Status?

    public init() {}

    public var isEmpty: Bool {
        messages.isEmpty && persist == nil && restore == nil && committed.isEmpty && reads.isEmpty
            && readStates.isEmpty && failedReads.isEmpty && statusChange == nil
    }
}

/// A write that must be durable before `messagesWhenDurable` leave. Writes complete in the order they were given;
/// when one has, the shell calls `Raft.persisted(_:)` with its `receipt`, then sends its messages.
public struct Persist: Sendable {
    /// Term, vote and commit. Present with every write that holds entries, so that an entry that follows a
    /// configuration change is never on disk without the knowledge that the change was committed.
    public var hardState: HardState?
    /// Replaces the log from the first of these on.
    public var entries: [Entry]
    public var snapshot: SnapshotMetadata?
    public var messagesWhenDurable: [Message]
    public var receipt: Receipt

    public init(
        hardState: HardState?, entries: [Entry], snapshot: SnapshotMetadata?,
        messagesWhenDurable: [Message], receipt: Receipt
    ) {
        self.hardState = hardState
        self.entries = entries
        self.snapshot = snapshot
        self.messagesWhenDurable = messagesWhenDurable
        self.receipt = receipt
    }

    /// Names a write. The term guards against a completion of entries that were overwritten since (the ABA race
    /// that etcd's asynchronous storage writes guard against).
    public struct Receipt: Hashable, Sendable {
        public var term: Term
        public var lastIndex: LogIndex
        public var lastTerm: Term
        public var snapshotIndex: LogIndex
        public init(term: Term, lastIndex: LogIndex, lastTerm: Term, snapshotIndex: LogIndex) {
            self.term = term
            self.lastIndex = lastIndex
            self.lastTerm = lastTerm
            self.snapshotIndex = snapshotIndex
        }
    }
}

/// What an operator and the shell see of a replica.
public struct Status: Hashable, Sendable {
    public enum Role: String, Sendable {
        case follower, preCandidate, candidate, leader, learner
    }
    public var role: Role
    public var term: Term
    public var leader: ReplicaID?
    public init(role: Role, term: Term, leader: ReplicaID?) {
        self.role = role
        self.term = term
        self.leader = leader
    }
}
