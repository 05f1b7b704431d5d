import FlotillaRaft

/// What decides whether a new plan could differ from the last one, apart from loads and counts, which are looked at once a
/// period: who is there, and what the clusters are made of.
struct RebalanceScene: Hashable {
    struct Cluster: Hashable {
        var phase: ExecutionCluster.Phase
        var members: [NodeID: ExecutionCluster.Member]
        /// It was idle for as long as the policy keeps it.
        var isExpired: Bool
        var caughtUp: Set<NodeID>
    }

    /// Whether each node is to leave.
    private let nodes: [NodeID: Bool]
    private let lost: Set<NodeID>
    private let clusters: [ClusterID: Cluster]
    private let slotVersion: UInt64
    private let policy: ExecutionClusterPolicy

    init(_ state: ManagementState, _ observation: FleetObservation) {
        policy = state.policy
        let timeToLive = state.policy.idleTimeToLive.clampedNanoseconds
        nodes = state.nodes.mapValues(\.isDraining)
        lost = Set(state.nodes.keys.filter { observation.isLost($0, state.policy) })
        slotVersion = state.slots.version
        var clusters: [ClusterID: Cluster] = [:]
        for (id, cluster) in state.clusters.members {
            clusters[id] = Cluster(
                phase: cluster.phase, members: cluster.members,
                isExpired: cluster.idleSince.map { observation.now - $0 >= timeToLive } ?? false,
                caughtUp: observation.caughtUp[id] ?? [])
        }
        self.clusters = clusters
    }
}
