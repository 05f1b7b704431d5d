import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Makes this node host what it should: it founds the clusters that begin on it, and gives up what was destroyed, what
/// was founded anew elsewhere, and replicas that their group has removed.
///
/// Management only says what is wanted. That a replica may go is what its own group's configuration says: this replica's,
/// or that of any other member, since a replica that was removed never comes back.
struct ClusterReconciler: Sendable {
    let core: NodeCore
    let machines: NodeMachines
    let router: WorkflowRouter
    /// Rings when there may be something to do.
    let bell: Signal
    let logger: FlotillaLogger

    /// How long to wait before a replica that is to leave is asked about again, and what failed is tried again.
    static let retryInterval: Duration = .seconds(1)

    private enum Verdict {
        case stays
        case goes(String)
        /// Its state is what the cluster's next incarnation begins with.
        case beginsAnew(incarnation: UInt64)
        /// The cluster's next incarnation begins elsewhere.
        case isReplaced(ExecutionCluster)
        /// Management wants it gone; its group has not said yet that it is.
        case isLeaving
    }

    /// Until the task is cancelled or the node ends.
    func run() async {
        for await _ in bell.rings {
            guard await !reconcile() else { continue }
            do {
                try await core.loop.sleep(for: Self.retryInterval)
            } catch {
                return
            }
            bell.ring()
        }
    }

    /// - Returns: whether everything is as it should be.
    func reconcile() async -> Bool {
        var isDone = true
        let view = machines.management.withLock { $0 }
        for cluster in view.clusters(on: core.node) where cluster.members[core.node]?.isFounder == true {
            guard core.hosted[cluster.group] == nil else { continue }
            isDone = await found(cluster) && isDone
        }
        for group in core.hosted.all where group.identity.kind == .workflow {
            switch verdict(on: group.identity, view) {
            case .stays: break
            case .beginsAnew(let incarnation): isDone = await refound(group, incarnation) && isDone
            case .isReplaced(let cluster): isDone = await replace(group, cluster) && isDone
            case .goes(let reason): isDone = await remove(group, because: reason) && isDone
            case .isLeaving:
                if await isExcluded(group, view) {
                    isDone = await remove(group, because: "the group has removed this replica") && isDone
                } else {
                    isDone = false
                }
            }
        }
        return isDone
    }

    private func verdict(on identity: ReplicaIdentity, _ view: ManagementState) -> Verdict {
        guard let cluster = view.cluster(of: identity.group) else {
            return view.hasIssued(identity.group) ? .goes("the cluster was destroyed") : .stays
        }
        if identity.incarnation < cluster.incarnation {
            if cluster.survivor == core.node { return .beginsAnew(incarnation: cluster.incarnation) }
            return mutated(.oldIncarnationsGoOn) ? .stays : .isReplaced(cluster)
        }
        return cluster.members[core.node] == nil ? .isLeaving : .stays
    }

    private func found(_ cluster: ExecutionCluster) async -> Bool {
        let foundation = GroupFoundation(
            group: cluster.group, incarnation: cluster.incarnation, kind: .workflow, voters: cluster.founders)
        do {
            try await core.found(foundation)
            return true
        } catch {
            logger.error("\(cluster.id) cannot be founded here; trying again", ["error": "\(error)"])
            return false
        }
    }

    private func refound(_ group: RaftGroup, _ incarnation: UInt64) async -> Bool {
        do {
            try await core.refound(group.identity.group, incarnation: incarnation)
            return true
        } catch {
            logger.error("\(group.identity.group) cannot be founded anew here; trying again", ["error": "\(error)"])
            return false
        }
    }

    /// The replica does nothing more from now on. It is kept until the next incarnation is there: where that one's survivor
    /// is lost before, an operator may found the cluster once more, with this.
    private func replace(_ group: RaftGroup, _ cluster: ExecutionCluster) async -> Bool {
        await core.withdraw(cluster.group, before: cluster.incarnation)
        for node in cluster.members.keys.sorted() where node != core.node {
            guard let known = try? await router.perform(InspectGroup(group: cluster.group), on: node),
                known.incarnation >= cluster.incarnation
            else { continue }
            return await remove(group, because: "the cluster was founded anew")
        }
        return false
    }

    private func remove(_ group: RaftGroup, because reason: String) async -> Bool {
        // What the history of checkpoints holds of it goes as well; a group that has stopped cannot say.
        let histories = try? await group.withState { machine in
            (machine as? WorkflowStateMachine)?.checkpointedRuns ?? []
        }
        do {
            try await core.remove(group.identity.group, because: GroupError(.stopped, reason))
        } catch {
            logger.error("\(group.identity.group) cannot be removed here; trying again", ["error": "\(error)"])
            return false
        }
        if let histories { machines.checkpoints.append(histories.map { .remove($0) }) }
        return true
    }

    private func isExcluded(_ group: RaftGroup, _ view: ManagementState) async -> Bool {
        let identity = group.identity
        if let own = try? await group.membership(), own.excludes(identity.replica) { return true }
        let members = view.cluster(of: identity.group)?.members.keys.sorted() ?? []
        for node in members where node != core.node {
            guard let known = try? await router.perform(InspectGroup(group: identity.group), on: node) else { continue }
            if known.incarnation == identity.incarnation, known.excludes(identity.replica) { return true }
        }
        return false
    }
}

extension ManagementState {
    /// Whether there was a cluster with this group at some time, as far as this state goes.
    func hasIssued(_ group: GroupID) -> Bool {
        group == ExecutionCluster.commonGroup
            ? slots.hasHomes : group >= Self.firstClusterGroup && group < nextGroup
    }
}
