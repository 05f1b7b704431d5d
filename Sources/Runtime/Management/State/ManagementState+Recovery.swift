import FlotillaActors
import FlotillaRaft

/// Asks for a new incarnation of a cluster that has lost its majority for good.
struct ClusterRecovery: Hashable, Sendable {
    var cluster: ClusterID
    /// The one behind the cluster's present one: of two that are asked for at once, the second is refused.
    var incarnation: UInt64
    /// Its replica's state is what the new incarnation begins with.
    var survivor: NodeID
    /// Who belongs to the cluster from now on: the survivor, and others that were members or join. Not asked for where
    /// the cluster spans the fleet.
    var members: [NodeID]
}

extension ManagementState {
    /// From here on nobody listens to the old incarnation: messages carry theirs, and nodes give up older replicas.
    mutating func recover(_ recovery: ClusterRecovery) throws(ManagementRefused) -> Bool {
        guard let cluster = clusters[recovery.cluster] else {
            throw ManagementRefused(.unknownCluster, "there is no \(recovery.cluster)")
        }
        if cluster.incarnation == recovery.incarnation, cluster.survivor == recovery.survivor { return false }
        guard cluster.incarnation + 1 == recovery.incarnation || mutated(.recoversTwice) else {
            throw ManagementRefused(
                .staleIncarnation,
                "\(cluster.id) is in incarnation \(cluster.incarnation): somebody has founded it anew already; look at it "
                    + "before you try again")
        }
        if case .sealed = cluster.phase { throw ManagementRefused(.clusterClosed, "\(cluster.id) is sealed") }
        guard cluster.members[recovery.survivor] != nil else {
            throw ManagementRefused(.unknownNode, "\(recovery.survivor) is not in \(cluster.id)")
        }
        let members = cluster.spansFleet ? Set(cluster.members.keys) : Set(recovery.members + [recovery.survivor])
        guard members.count <= policy.clusterSizes.upperBound || cluster.spansFleet else {
            throw ManagementRefused(
                .invalidSize, "a cluster has \(policy.clusterSizes.upperBound) members at most, not \(members.count)")
        }
        let joining = members.filter { cluster.members[$0] == nil }.sorted()
        for node in joining { try checkUsable(node) }
        let leaving = cluster.members.keys.filter { !members.contains($0) }.sorted()
        _ = clusters.update(cluster.id) { cluster in
            cluster.incarnation = recovery.incarnation
            cluster.survivor = recovery.survivor
            // Nobody begins with the first configuration any more.
            cluster.members = Dictionary(
                uniqueKeysWithValues: members.map { ($0, .init(role: .voter, isFounder: false)) })
            // The new incarnation's log may end before what was heard of the old one's.
            cluster.reportedThrough = .zero
        }
        surrenders += 1
        for node in leaving {
            leave(node, cluster.id)
            depart(node, from: cluster.group)
        }
        for node in joining {
            memberships[node, default: []].insert(cluster.id)
            endDeparture(of: node, from: cluster.group)
        }
        return true
    }
}
