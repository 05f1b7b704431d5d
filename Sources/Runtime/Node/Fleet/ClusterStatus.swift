import FlotillaRaft

/// An execution cluster, as management knows it. Times are the management group's, in nanoseconds since 1970.
public struct ClusterStatus: Codable, Hashable, Sendable {
    /// A node that is to be in the cluster.
    public struct Member: Codable, Hashable, Sendable {
        /// The node's id.
        public var node: UInt64
        /// "voter" or "learner", as management wants it.
        public var role: String
    }

    /// The cluster's id, a UUIDv7.
    public var id: String
    /// Where its messages go.
    public var group: UInt64
    /// Rises when the cluster is founded anew.
    public var incarnation: UInt64
    /// "active", "draining" or "sealed".
    public var phase: String
    /// Where its runs go while it is drained.
    public var successor: String?
    /// Every node of the fleet is a member: the one cluster of a small fleet.
    public var spansFleet: Bool
    /// Who is to belong to it, as management wants it.
    public var members: [Member]
    /// How many runs of each workflow have not ended. Empty while it spans the fleet: then nobody needs to be told.
    public var activeWorkflows: [String: Int]
    /// When management made it.
    public var createdAt: Int64
    /// Since when nothing runs there.
    public var idleSince: Int64?
    /// Workflows of this type alone run there.
    public var pinnedType: String?
    /// How many of the 4,096 parts of all workflow ids are at home there.
    public var slots: Int
    /// How many runs are still to move elsewhere.
    public var outgoing: Int
    /// The leader's node; nil where nobody was asked, or none is known.
    public var leader: UInt64?
    /// Nodes that vote now, as the cluster itself says; empty where nobody was asked.
    public var voters: [UInt64] = []
    /// Nodes that follow without a vote, as the cluster itself says; empty where nobody was asked.
    public var learners: [UInt64] = []
    /// How many runs have not ended, by the cluster's own word where it was asked.
    public var workflows = 0
    /// Why it is stuck; nil if it is not, or nobody was asked.
    public var problem: String?
    /// What is under way, and what it waits for.
    public var waitsFor: [String] = []

    init(_ cluster: ExecutionCluster, _ view: ManagementState) {
        id = cluster.id.text
        group = cluster.group.rawValue
        incarnation = cluster.incarnation
        switch cluster.phase {
        case .active: phase = "active"
        case .draining(let into):
            phase = "draining"
            successor = into?.text
        case .sealed: phase = "sealed"
        }
        spansFleet = cluster.spansFleet
        members = cluster.members.sorted { $0.key < $1.key }.map {
            Member(node: $0.key.rawValue, role: $0.value.role == .voter ? "voter" : "learner")
        }
        activeWorkflows = Dictionary(
            uniqueKeysWithValues: cluster.activeWorkflows.map { ($0.key.text, $0.value) })
        createdAt = cluster.createdAt
        idleSince = cluster.idleSince
        pinnedType = cluster.pinnedType?.text
        slots = view.slots.slots(of: cluster.group).count
        outgoing = cluster.outgoingCount
        workflows = cluster.activeCount
    }
}
