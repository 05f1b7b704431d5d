import FlotillaActors
import FlotillaRaft

extension ManagementState {
    /// What does not agree in the state; nil if everything does. Walks over all of it.
    var violation: String? {
        nodeViolation ?? clusterViolation ?? locationViolation ?? slotViolation ?? departureViolation
    }

    private var nodeViolation: String? {
        if !nodes.isEmpty, voters.count.isMultiple(of: 2) { return "\(voters.count) nodes vote, an even number" }
        for (id, node) in nodes where id != node.node { return "\(id) is registered as \(node.node)" }
        if let node = memberships.keys.first(where: { nodes[$0] == nil }) {
            return "\(node) is a member of clusters, and not of the fleet"
        }
        return nil
    }

    private var clusterViolation: String? {
        var memberships: [NodeID: Set<ClusterID>] = [:]
        var groups: Set<GroupID> = []
        for (id, cluster) in clusters.sorted() {
            if id != cluster.id { return "\(cluster.id) stands under \(id)" }
            if cluster.group >= nextGroup || !groups.insert(cluster.group).inserted
                || clustersByGroup[cluster.group] != id
            {
                return "\(cluster.group) of \(id) was not issued to it alone"
            }
            if cluster.voters.isEmpty { return "\(id) has no voter" }
            if cluster.spansFleet {
                guard cluster.isActive, Set(cluster.members.keys) == Set(nodes.keys) else {
                    return "\(id) is not on all nodes"
                }
            }
            for (node, member) in cluster.members {
                memberships[node, default: []].insert(id)
                if member.isFounder, !cluster.founders.contains(node) { return "\(node) did not found \(id)" }
            }
            var types: [ByteText: Int] = [:]
            for (_, run) in cluster.runs.members { types[ByteText(run.type.name), default: 0] += 1 }
            if types != cluster.activeWorkflows { return "the active workflows of \(id) are not those of its runs" }
            if (cluster.idleSince == nil) == cluster.runs.isEmpty { return "\(id) is idle and busy" }
            if let problem = orderViolation(of: cluster) { return problem }
        }
        if clustersByGroup.count != groups.count { return "a group has a cluster that does not exist" }
        return memberships == self.memberships ? nil : "the memberships are not those of the clusters"
    }

    /// What has been ordered of a cluster must be possible.
    private func orderViolation(of cluster: ExecutionCluster) -> String? {
        if cluster.outgoingCount > cluster.activeCount { return "\(cluster.id) is to send more runs than it has" }
        for (target, count) in cluster.outgoing where count < 1 || clusters[target]?.isActive != true {
            return "\(cluster.id) is to send \(count) runs to \(target)"
        }
        switch cluster.phase {
        case .active: return nil
        case .draining(let successor):
            guard cluster.outgoing.isEmpty, successor.map({ clusters[$0]?.isActive == true }) ?? true else {
                return "\(cluster.id) is drained to where nothing can go"
            }
            return nil
        case .sealed: return cluster.runs.isEmpty ? nil : "\(cluster.id) is sealed, and runs workflows"
        }
    }

    private var locationViolation: String? {
        for (key, id) in locations.members where clusters[id]?.runs[key] == nil {
            return "\(key) is not where it is said to be, in \(id)"
        }
        let running = clusters.members.reduce(0) { $0 + $1.value.activeCount }
        return running == locations.count ? nil : "\(running) workflows run, \(locations.count) have a place"
    }

    private var slotViolation: String? {
        let homes = Set(clusters.members.map(\.value.group))
        for run in slots.runs where run.slot.epoch > 0 && !homes.contains(run.slot.home) {
            return "\(run.slot.home) is the home of \(run.count) slots, and does not exist"
        }
        return nil
    }
}

extension BucketedMap {
    var isEmpty: Bool { count == 0 }
}
