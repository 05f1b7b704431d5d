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
    /// Groups that there may be something to do about.
    let attention: GroupAttention
    let logger: FlotillaLogger

    /// How long to wait before a replica that is to leave is asked about again, and what failed is tried again.
    static let retryInterval: Duration = .seconds(1)

    private enum Verdict {
        case stays
        case goes(String)
        /// Its state is what the cluster's next incarnation begins with.
        case beginsAnew(incarnation: UInt64)
        /// The cluster's next incarnation begins elsewhere. It does nothing more from now on, and is kept until that one is
        /// there: where its survivor is lost before, an operator may found the cluster once more, with this.
        case isReplaced(by: UInt64)
        /// Management wants it gone; its group has not said yet that it is.
        case isLeaving
    }

    /// Until the task is cancelled or the node ends.
    func run() async {
        let waiting = Lock<Set<GroupID>>([])
        await withDiscardingTaskGroup { tasks in
            for await _ in attention.bell.rings {
                let left = await reconcile(attention.take())
                guard !left.isEmpty else { continue }
                let isFirst = waiting.withLock { waiting in
                    defer { waiting.formUnion(left) }
                    return waiting.isEmpty
                }
                // Beside what comes up meanwhile: a new cluster does not wait for what is in an old one's way.
                guard isFirst else { continue }
                tasks.addTask {
                    do { try await core.loop.sleep(for: Self.retryInterval) } catch { return }
                    let due = waiting.withLock { waiting in
                        defer { waiting = [] }
                        return waiting
                    }
                    for group in due.sorted() { attention.mark(group) }
                }
            }
            tasks.cancelAll()
        }
    }

    /// - Returns: those that are not as they should be.
    private func reconcile(_ groups: [GroupID]) async -> Set<GroupID> {
        var left: Set<GroupID> = []
        let view = machines.management.withLock { $0 }
        var leaving: [RaftGroup] = []
        for id in groups {
            guard let group = core.hosted[id] else {
                guard let cluster = view.cluster(of: id), cluster.members[core.node]?.isFounder == true else {
                    continue
                }
                if await !found(cluster) { left.insert(id) }
                continue
            }
            guard group.identity.kind == .workflow else { continue }
            switch verdict(on: group.identity, view) {
            case .stays: break
            case .beginsAnew(let incarnation): if await !refound(group, incarnation) { left.insert(id) }
            case .isReplaced(let incarnation):
                await core.withdraw(id, before: incarnation)
                leaving.append(group)
            case .goes(let reason): if await !remove(group, because: reason) { left.insert(id) }
            case .isLeaving: leaving.append(group)
            }
        }
        let excluded = await excluded(of: leaving, view)
        for group in leaving {
            let id = group.identity.group
            let reason = "the group has another replica, or none, in its place"
            guard excluded.contains(id), await remove(group, because: reason) else {
                left.insert(id)
                continue
            }
        }
        return left
    }

    private func verdict(on identity: ReplicaIdentity, _ view: ManagementState) -> Verdict {
        guard let cluster = view.cluster(of: identity.group) else {
            return view.hasIssued(identity.group) ? .goes("the cluster was destroyed") : .stays
        }
        if identity.incarnation < cluster.incarnation {
            if cluster.survivor == core.node { return .beginsAnew(incarnation: cluster.incarnation) }
            return mutated(.oldIncarnationsGoOn) ? .stays : .isReplaced(by: cluster.incarnation)
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

    /// Which of these groups say that this node's replica is no member any more, or have another incarnation. The other
    /// members are asked all at once, each about all of its groups: one that is dead costs the others no time.
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
            for (node, groups) in questions.sorted(by: { $0.key < $1.key }) {
                tasks.addTask {
                    (try? await router.perform(InspectGroups(groups: groups.sorted()), on: node)) ?? []
                }
            }
            for await answer in tasks {
                for known in answer where identities[known.group].map({ isOver($0, by: known, view) }) ?? false {
                    excluded.insert(known.group)
                }
                if excluded.count == leaving.count { tasks.cancelAll() }
            }
        }
        return excluded
    }

    private func isOver(_ identity: ReplicaIdentity, by known: GroupInspection, _ view: ManagementState) -> Bool {
        let (incarnation, wanted) = (known.membership.incarnation, view.cluster(of: identity.group)?.incarnation)
        if incarnation == identity.incarnation { return known.membership.excludes(identity.replica) }
        return incarnation > identity.incarnation && incarnation >= wanted ?? incarnation
    }
}

extension ManagementState {
    /// Whether there was a cluster with this group at some time, as far as this state goes.
    func hasIssued(_ group: GroupID) -> Bool {
        group == ExecutionCluster.commonGroup
            ? slots.hasHomes : group >= Self.firstClusterGroup && group < nextGroup
    }
}
