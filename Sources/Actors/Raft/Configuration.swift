/// Who belongs to a group, and who counts.
///
/// While a joint configuration is in force `outgoingVoters` is not empty, and every decision needs a majority
/// of both sets (thesis 4.3). The core changes it only by `Raft.applyConfiguration(_:)`.
public struct Configuration: Hashable, Sendable {
    /// A replica and the node that hosts it.
    public struct Member: Hashable, Sendable {
        public var replica: ReplicaID
        public var node: NodeID
        public init(replica: ReplicaID, node: NodeID) {
            self.replica = replica
            self.node = node
        }
    }

    /// Everyone that belongs to the group, voters and learners, in ascending order of replica id.
    public internal(set) var members: [Member] = []
    /// The (incoming) voters, ascending.
    public internal(set) var voters: [ReplicaID] = []
    /// The voters of the configuration that is being left; empty unless joint. Ascending.
    public internal(set) var outgoingVoters: [ReplicaID] = []
    /// Members that receive the log and do not count. Ascending.
    public internal(set) var learners: [ReplicaID] = []
    /// Outgoing voters that become learners when the joint configuration is left. Ascending.
    public internal(set) var nextLearners: [ReplicaID] = []
    /// Whether the leader leaves the joint configuration by itself as soon as it is applied.
    public internal(set) var leavesAutomatically = false
    /// The id that the next added member gets. It only ever rises.
    public internal(set) var nextReplica = ReplicaID(1)

    public init() {}

    /// Restores what was encoded; the parts must agree with each other.
    public init(
        members: [Member], voters: [ReplicaID], outgoingVoters: [ReplicaID], learners: [ReplicaID],
        nextLearners: [ReplicaID], leavesAutomatically: Bool, nextReplica: ReplicaID
    ) {
        self.members = members
        self.voters = voters
        self.outgoingVoters = outgoingVoters
        self.learners = learners
        self.nextLearners = nextLearners
        self.leavesAutomatically = leavesAutomatically
        self.nextReplica = nextReplica
    }

    public var isJoint: Bool { !outgoingVoters.isEmpty }
    public func node(of replica: ReplicaID) -> NodeID? { members.first { $0.replica == replica }?.node }
    public func replica(on node: NodeID) -> ReplicaID? { members.last { $0.node == node }?.replica }
}

/// What a configuration entry asks for. Several operations at once make a joint configuration necessary.
public struct ConfigurationChange: Hashable, Sendable {
    public enum Operation: Hashable, Sendable {
        /// Adds `node` as a learner, under the configuration's next replica id.
        case addLearner(NodeID)
        /// Adds `node` as a voter at once. Only a group's first entry does this; others add a learner and promote it.
        case addVoter(NodeID)
        /// Makes a learner a voter; it keeps its replica id.
        case promote(ReplicaID)
        /// Makes a voter a learner.
        case demote(ReplicaID)
        case remove(ReplicaID)
    }

    public enum Transition: UInt8, Sendable {
        /// A plain change where one voter moves, else joint with automatic leave.
        case automatic = 0
        /// Joint, left by the leader as soon as it is applied.
        case jointImplicit = 1
        /// Joint, until a change without operations is proposed.
        case jointExplicit = 2
    }

    public var transition: Transition
    /// Empty: leave the joint configuration.
    public var operations: [Operation]

    public init(_ operations: [Operation], transition: Transition = .automatic) {
        self.operations = operations
        self.transition = transition
    }
}
