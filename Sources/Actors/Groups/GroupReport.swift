public import FlotillaRaft

/// What one group looks like on one node, for operators.
public struct GroupReport: Sendable {
    public var group: GroupID
    public var incarnation: UInt64
    public var kind: GroupKind
    public var replica: ReplicaID
    public var status: Status
    /// The leader's node, if known.
    public var leader: NodeID?
    public var commitIndex: LogIndex
    public var appliedIndex: LogIndex
    public var lastIndex: LogIndex
    public var isQuiet: Bool
    public var isRecovering: Bool
    public var voters: [NodeID]
    /// Those of the configuration that is being left; empty unless the group is in the middle of a change.
    public var outgoingVoters: [NodeID]
    public var learners: [NodeID]
    /// Why the group stopped on this node; nil while it runs.
    public var stopReason: GroupError?
    /// Why the group takes no proposals on this node for now; nil while it does.
    public var proposalRefusal: GroupError?
    public var appliedEntries: UInt64
    public var pendingProposals: Int
    public var snapshotIndex: LogIndex
    public var snapshotsTaken: UInt64
    public var snapshotsInstalled: UInt64
    /// Parts of snapshots that other members handed to this one.
    public var snapshotChunksFetched: UInt64
    /// How many entries this replica, as the leader, has followed until a majority had them, and what that took in all.
    public var quorumRounds: UInt64
    public var quorumTime: Duration
    /// What the last snapshot that was taken here cost.
    public var lastSnapshot: SnapshotStore.SaveReport?
}

extension RaftGroup {
    public nonisolated func report() async throws -> GroupReport {
        try await perform { $0.makeReport() }
    }

    func makeReport() -> GroupReport {
        let configuration = core.configuration
        let nodes = { (replicas: [ReplicaID]) in replicas.compactMap { configuration.node(of: $0) }.sorted() }
        return GroupReport(
            group: identity.group, incarnation: identity.incarnation, kind: identity.kind,
            replica: identity.replica, status: core.status, leader: core.status.leader.flatMap { node(of: $0) },
            commitIndex: core.commitIndex, appliedIndex: core.appliedIndex, lastIndex: core.lastIndex,
            isQuiet: core.isQuiet, isRecovering: core.isRecovering, voters: nodes(configuration.voters),
            outgoingVoters: nodes(configuration.outgoingVoters), learners: nodes(configuration.learners),
            stopReason: stopReason, proposalRefusal: context.proposalRefusal, appliedEntries: metrics.applied,
            pendingProposals: pending.count, snapshotIndex: snapshots.newest?.index ?? .zero,
            snapshotsTaken: metrics.snapshotsTaken, snapshotsInstalled: metrics.snapshotsInstalled,
            snapshotChunksFetched: metrics.snapshotChunksFetched, quorumRounds: quorumTimer.rounds,
            quorumTime: quorumTimer.total, lastSnapshot: metrics.lastSnapshot)
    }

    /// A hash of everything that is replicated, and the index that it stands for. Equal on all replicas at equal index.
    /// The serialisation runs on the caller's executor, not on the loop.
    public nonisolated func stateHash() async throws -> (index: LogIndex, hash: UInt64) {
        let (index, view) = try await perform { ($0.core.appliedIndex, $0.snapshotView()) }
        return (index, StableHash.hash(view.serialize()))
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): equal on every machine and in every version, unlike `Hasher`.
enum StableHash {
    static func hash(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
    }
}
