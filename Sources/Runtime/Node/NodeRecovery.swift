import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension Node {
    /// What it would mean to found a cluster anew. Asks its members how far their logs go; changes nothing.
    /// - Parameter id: or as much of its beginning as no other cluster's has.
    /// - Throws: `NodeError` with `unknownCluster`, or `refused` where a majority of the cluster's voters answers, so that
    ///   it goes on by itself, or where no member does.
    public func recoveryPlan(ofCluster id: String) async throws -> ClusterRecoveryPlan {
        let services = try await running()
        return try await services.recoveryPlan(of: try services.cluster(named: id))
    }

    /// Founds a cluster that has lost the majority of its voters for good anew: on the survivor with the best log, as the
    /// only voter; other members that answer join it again, and further nodes in the places of those that do not. For an
    /// operator who knows that the lost ones will not come back: where they do, their replicas are removed.
    ///
    /// What may be lost and what may appear is in the plan. Management must have its majority. Returns when management has
    /// decided; the nodes follow by themselves, also after crashes of any of them. Where the survivor is lost for good
    /// before it has followed, this can be called once more.
    /// - Parameter isForced: has to be said.
    /// - Returns: the plan that was carried out.
    /// - Throws: as `recoveryPlan`; `NodeError` with `refused` where it is not forced, and where another operator was
    ///   faster.
    @discardableResult
    public func recoverCluster(_ id: String, isForced: Bool) async throws -> ClusterRecoveryPlan {
        let services = try await running()
        let cluster = try services.cluster(named: id)
        var plan = try await services.recoveryPlan(of: cluster)
        guard isForced else {
            throw NodeError(
                .refused, (plan.consequences + ["Nothing was changed: it has to be forced."]).joined(separator: " "))
        }
        let recovery = ClusterRecovery(
            cluster: cluster.id, incarnation: plan.incarnation, survivor: NodeID(plan.survivor),
            members: plan.members.map(NodeID.init))
        try await services.manage([.recoverCluster(recovery)])
        plan.isCarriedOut = true
        return plan
    }
}

extension NodeServices {
    fileprivate func recoveryPlan(of cluster: ExecutionCluster) async throws -> ClusterRecoveryPlan {
        do {
            try await managementGroup.barrier()
        } catch let error as GroupError where error.code != .stopped {
            throw NodeError(
                .refused,
                "the management group decides about clusters, and has no majority now (\(error.message)): bring its voters "
                    + "back first")
        }
        let state = machines.management.withLock { $0 }
        guard let known = state.clusters[cluster.id] else {
            throw NodeError(.unknownCluster, "there is no \(cluster.id) any more")
        }
        return try await view(state, asking: [known]).recoveryPlan(of: known)
    }
}
