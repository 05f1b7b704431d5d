import FlotillaActors
import FlotillaRaft

// Execution clusters: each function checks everything before it changes anything.

/// Asks for a cluster, with everything that its members must agree on.
struct ClusterCreation: Hashable, Sendable {
    var cluster: ClusterID
    var incarnation: UInt64 = 1
    /// The voters of its first configuration, in the order of their replica ids.
    var founders: [NodeID]
    var pinnedType: ByteText?
}

extension ManagementState {
    mutating func createCluster(_ creation: ClusterCreation, time: Int64) throws(ManagementRefused) -> Bool {
        if let known = clusters[creation.cluster] {
            guard known.founders == creation.founders, known.incarnation == creation.incarnation,
                known.pinnedType == creation.pinnedType
            else { throw ManagementRefused(.duplicateCluster, "\(creation.cluster) exists with other members") }
            return false
        }
        guard creation.incarnation > 0 else {
            throw ManagementRefused(.invalidSize, "incarnations of a cluster are counted from 1")
        }
        let founders = Set(creation.founders)
        // A fleet that is smaller than a cluster should be may have one all the same.
        let least = min(policy.clusterSizes.lowerBound, nodes.count)
        guard founders.count == creation.founders.count, founders.count >= max(1, least),
            founders.count <= policy.clusterSizes.upperBound
        else {
            throw ManagementRefused(
                .invalidSize,
                "a cluster begins with \(max(1, least)) to \(policy.clusterSizes.upperBound) different nodes, "
                    + "not \(creation.founders.map(\.rawValue))")
        }
        for node in creation.founders { try checkUsable(node) }
        var cluster = ExecutionCluster(creation, group: nextGroup, createdAt: time)
        cluster.idleSince = time
        for node in creation.founders {
            cluster.members[node] = ExecutionCluster.Member(role: .voter, isFounder: true)
            memberships[node, default: []].insert(cluster.id)
        }
        nextGroup = GroupID(nextGroup.rawValue + 1)
        enter(cluster)
        return true
    }

    /// - Parameter isForced: what the cluster holds is given up; else its own log must say that it is empty.
    mutating func destroyCluster(
        _ id: ClusterID, sealEpoch: UInt64, isForced: Bool
    ) throws(ManagementRefused) -> Bool {
        let cluster = try known(id)
        guard !cluster.spansFleet else {
            throw ManagementRefused(.clusterClosed, "\(id) runs everything that this fleet has; it cannot be destroyed")
        }
        guard isForced || mutated(.destroysWithoutSeal) || cluster.phase == .sealed(epoch: sealEpoch) else {
            throw ManagementRefused(
                .notSealed,
                "\(id) is \(cluster.phase), not sealed in epoch \(sealEpoch): drain it, and wait for its seal")
        }
        guard slots.slots(of: cluster.group).isEmpty else {
            throw ManagementRefused(.hasSlots, "\(id) is the home of workflow ids; move its slots first")
        }
        if case .sealed = cluster.phase {} else { surrenders += 1 }
        for (key, _) in cluster.runs.members where locations[key] == id { locations.remove(key) }
        for node in cluster.members.keys { leave(node, id) }
        clusters.remove(id)
        clustersByGroup[cluster.group] = nil
        endDepartures(from: cluster.group)
        forget(id)
        return true
    }

    mutating func associate(
        _ node: NodeID, with id: ClusterID, as role: ExecutionCluster.MemberRole
    ) throws(ManagementRefused) -> Bool {
        let cluster = try known(id)
        if case .sealed = cluster.phase { throw ManagementRefused(.clusterClosed, "\(id) is sealed") }
        guard !cluster.spansFleet else {
            throw ManagementRefused(.clusterClosed, "every node is in \(id) while the fleet is small")
        }
        if let member = cluster.members[node] {
            if role == .learner, cluster.voters == [node] {
                throw ManagementRefused(.lastVoter, "\(node) is the only voter of \(id)")
            }
            _ = clusters.update(id) { $0.members[node]?.role = role }
            return member.role != role
        }
        try checkUsable(node)
        // One more than it may have in the end: the one that another makes room for.
        guard cluster.members.count <= policy.clusterSizes.upperBound else {
            throw ManagementRefused(
                .invalidSize,
                "\(id) has \(cluster.members.count) members, of \(policy.clusterSizes.upperBound) at most; remove one")
        }
        _ = clusters.update(id) { cluster in
            let isFounder = mutated(.foundersReturn) && cluster.founders.contains(node)
            cluster.members[node] = ExecutionCluster.Member(role: role, isFounder: isFounder)
        }
        memberships[node, default: []].insert(id)
        endDeparture(of: node, from: cluster.group)
        return true
    }

    mutating func disassociate(_ node: NodeID, from id: ClusterID) throws(ManagementRefused) -> Bool {
        let cluster = try known(id)
        guard !cluster.spansFleet else {
            throw ManagementRefused(.clusterClosed, "every node is in \(id) while the fleet is small")
        }
        guard cluster.members[node] != nil else { throw ManagementRefused(.unknownNode, "\(node) is not in \(id)") }
        guard cluster.voters != [node] else {
            throw ManagementRefused(
                .lastVoter, "\(node) is the only voter of \(id); add another one first, or drain the cluster")
        }
        _ = clusters.update(id) { $0.members[node] = nil }
        leave(node, id)
        depart(node, from: cluster.group)
        return true
    }

    mutating func drainCluster(_ id: ClusterID, into successor: ClusterID?) throws(ManagementRefused) -> Bool {
        let cluster = try known(id)
        if case .sealed = cluster.phase { return false }
        guard !cluster.spansFleet else {
            throw ManagementRefused(.clusterClosed, "\(id) runs everything that this fleet has; it cannot be drained")
        }
        if let successor {
            guard successor != id, try known(successor).isActive else {
                throw ManagementRefused(.clusterClosed, "\(successor) takes no runs of \(id)")
            }
        }
        let phase = ExecutionCluster.Phase.draining(into: successor)
        guard cluster.phase != phase else { return false }
        // Nothing is to come here any more; what others send elsewhere instead is planned anew.
        forget(id)
        _ = clusters.update(id) { cluster in
            if cluster.isActive { cluster.drainEpoch += 1 }
            cluster.phase = phase
            cluster.outgoing = [:]
        }
        return true
    }

    mutating func resumeCluster(_ id: ClusterID) throws(ManagementRefused) -> Bool {
        switch try known(id).phase {
        case .active: return false
        case .sealed: throw ManagementRefused(.clusterClosed, "\(id) is sealed; only its destruction is left")
        case .draining:
            guard id != ExecutionCluster.common else {
                throw ManagementRefused(.clusterClosed, "the fleet is leaving \(id) for good")
            }
            _ = clusters.update(id) { $0.phase = .active }
            return true
        }
    }

    /// - Parameter count: how many runs are to move in all; zero takes an order back.
    mutating func moveRuns(from: ClusterID, to: ClusterID, count: Int) throws(ManagementRefused) -> Bool {
        let source = try known(from)
        let target = try known(to)
        guard from != to, source.isActive, target.isActive else {
            throw ManagementRefused(.clusterClosed, "runs move between two active clusters, not from \(from) to \(to)")
        }
        let others = source.outgoingCount - (source.outgoing[to] ?? 0)
        let count = max(0, min(count, source.activeCount - others))
        guard source.outgoing[to] ?? 0 != count else { return false }
        _ = clusters.update(from) { $0.outgoing[to] = count == 0 ? nil : count }
        return true
    }

    // MARK: Helpers

    private func known(_ id: ClusterID) throws(ManagementRefused) -> ExecutionCluster {
        guard let cluster = clusters[id] else { throw ManagementRefused(.unknownCluster, "there is no \(id)") }
        return cluster
    }

    func checkUsable(_ node: NodeID) throws(ManagementRefused) {
        guard let known = nodes[node] else {
            throw ManagementRefused(.unknownNode, "\(node) is no member of the fleet")
        }
        guard !known.isDraining else {
            throw ManagementRefused(.nodeDraining, "\(node) is to leave; it takes no more clusters")
        }
    }

    mutating func leave(_ node: NodeID, _ id: ClusterID) {
        memberships[node]?.remove(id)
        if memberships[node]?.isEmpty == true { memberships[node] = nil }
    }

    /// Takes a cluster out of what others were to send to it.
    mutating func forget(_ id: ClusterID) {
        for (other, cluster) in clusters.members {
            if cluster.outgoing[id] != nil { _ = clusters.update(other) { $0.outgoing[id] = nil } }
            if cluster.phase == .draining(into: id) { _ = clusters.update(other) { $0.phase = .draining(into: nil) } }
        }
    }
}
