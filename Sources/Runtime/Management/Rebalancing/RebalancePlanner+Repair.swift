import FlotillaActors
import FlotillaRaft

// Members that are lost or leave, and clusters that lack some. One member of a cluster changes at a time: it comes as a
// learner, and votes in the same command in which the other leaves. So no quorum gets smaller on the way, and a cluster
// that has none is left alone until its members return or its operator decides.

extension RebalancePlanner {
    func repair(_ load: FleetLoad) -> [ManagementOperation]? {
        for cluster in load.clusters {
            if let command = repair(cluster, load) { return command }
        }
        return nil
    }

    private func repair(_ cluster: ExecutionCluster, _ load: FleetLoad) -> [ManagementOperation]? {
        guard load.hasQuorum(cluster) else { return nil }
        if let gone = cluster.learners.first(where: { !load.isUsable($0) }) {
            return [.disassociateNode(cluster.id, gone)]
        }
        let leaver = leaver(of: cluster, load)
        if let learner = cluster.learners.first {
            guard observation.caughtUp[cluster.id]?.contains(learner) == true else {
                return mutated(.replacesVotersAtOnce) ? leaver.map { [.disassociateNode(cluster.id, $0)] } : nil
            }
            let promotion = ManagementOperation.associateNode(cluster.id, learner, .voter)
            if let leaver { return [promotion, .disassociateNode(cluster.id, leaver)] }
            guard cluster.members.count > policy.targetClusterSize, let voter = mostLoaded(cluster.voters, load) else {
                return [promotion]
            }
            // It came to relieve another one; meanwhile there may be nothing left to relieve.
            let isRelief = load.load(of: learner) + load.share(of: cluster) < load.load(of: voter)
            return isRelief
                ? [promotion, .disassociateNode(cluster.id, voter)] : [.disassociateNode(cluster.id, learner)]
        }
        let spare = spare(for: cluster, load, isReplacement: leaver != nil)
        if let spare { return [.associateNode(cluster.id, spare, .learner)] }
        if let leaver { return departure(of: leaver, from: cluster, load) }
        guard cluster.members.count > max(3, policy.targetClusterSize), let voter = mostLoaded(cluster.voters, load)
        else {
            return nil
        }
        return departure(of: voter, from: cluster, load)
    }

    /// The voter that is to go: a lost one first, then one whose node is to leave.
    private func leaver(of cluster: ExecutionCluster, _ load: FleetLoad) -> NodeID? {
        cluster.voters.first { load.lost.contains($0) } ?? cluster.voters.first { draft.nodes[$0]?.isDraining == true }
    }

    /// A node that could join: for a replacement, or below three members, any; to grow further only one that has no
    /// other cluster.
    private func spare(for cluster: ExecutionCluster, _ load: FleetLoad, isReplacement: Bool) -> NodeID? {
        let isWanted = isReplacement || cluster.members.count < min(3, policy.targetClusterSize)
        guard isWanted || (cluster.members.count < policy.targetClusterSize && load.runs(of: cluster) > 0) else {
            return nil
        }
        let free = load.usable.filter { isWanted || draft.memberships[$0] == nil }
        return MemberChoice(draft, among: Set(free)).next(beside: cluster.members.keys)
    }

    /// Without a substitute: a lost voter goes only if three are left, since the ones that are left are no better off
    /// without it and it may come back; one that wants to leave goes if the rest has a quorum.
    private func departure(
        of voter: NodeID, from cluster: ExecutionCluster, _ load: FleetLoad
    ) -> [ManagementOperation]? {
        let left = cluster.voters.filter { $0 != voter }
        let live = left.filter { !load.lost.contains($0) }
        guard live.count * 2 > left.count, left.count >= 3 || !load.lost.contains(voter) else { return nil }
        return [.disassociateNode(cluster.id, voter)]
    }

    private func mostLoaded(_ nodes: [NodeID], _ load: FleetLoad) -> NodeID? {
        nodes.max { (load.load(of: $0), $0) < (load.load(of: $1), $1) }
    }
}
