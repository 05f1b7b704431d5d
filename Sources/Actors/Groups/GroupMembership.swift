public import FlotillaRaft

/// What one replica knows of who belongs to its group.
public struct GroupMembership: Codable, Hashable, Sendable {
    public var incarnation: UInt64
    /// The leader's node, if known.
    public var leader: NodeID?
    /// Whether this is what the leader says; else it may be old.
    public var isLeader: Bool
    /// Of the last entry in this replica's log.
    public var lastTerm: UInt64
    public var lastIndex: UInt64
    /// Up to where this replica knows that entries are committed.
    public var commitIndex: UInt64
    public var appliedIndex: UInt64
    /// Its log lacks what it may have acknowledged, so it takes no part in votes.
    public var isRecovering: Bool
    /// The replicas of the configuration in force, with their nodes.
    public var members: [UInt64: NodeID]
    public var voters: [NodeID]
    /// Those of the configuration that is being left; empty unless a change is under way.
    public var outgoingVoters: [NodeID]
    public var learners: [NodeID]
    /// A change of the voters is under way.
    public var isJoint: Bool
    /// On the leader: members whose log is close enough to its own that they can vote.
    public var caughtUp: [NodeID]
    /// Replica ids below were issued.
    public var nextReplica: UInt64

    public init(
        incarnation: UInt64, leader: NodeID?, isLeader: Bool, lastTerm: UInt64, lastIndex: UInt64,
        commitIndex: UInt64, appliedIndex: UInt64, isRecovering: Bool = false, members: [UInt64: NodeID],
        voters: [NodeID], outgoingVoters: [NodeID] = [], learners: [NodeID], isJoint: Bool, caughtUp: [NodeID],
        nextReplica: UInt64
    ) {
        self.incarnation = incarnation
        self.leader = leader
        self.isLeader = isLeader
        self.lastTerm = lastTerm
        self.lastIndex = lastIndex
        self.commitIndex = commitIndex
        self.appliedIndex = appliedIndex
        self.isRecovering = isRecovering
        self.members = members
        self.voters = voters
        self.outgoingVoters = outgoingVoters
        self.learners = learners
        self.isJoint = isJoint
        self.caughtUp = caughtUp
        self.nextReplica = nextReplica
    }

    /// Whether `usable` voters are a majority of those that there are, and of those that are being left.
    public func hasQuorum(where usable: (NodeID) -> Bool) -> Bool {
        func isMajority(of voters: [NodeID]) -> Bool { voters.count(where: usable) * 2 > voters.count }
        return isMajority(of: voters) && (outgoingVoters.isEmpty || isMajority(of: outgoingVoters))
    }

    /// Whether a replica was issued and is no member any more. That never changes again, however old the answer is.
    public func excludes(_ replica: ReplicaID) -> Bool {
        replica.rawValue < nextReplica && members[replica.rawValue] == nil
    }
}

extension RaftGroup {
    /// Runs `body` on the group's loop with the state and the index up to which it goes, if this replica leads. Must be
    /// short.
    /// - Returns: nil where it does not lead.
    public nonisolated func asLeader<Result: Sendable>(
        _ body: @escaping @Sendable (any StateMachine, LogIndex) -> Result
    ) async throws -> Result? {
        try await perform { group in
            guard group.stopReason == nil, group.core.status.role == .leader else { return nil }
            return body(group.stateMachine, group.core.appliedIndex)
        }
    }

    public nonisolated func membership() async throws -> GroupMembership {
        try await perform { group in
            let configuration = group.core.configuration
            let status = group.core.status
            let nodes = { (replicas: [ReplicaID]) in replicas.compactMap { configuration.node(of: $0) }.sorted() }
            return GroupMembership(
                incarnation: group.identity.incarnation, leader: status.leader.flatMap { group.node(of: $0) },
                isLeader: status.role == .leader, lastTerm: group.core.lastTerm.rawValue,
                lastIndex: group.core.lastIndex.rawValue, commitIndex: group.core.commitIndex.rawValue,
                appliedIndex: group.core.appliedIndex.rawValue, isRecovering: group.core.isRecovering,
                members: Dictionary(
                    configuration.members.map { ($0.replica.rawValue, $0.node) },
                    uniquingKeysWith: { first, _ in first }),
                voters: nodes(configuration.voters), outgoingVoters: nodes(configuration.outgoingVoters),
                learners: nodes(configuration.learners),
                isJoint: configuration.isJoint,
                caughtUp: status.role == .leader ? nodes(group.caughtUpMembers.sorted()) : [],
                nextReplica: configuration.nextReplica.rawValue)
        }
    }
}
