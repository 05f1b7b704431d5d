import FlotillaIO
public import FlotillaRaft

/// Which state machine a group runs.
public struct GroupKind: Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt32
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
    public static let management = GroupKind(1)
    public static let workflow = GroupKind(2)
    public static let benchmark = GroupKind(3)
    public var description: String {
        switch self {
        case .management: "management"
        case .workflow: "workflow"
        case .benchmark: "benchmark"
        default: "kind \(rawValue)"
        }
    }
}

/// Who asked, and how often: one session per boot of a replica, numbered requests within it.
public struct RequestID: Hashable, Sendable {
    /// One life of one proposing replica. A node that was wiped and added again has another replica id, so it is never
    /// taken for its former self.
    public struct Client: Hashable, Comparable, Sendable {
        public var replica: ReplicaID
        public var boot: UInt64
        public init(replica: ReplicaID, boot: UInt64) {
            self.replica = replica
            self.boot = boot
        }
        public static func < (a: Client, b: Client) -> Bool { (a.replica, a.boot) < (b.replica, b.boot) }
    }
    public var client: Client
    public var sequence: UInt64
    /// The client has the answers of all its requests below this: they need not be remembered any more.
    public var acknowledgedBelow: UInt64
    public init(client: Client, sequence: UInt64, acknowledgedBelow: UInt64) {
        self.client = client
        self.sequence = sequence
        self.acknowledgedBelow = acknowledgedBelow
    }
}

/// One of the things that a command does. What type and version mean is the state machine's business.
public struct Operation: Hashable, Sendable {
    public var type: UInt32
    public var version: UInt32
    public var body: [UInt8]
    public init(type: UInt32, version: UInt32, body: [UInt8]) {
        self.type = type
        self.version = version
        self.body = body
    }
}

/// The one envelope of everything that is replicated: a list of operations that are applied together or not at all.
public struct Command: Hashable, Sendable {
    public var kind: GroupKind
    /// The feature level that this command needs; never above what the cluster agreed on.
    public var featureLevel: UInt32
    public var namespace: String
    public var request: RequestID
    /// The proposer's wall clock. A group's time is the maximum of what it has seen.
    public var timestamp: WallTimeNanoseconds
    /// The fencing token under which an owner acts; zero for commands that no owner issues.
    public var ownerEpoch: UInt64
    public var principal: String
    /// W3C trace context (`traceparent`), or empty.
    public var traceContext: String
    public var operations: [Operation]

    public typealias WallTimeNanoseconds = Int64

    public init(
        kind: GroupKind, featureLevel: UInt32 = 1, namespace: String = "default", request: RequestID,
        timestamp: WallTimeNanoseconds, ownerEpoch: UInt64 = 0, principal: String = "", traceContext: String = "",
        operations: [Operation]
    ) {
        self.kind = kind
        self.featureLevel = featureLevel
        self.namespace = namespace
        self.request = request
        self.timestamp = timestamp
        self.ownerEpoch = ownerEpoch
        self.principal = principal
        self.traceContext = traceContext
        self.operations = operations
    }
}
