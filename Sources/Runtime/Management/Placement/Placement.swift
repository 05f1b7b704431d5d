import FlotillaRaft

/// Chooses where new runs go, by a view of the management state that may be old. It decides nothing: the cluster that is
/// chosen may turn out to be full or sealed, and then the next one is asked for, without that one.
struct Placement: Sendable {
    struct Request: Sendable {
        /// The workflow's name.
        var type: ByteText
        /// The node that asks.
        var origin: NodeID
        /// The nodes that have registered the type; nil if that is not known.
        var capable: Set<NodeID>?
        /// Clusters that have refused this run.
        var refused: Set<ClusterID> = []
    }

    enum Decision: Hashable, Sendable {
        case cluster(ClusterID)
        /// None has room: one with these members is to be created.
        case create(founders: [NodeID], pinnedType: ByteText?)
        /// Why there is nowhere to go, and what would help.
        case nowhere(String)
    }

    private(set) var state: ManagementState
    /// What was sent to each cluster since the view is from: it is not in the view's counts.
    private var sent: [ClusterID: Int] = [:]
    private var last: ClusterID?

    /// - Parameter origin: nodes begin their rounds at different clusters, lest all start at the first.
    init(_ state: ManagementState, origin: NodeID) {
        self.state = state
        let clusters = state.clusters.sorted()
        if !clusters.isEmpty { last = clusters[Int(origin.rawValue % UInt64(clusters.count))].key }
    }

    /// Takes a newer view.
    mutating func refresh(_ state: ManagementState) {
        self.state = state
        sent = [:]
    }

    mutating func choose(_ request: Request) -> Decision {
        if let common = state.clusters[ExecutionCluster.common], common.spansFleet { return .cluster(common.id) }
        let policy = state.policy
        let pin = policy.pins.contains(request.type) ? request.type : nil
        let open = state.clusters.sorted().map(\.value).filter { cluster in
            cluster.isActive && cluster.pinnedType == pin && !request.refused.contains(cluster.id)
                && load(of: cluster) < policy.maximumWorkflowsPerCluster
                && request.capable.map { !$0.isDisjoint(with: cluster.members.keys) } ?? true
        }
        guard let chosen = select(open, request) else { return creation(request, pinnedTo: pin) }
        last = chosen
        sent[chosen, default: 0] += 1
        return .cluster(chosen)
    }

    private func select(_ open: [ExecutionCluster], _ request: Request) -> ClusterID? {
        switch state.policy.strategy {
        case .roundRobin:
            return (open.first { cluster in last.map { cluster.id > $0 } ?? true } ?? open.first)?.id
        case .leastLoaded:
            return leastLoaded(open)
        case .localityAware:
            return leastLoaded(open.filter { $0.members[request.origin] != nil }) ?? leastLoaded(open)
        case .typeAffinity:
            return leastLoaded(open.filter { $0.activeWorkflows[request.type] != nil }) ?? leastLoaded(open)
        }
    }

    /// The oldest of those with the fewest runs.
    private func leastLoaded(_ clusters: [ExecutionCluster]) -> ClusterID? {
        clusters.min { (load(of: $0), $0.id) < (load(of: $1), $1.id) }?.id
    }

    private func load(of cluster: ExecutionCluster) -> Int { cluster.activeCount + (sent[cluster.id] ?? 0) }

    private func creation(_ request: Request, pinnedTo pin: ByteText?) -> Decision {
        guard let founders = MemberChoice(state, among: request.capable).founders() else {
            let least = min(state.policy.clusterSizes.lowerBound, state.nodes.count)
            return .nowhere(
                "no cluster has room for '\(request.type)', and fewer than \(least) nodes that have it could form another: "
                    + "start nodes that register it, or raise the number of workflows that a cluster may run")
        }
        return .create(founders: founders, pinnedType: pin)
    }
}
