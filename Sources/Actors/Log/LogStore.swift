public import FlotillaRaft

/// Where a node keeps the logs of all its groups. The calls block; the log writer makes those that write on its worker,
/// one at a time. A memory store keeps nothing beyond the process.
public protocol LogStore: AnyObject, Sendable {
    /// Opens the store, reads and checks all that it holds, and returns everything but the entries themselves. Called
    /// once, first.
    func open() throws(LogError) -> RecoveredLog

    /// Reads entries of one replica, from `first` on: at least that one, in all about as many as weigh `bytesMax`.
    ///
    /// Any thread may call it, also beside a write, for whose fsync it does not wait. It gives what is durable, and not
    /// what a write that is under way replaces.
    /// - Returns: entries one behind the other; none if the log does not hold the first: it is compacted, or it was
    ///   never written, or not yet.
    /// - Throws: `damaged`, with file, place and group, where what was acknowledged cannot be read any more.
    func read(_ group: GroupID, incarnation: UInt64, from first: LogIndex, bytesMax: Int) throws(LogError) -> [Entry]

    /// Records who this node is. Durable on return.
    func persistIdentity(_ identity: NodeIdentity) throws(LogError)

    /// Writes everything in `batch` with one write and one fsync. Durable on return, and then only.
    /// After `diskFull` nothing has changed: it may be tried again. After any other error nothing more may be written:
    /// the node fences its groups.
    func write(_ batch: LogBatch) throws(LogError)

    /// The number of the last durable write, over all boots: it rises with each, and peers remember it, so that an older
    /// copy of the data is not taken for this one. 0 where the store does not count. Any thread, and never waits for a
    /// write.
    var lastWrite: UInt64 { get }

    /// Leaves the marker of a clean shutdown and releases the directory. Nothing may be written afterwards.
    func close() throws(LogError)
}

extension LogStore {
    public var lastWrite: UInt64 { 0 }
}

/// Who a node is, for as long as its data lives.
public struct NodeIdentity: Hashable, Sendable {
    /// Zero until the node belongs to one.
    public var cluster: UInt64
    public var node: NodeID
    /// Drawn at random when the data was created: tells a node from its wiped namesake.
    public var instance: UInt64
    public init(cluster: UInt64, node: NodeID, instance: UInt64) {
        self.cluster = cluster
        self.node = node
        self.instance = instance
    }

    /// Whether data of this identity may go on as `other`'s: the same, or the first cluster that it belongs to.
    func canBecome(_ other: NodeIdentity) -> Bool {
        node == other.node && instance == other.instance && (cluster == other.cluster || cluster == 0)
    }
}

/// Which replica a group's records belong to. A group that was deleted and created again has another incarnation.
public struct ReplicaIdentity: Hashable, Sendable {
    public var group: GroupID
    public var incarnation: UInt64
    public var kind: GroupKind
    public var replica: ReplicaID
    public init(group: GroupID, incarnation: UInt64, kind: GroupKind, replica: ReplicaID) {
        self.group = group
        self.incarnation = incarnation
        self.kind = kind
        self.replica = replica
    }
}

/// What one fsync makes durable, of all groups, in order.
public struct LogBatch: Sendable {
    public struct Write: Sendable {
        public var group: GroupID
        public var incarnation: UInt64
        /// The first write of a replica says who it is.
        public var created: ReplicaIdentity?
        public var hardState: HardState?
        /// Replace the log from the first of these on.
        public var entries: [Entry]
        /// A snapshot that replaces the log up to its index; the snapshot store holds its bytes before the log names
        /// it. Entries behind it stay if the log holds the snapshot's last entry, and are dropped otherwise.
        public var snapshot: SnapshotMetadata?
        /// Where entries stay, they do from here on, for members that lag: also some that the snapshot covers. Nil: from
        /// behind the snapshot on.
        public var keptFrom: LogIndex?
        /// The replica is gone from this node; its id stays known so that it is not taken up again.
        public var isRemoved: Bool
        public init(
            group: GroupID, incarnation: UInt64, created: ReplicaIdentity? = nil, hardState: HardState? = nil,
            entries: [Entry] = [], snapshot: SnapshotMetadata? = nil, keptFrom: LogIndex? = nil,
            isRemoved: Bool = false
        ) {
            self.group = group
            self.incarnation = incarnation
            self.created = created
            self.hardState = hardState
            self.entries = entries
            self.snapshot = snapshot
            self.keptFrom = keptFrom
            self.isRemoved = isRemoved
        }
    }
    public var writes: [Write] = []
    public init() {}
    public var isEmpty: Bool { writes.isEmpty }
}

/// What a store held when it was opened.
public struct RecoveredLog: Sendable {
    public struct Group: Sendable {
        public var replica: ReplicaIdentity
        public var hardState: HardState
        public var snapshot: SnapshotMetadata?
        /// Which entries the store holds; `LogStore.read` gives them. It may begin before the snapshot's end.
        public var outline: LogOutline
        /// The log lacks what it may have acknowledged: the replica takes no part in votes until a leader has brought
        /// it past this index.
        public var recoveringUntil: LogIndex?
        public init(
            replica: ReplicaIdentity, hardState: HardState = .init(), snapshot: SnapshotMetadata? = nil,
            outline: LogOutline = .init(), recoveringUntil: LogIndex? = nil
        ) {
            self.replica = replica
            self.hardState = hardState
            self.snapshot = snapshot
            self.outline = outline
            self.recoveringUntil = recoveringUntil
        }
    }
    public var identity: NodeIdentity?
    /// How often this data was opened, this time included.
    public var bootCounter: UInt64
    public var groups: [Group]
    /// Replica ids that once lived here and were removed.
    public var removedReplicas: [ReplicaIdentity]
    /// Bytes cut off as a torn write, for the log.
    public var tornBytes: UInt64
    /// Entries that could not be read. Where they are needed their groups are recovering, if they have other voters.
    public var damages: [LogDamage]
    /// Files with damage that were set aside; nothing reads them, and they can be deleted.
    public var keptFiles: [String]
    public init(
        identity: NodeIdentity? = nil, bootCounter: UInt64 = 1, groups: [Group] = [],
        removedReplicas: [ReplicaIdentity] = [], tornBytes: UInt64 = 0, damages: [LogDamage] = [],
        keptFiles: [String] = []
    ) {
        self.identity = identity
        self.bootCounter = bootCounter
        self.groups = groups
        self.removedReplicas = removedReplicas
        self.tornBytes = tornBytes
        self.damages = damages
        self.keptFiles = keptFiles
    }
}

/// Why the log cannot be used, and what to do.
public struct LogError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// There is no room for a write. Nothing has changed, and the write can be made again.
        case diskFull
        case inUse, ioFailed, damaged, unknownVersion, missing, closed, otherFormat, moved,
            notEmpty, recovering
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
    public var description: String { "\(code.rawValue): \(message)" }
}
