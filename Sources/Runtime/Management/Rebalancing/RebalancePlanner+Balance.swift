import FlotillaRaft

// Load. Whatever is done here makes a node above the threshold carry less, and nobody as much as it did: so it ends.

extension RebalancePlanner {
    /// Loads that differ by less are equal: they are sums of fractions.
    private static let tolerance = 1e-6

    func balance(_ load: FleetLoad) -> [ManagementOperation]? {
        let busy = load.busiest(above: policy.rebalanceThreshold)
        for node in busy { if let command = runMove(off: node, load) { return command } }
        if let command = clusterForIdleNodes(load, isImbalanced: !busy.isEmpty) { return command }
        // A member that is on its way into a cluster comes first, and the next one is planned then.
        guard !busy.isEmpty, !load.clusters.contains(where: { !$0.learners.isEmpty }) else { return nil }
        // Also those just below the threshold: they may be what keeps the others from handing anything over.
        for node in load.busiest(above: 0) {
            if let command = memberMove(off: node, load) ?? shrinkage(of: node, load) { return command }
        }
        return nil
    }

    // MARK: Runs

    /// From a cluster of a busy node to the one whose members carry least.
    private func runMove(off busiest: NodeID, _ load: FleetLoad) -> [ManagementOperation]? {
        let peak = load.load(of: busiest)
        let open = load.clusters.filter { $0.isActive && load.hasQuorum($0) }
        let sources = open.filter { $0.voters.contains(busiest) && $0.activeCount > $0.outgoingCount }
            .sorted { (load.share(of: $1), $0.id) < (load.share(of: $0), $1.id) }
        for source in sources {
            let targets = open.filter { !$0.voters.contains(busiest) && $0.pinnedType == source.pinnedType }
                .map { (cluster: $0, peak: load.carriers($0).map(load.load).max() ?? 0) }
                .sorted { ($0.peak, $0.cluster.id) < ($1.peak, $1.cluster.id) }
            for target in targets {
                let (from, to) = (1 / Double(load.size(source)), 1 / Double(load.size(target.cluster)))
                let room = policy.maximumWorkflowsPerCluster - load.runs(of: target.cluster)
                let most = min(source.activeCount - source.outgoingCount, room)
                guard most > 0, target.peak + to < peak - Self.tolerance else { continue }
                // Not beyond the mean: what is ordered to a cluster cannot be ordered on before it is there.
                let even = min((peak - target.peak) / (from + to), (load.mean - target.peak) / to)
                let count = min(most, max(1, Int(even)))
                return [order(count, from: source, to: target.cluster)]
            }
        }
        return nil
    }

    /// What was ordered the other way and has not been done is taken back first.
    private func order(_ count: Int, from: ExecutionCluster, to: ExecutionCluster) -> ManagementOperation {
        if let back = to.outgoing[from.id] {
            return .moveRuns(from: to.id, to: from.id, count: max(0, back - count))
        }
        return .moveRuns(from: from.id, to: to.id, count: (from.outgoing[to.id] ?? 0) + count)
    }

    // MARK: Idle nodes

    /// Nodes without a cluster form new ones, as equal in size as they can be, where there are runs for them. Fewer than
    /// three stay in reserve unless the load is imbalanced; then a larger cluster gives them some of its members.
    private func clusterForIdleNodes(_ load: FleetLoad, isImbalanced: Bool) -> [ManagementOperation]? {
        let idle = load.usable.filter { draft.memberships[$0] == nil }
        let least = min(3, policy.targetClusterSize)
        guard !idle.isEmpty, idle.count >= least || isImbalanced else { return nil }
        let clusters = (idle.count + policy.targetClusterSize - 1) / policy.targetClusterSize
        var founders = MemberChoice(draft, among: Set(idle)).founders(count: max(least, idle.count / clusters)) ?? []
        var leaving: [ManagementOperation] = []
        if founders.isEmpty {
            guard let split = members(least - idle.count, load) else { return nil }
            founders = idle + split.map(\.node)
            leaving = split.map { .disassociateNode($0.cluster, $0.node) }
        }
        // Only if runs would come to it: else it would be destroyed as idle, and made again.
        guard let creation = creation(founders), let after = try? applied(creation + leaving) else { return nil }
        let balanced = FleetLoad(after, observation)
        guard isUseful(balanced, founders: founders) else { return nil }
        return creation + leaving
    }

    /// Members of clusters that can do without them: all of their voters are alive, and three are left.
    private func members(_ count: Int, _ load: FleetLoad) -> [(cluster: ClusterID, node: NodeID)]? {
        var found: [(cluster: ClusterID, node: NodeID)] = []
        for cluster in load.clusters where cluster.isActive && cluster.voters.allSatisfy({ !load.lost.contains($0) }) {
            let spare = cluster.voters.filter { draft.memberships[$0] == [cluster.id] }.prefix(
                max(0, cluster.voters.count - 3))
            found += spare.map { (cluster.id, $0) }
        }
        return found.count < count ? nil : Array(found.prefix(count))
    }

    /// Whether the busiest node could hand a run over to a cluster of these nodes.
    private func isUseful(_ load: FleetLoad, founders: [NodeID]) -> Bool {
        let mine = founders.map(load.load).max() ?? 0
        let others = load.usable.filter { !founders.contains($0) }.map(load.load).max() ?? 0
        return mine + 1 / Double(founders.count) < others - Self.tolerance
    }

    /// The state as it would be.
    private func applied(_ command: [ManagementOperation]) throws(ManagementRefused) -> ManagementState {
        var next = draft
        _ = try next.apply(command, time: observation.now)
        return next
    }

    // MARK: Members

    /// A node that carries little takes a busy node's place in a cluster, or comes beside it where there is room for
    /// one more; as a learner first.
    private func memberMove(off busiest: NodeID, _ load: FleetLoad) -> [ManagementOperation]? {
        let clusters = load.clusters.filter { $0.voters.contains(busiest) && load.hasQuorum($0) && $0.isActive }
            .sorted { (load.share(of: $1), $0.id) < (load.share(of: $0), $1.id) }
        for cluster in clusters {
            let spare = load.usable.filter { cluster.members[$0] == nil }
                .min { (load.load(of: $0), $0) < (load.load(of: $1), $1) }
            let hasRoom = cluster.members.count < policy.targetClusterSize
            let share = Double(load.runs(of: cluster)) / Double(load.size(cluster) + (hasRoom ? 1 : 0))
            guard let spare, cluster.members.count <= policy.clusterSizes.upperBound,
                load.load(of: spare) + share < load.load(of: busiest) - Self.tolerance
            else { continue }
            return [.associateNode(cluster.id, spare, .learner)]
        }
        return nil
    }

    /// A busy node leaves a cluster that has more than three voters, where it has another; alone, or with those of its
    /// fellows that have another as well.
    private func shrinkage(of busiest: NodeID, _ load: FleetLoad) -> [ManagementOperation]? {
        for cluster in load.clusters where cluster.voters.contains(busiest) && cluster.voters.count > 3 {
            let shared = cluster.voters.filter { (draft.memberships[$0]?.count ?? 0) > 1 }
                .sorted { (load.load(of: $1), $0) < (load.load(of: $0), $1) }
            guard shared.contains(busiest) else { continue }
            let several = ([busiest] + shared.filter { $0 != busiest }).prefix(cluster.voters.count - 3)
            for leaving in [[busiest], Array(several)] where helps(busiest, leaving, cluster, load) {
                return leaving.map { .disassociateNode(cluster.id, $0) }
            }
        }
        return nil
    }

    /// Whether the others, without those that leave, have a quorum, and carry less than the busy node did.
    private func helps(_ busiest: NodeID, _ leaving: [NodeID], _ cluster: ExecutionCluster, _ load: FleetLoad) -> Bool {
        let staying = load.carriers(cluster).filter { !leaving.contains($0) }
        guard staying.count * 2 > cluster.voters.count - leaving.count else { return false }
        let more = Double(load.runs(of: cluster)) / Double(staying.count) - load.share(of: cluster)
        return staying.allSatisfy { load.load(of: $0) + more < load.load(of: busiest) - Self.tolerance }
    }
}
