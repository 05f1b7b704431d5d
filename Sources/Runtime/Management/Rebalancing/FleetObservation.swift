import FlotillaRaft

/// What the management leader sees of the fleet beside the replicated state.
struct FleetObservation: Sendable {
    /// The group's time, in nanoseconds since 1970.
    var now: Int64
    /// For how long each node was not heard of, in nanoseconds; nothing for one that is.
    var silence: [NodeID: Int64] = [:]
    /// Learners of clusters whose log is close enough to their leader's that a vote of theirs costs no availability.
    var caughtUp: [ClusterID: Set<NodeID>] = [:]
    /// The share of the fleet's capacity that is in use.
    var load = 0.0

    /// As a member of clusters.
    func isLost(_ node: NodeID, _ policy: ExecutionClusterPolicy) -> Bool {
        isSilent(node, for: policy.memberFailureTimeout)
    }

    func isSilent(_ node: NodeID, for limit: Duration) -> Bool { (silence[node] ?? 0) > limit.clampedNanoseconds }
}

/// What each node carries, once the moves that have been ordered are done.
///
/// A cluster's runs are taken to be spread evenly over its voters that are alive, about as the cluster itself assigns
/// them. A learner is on its way in, and carries nothing yet.
struct FleetLoad {
    /// Nodes that are alive and stay, ascending.
    let usable: [NodeID]
    private let usableNodes: Set<NodeID>
    let lost: Set<NodeID>
    /// Those that are not sealed, by id.
    let clusters: [ExecutionCluster]
    private(set) var runs: [ClusterID: Int] = [:]
    private(set) var loads: [NodeID: Double] = [:]

    init(_ state: ManagementState, _ observation: FleetObservation) {
        let nodes = state.nodes.values.sorted { $0.node < $1.node }
        lost = Set(nodes.map(\.node).filter { observation.isLost($0, state.policy) })
        usable = nodes.filter { [lost] in !$0.isDraining && !lost.contains($0.node) }.map(\.node)
        usableNodes = Set(usable)
        clusters = state.clusters.sorted().map(\.value).filter { cluster in
            if case .sealed = cluster.phase { false } else { true }
        }
        for cluster in clusters {
            guard case .draining(let successor?) = cluster.phase else {
                runs[cluster.id, default: 0] += cluster.activeCount - cluster.outgoingCount
                for (target, count) in cluster.outgoing { runs[target, default: 0] += count }
                continue
            }
            runs[successor, default: 0] += cluster.activeCount
        }
        for cluster in clusters {
            for node in carriers(cluster) { loads[node, default: 0] += share(of: cluster) }
        }
    }

    func isUsable(_ node: NodeID) -> Bool { usableNodes.contains(node) }
    func load(of node: NodeID) -> Double { loads[node] ?? 0 }
    func runs(of cluster: ExecutionCluster) -> Int { runs[cluster.id] ?? 0 }
    func carriers(_ cluster: ExecutionCluster) -> [NodeID] { cluster.voters.filter { !lost.contains($0) } }
    func size(_ cluster: ExecutionCluster) -> Int { max(1, carriers(cluster).count) }
    /// What each of them carries of it.
    func share(of cluster: ExecutionCluster) -> Double { Double(runs(of: cluster)) / Double(size(cluster)) }

    /// Whether a majority of its voters is alive, so that it can change at all.
    func hasQuorum(_ cluster: ExecutionCluster) -> Bool {
        carriers(cluster).count * 2 > cluster.voters.count
    }

    /// The usable nodes that carry more than `share` above the mean, the busiest first.
    func busiest(above share: Double) -> [NodeID] {
        let limit = mean * (1 + share)
        return usable.filter { load(of: $0) > limit }.sorted { (load(of: $1), $0) < (load(of: $0), $1) }
    }

    var mean: Double { usable.reduce(0) { $0 + load(of: $1) } / Double(max(1, usable.count)) }

    /// By what share the busiest node exceeds the mean.
    var imbalance: Double {
        let mean = mean
        let most = usable.map(load).max() ?? 0
        return mean > 0 ? (most - mean) / mean : 0
    }
}
