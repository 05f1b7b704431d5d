/// What a node says of itself and of its groups. Times are UTC, ids are numbers as their operator gave them.
public struct NodeStatus: Codable, Hashable, Sendable {
    /// A member of the cluster, as the management group knows it.
    public struct Member: Codable, Hashable, Sendable {
        /// The node's id.
        public var id: UInt64
        /// Where peers connect.
        public var address: String
        /// Where its HTTP interface listens; empty if it has none.
        public var http: String

        /// A member by its id and its addresses.
        public init(id: UInt64, address: String, http: String) {
            self.id = id
            self.address = address
            self.http = http
        }
    }

    /// This node's replica of a group.
    public struct Group: Codable, Hashable, Sendable {
        /// The group's number: 1 for management, 2 for the common cluster.
        public var group: UInt64
        /// What it replicates, such as "management" or "workflow".
        public var kind: String
        /// The number of this replica, which the group gives once.
        public var replica: UInt64
        /// "leader", "follower", "candidate", "preCandidate" or "learner".
        public var role: String
        /// The replica's term of Raft.
        public var term: UInt64
        /// The leader's node; nil while none is known.
        public var leader: UInt64?
        /// The last entry that this replica knows to be committed.
        public var commitIndex: UInt64
        /// The last entry that its state contains.
        public var appliedIndex: UInt64
        /// The last entry of its log.
        public var lastIndex: UInt64
        /// It has nothing to do, and sends nothing.
        public var quiet: Bool
        /// Nodes.
        public var voters: [UInt64]
        /// Nodes whose majority counts as well until a change of the voters is complete; empty otherwise.
        public var outgoingVoters: [UInt64]
        /// Nodes that receive the log and do not vote.
        public var learners: [UInt64]
        /// Hexadecimal; equal on all replicas at one applied index. Only where it was asked for: it costs a walk over
        /// the whole state.
        public var stateHash: String?

        /// A replica as its node says it stands.
        public init(
            group: UInt64, kind: String, replica: UInt64, role: String, term: UInt64,
            leader: UInt64?,
            commitIndex: UInt64, appliedIndex: UInt64, lastIndex: UInt64, quiet: Bool,
            voters: [UInt64], outgoingVoters: [UInt64] = [], learners: [UInt64], stateHash: String? = nil
        ) {
            self.group = group
            self.kind = kind
            self.replica = replica
            self.role = role
            self.term = term
            self.leader = leader
            self.commitIndex = commitIndex
            self.appliedIndex = appliedIndex
            self.lastIndex = lastIndex
            self.quiet = quiet
            self.voters = voters
            self.outgoingVoters = outgoingVoters
            self.learners = learners
            self.stateHash = stateHash
        }
    }

    /// How many runs there are, as this node's replica knows them.
    public struct Workflows: Codable, Hashable, Sendable {
        /// Those that a live node owns.
        public var running: Int
        /// Those that no live node has the type and version of.
        public var parked: Int
        /// Those whose body has returned.
        public var completed: Int
        /// Those whose body threw.
        public var failed: Int
        /// Those that were ended from outside.
        public var terminated: Int
        /// Those that were asked to end, and did.
        public var cancelled: Int
        /// Those that wait to be resumed.
        public var paused: Int
        /// Former executions of runs that go on as new ones.
        public var continued: Int
        /// How many of the running ones this node runs.
        public var owned: Int

        /// So many of each.
        public init(
            running: Int = 0, parked: Int = 0, completed: Int = 0, failed: Int = 0, terminated: Int = 0,
            cancelled: Int = 0, paused: Int = 0, continued: Int = 0, owned: Int = 0
        ) {
            self.running = running
            self.parked = parked
            self.completed = completed
            self.failed = failed
            self.terminated = terminated
            self.cancelled = cancelled
            self.paused = paused
            self.continued = continued
            self.owned = owned
        }

        mutating func add(_ other: Workflows) {
            running += other.running
            parked += other.parked
            completed += other.completed
            failed += other.failed
            terminated += other.terminated
            cancelled += other.cancelled
            paused += other.paused
            continued += other.continued
            owned += other.owned
        }
    }

    /// This node's id.
    public var node: UInt64
    /// Hexadecimal; empty until this node belongs to a cluster.
    public var cluster: String
    /// How often this node was started on its data.
    public var boot: UInt64
    /// Flotilla's.
    public var version: String
    /// What commands the whole cluster understands.
    public var featureLevel: UInt32
    /// It has caught up with its groups and can be worked with.
    public var ready: Bool
    /// All members of the cluster, as this node knows them.
    public var nodes: [Member]
    /// This node's replicas.
    public var groups: [Group]
    /// How many runs this node's groups have.
    public var workflows: Workflows
    /// What its operator should know, such as that nothing is kept on disk.
    public var warnings: [String]

    /// A node as it says it stands.
    public init(
        node: UInt64, cluster: String, boot: UInt64, version: String = FlotillaVersion.current,
        featureLevel: UInt32,
        ready: Bool, nodes: [Member], groups: [Group], workflows: Workflows = .init(),
        warnings: [String] = []
    ) {
        self.node = node
        self.cluster = cluster
        self.boot = boot
        self.version = version
        self.featureLevel = featureLevel
        self.ready = ready
        self.nodes = nodes
        self.groups = groups
        self.workflows = workflows
        self.warnings = warnings
    }
}

/// This release.
public enum FlotillaVersion {
    /// Its number, as in a tag.
    public static let current = "0.1.0"
}
