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
        var leaving: [RaftGroup] = []
        for group in core.hosted.all where group.identity.kind == .workflow {
            switch verdict(on: group.identity, view) {
            case .stays: break
            case .goes(let reason): isDone = await remove(group, because: reason) && isDone
            case .isLeaving: leaving.append(group)
            }
        }
        let excluded = await excluded(of: leaving, view)
        for group in leaving where excluded.contains(group.identity.group) {
            isDone = await remove(group, because: "the group has removed this replica") && isDone
        }
        return isDone && excluded.count == leaving.count
    }

    private func verdict(on identity: ReplicaIdentity, _ view: ManagementState) -> Verdict {
        guard let cluster = view.cluster(of: identity.group) else {
            return view.hasIssued(identity.group) ? .goes("the cluster was destroyed") : .stays
        }
        if identity.incarnation < cluster.incarnation { return .goes("the cluster was founded anew") }
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

    private func remove(_ group: RaftGroup, because reason: String) async -> Bool {
        // What the history of checkpoints holds of it goes first: where this node ends in between, the group is still there
        // to be asked again. One that has stopped cannot say.
        let histories = try? await group.withState { machine in
            (machine as? WorkflowStateMachine)?.checkpointedRuns ?? []
        }
        if let histories { machines.checkpoints.append(histories.map { .remove($0) }) }
        do {
            try await core.remove(group.identity.group, because: GroupError(.stopped, reason))
        } catch {
            logger.error("\(group.identity.group) cannot be removed here; trying again", ["error": "\(error)"])
            return false
        }
        return true
    }

    /// Which of these groups say that this node's replica is no member any more. The other members are asked all at once,
    /// each about all of its groups: one that is dead costs the others no time.
    private func excluded(of leaving: [RaftGroup], _ view: ManagementState) async -> Set<GroupID> {
        var excluded: Set<GroupID> = []
        var questions: [NodeID: [GroupID]] = [:]
        for group in leaving {
            let id = group.identity.group
            if let own = try? await group.membership(), own.excludes(group.identity.replica) {
                excluded.insert(id)
                continue
            }
            for node in view.cluster(of: id)?.members.keys.sorted() ?? [] where node != core.node {
                questions[node, default: []].append(id)
            }
        }
        let identities = Dictionary(uniqueKeysWithValues: leaving.map { ($0.identity.group, $0.identity) })
        await withTaskGroup(of: [GroupInspection].self) { tasks in
            for (node, groups) in questions {
                tasks.addTask {
                    (try? await router.perform(InspectGroups(groups: groups.sorted()), on: node)) ?? []
                }
            }
            for await answer in tasks {
                for known in answer {
                    guard let identity = identities[known.group],
                        known.membership.incarnation == identity.incarnation,
                        known.membership.excludes(identity.replica)
                    else { continue }
                    excluded.insert(known.group)
                }
                if excluded.count == leaving.count { tasks.cancelAll() }
            }
        }
        return excluded
    }
}

extension ManagementState {
    /// Whether there was a cluster with this group at some time, as far as this state goes.
    func hasIssued(_ group: GroupID) -> Bool {
        group == ExecutionCluster.commonGroup
            ? slots.hasHomes : group >= Self.firstClusterGroup && group < nextGroup
    }
}
