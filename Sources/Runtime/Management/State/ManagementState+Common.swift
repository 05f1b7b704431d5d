import FlotillaActors
import FlotillaRaft

// The common cluster: a small fleet runs everything in one cluster that all of its nodes belong to. A fleet that has grown
// beyond that drains it like any other.

/// How far a fleet has come.
enum FleetMode: String, Sendable {
    /// Everything runs in the common cluster. Can transition to: migrating.
    case single
    /// New workflows go to execution clusters, and those of the common cluster move there. Can transition to: twoTier.
    case migrating
    /// There is no common cluster any more.
    case twoTier
}

extension ExecutionCluster {
    /// Not an id that anybody could draw.
    static let common = ClusterID(high: 0, low: 2)
    /// The group that the first node of a fleet begins with.
    static let commonGroup = GroupID(2)
}

extension ManagementState {
    var mode: FleetMode {
        guard let common = clusters[ExecutionCluster.common] else { return .twoTier }
        return common.spansFleet ? .single : .migrating
    }

    /// Those that a node is a member of, by id.
    func clusters(on node: NodeID) -> [ExecutionCluster] {
        (memberships[node] ?? []).sorted().compactMap { clusters[$0] }
    }

    /// Who must notice a node's end at once, and whose end it must: members of its clusters, those who vote in the
    /// management group, and everybody where it votes there itself.
    /// - Parameter members: of clusters that concern the node.
    func neighbours(of node: NodeID, besides members: Set<NodeID>) -> Set<NodeID>? {
        guard let me = nodes[node], me.role == .learner else { return nil }
        var found = members.union(nodes.values.filter { $0.role == .voter }.map(\.node))
        found.remove(node)
        return found
    }

    /// By the group that its messages go to.
    func cluster(of group: GroupID) -> ExecutionCluster? { clustersByGroup[group].flatMap { clusters[$0] } }

    mutating func createCommonCluster(time: Int64) throws(ManagementRefused) -> Bool {
        // A fleet that has let it go never gets another one.
        guard clusters[ExecutionCluster.common] == nil, !slots.hasHomes else { return false }
        guard !nodes.isEmpty else { throw ManagementRefused(.unknownNode, "a cluster needs a node to be on") }
        var cluster = ExecutionCluster(
            ClusterCreation(cluster: ExecutionCluster.common, founders: []), group: ExecutionCluster.commonGroup,
            createdAt: time)
        cluster.spansFleet = true
        cluster.idleSince = time
        enter(cluster)
        for node in nodes.keys { joinCommonCluster(node) }
        return true
    }

    mutating func joinCommonCluster(_ node: NodeID) {
        let member = ExecutionCluster.Member(role: .voter, isFounder: false)
        _ = clusters.update(ExecutionCluster.common) { $0.members[node] = $0.members[node] ?? member }
        memberships[node, default: []].insert(ExecutionCluster.common)
    }

    /// From now on the common cluster takes nothing new; there is no way back.
    mutating func beginMigration() throws(ManagementRefused) -> Bool {
        guard let common = clusters[ExecutionCluster.common], common.spansFleet else { return false }
        _ = clusters.update(ExecutionCluster.common) { $0.spansFleet = false }
        return try drainCluster(ExecutionCluster.common, into: nil)
    }

    /// Adds a cluster that is new.
    mutating func enter(_ cluster: ExecutionCluster) {
        clusters.insert(cluster, for: cluster.id)
        clustersByGroup[cluster.group] = cluster.id
        settleSlots(at: cluster.group)
    }
}
