import FlotillaActors
import FlotillaIO
public import FlotillaRaft

// Execution clusters and the nodes' parts in them, as an operator may ask of any node. What management decides is durable
// when a call returns; the groups follow by themselves.

extension Node {
    /// The execution clusters, in the order of their making.
    /// - Parameter withLeaders: asks their members who leads them, and why one may be stuck.
    public func clusters(withLeaders: Bool = false) async throws -> [ClusterStatus] {
        let services = try await running()
        let view = services.machines.management.withLock { $0 }
        guard withLeaders else { return view.clusters.sorted().map { ClusterStatus($0.value, view) } }
        return await services.view(view, asking: view.clusters.sorted().map(\.value)).fleet.clusters
    }

    /// What a cluster and its members say of it.
    /// - Parameter id: or as much of its beginning as no other cluster's has.
    /// - Throws: `NodeError` with `unknownCluster`.
    public func cluster(_ id: String) async throws -> ClusterStatus {
        let services = try await running()
        let cluster = try services.cluster(named: id)
        let view = services.machines.management.withLock { $0 }
        return await services.view(view, asking: [cluster]).status(of: cluster)
    }

    /// Nodes and clusters, with what their members say: who is silent, what is stuck and why.
    public func fleet() async throws -> FleetStatus {
        let services = try await running()
        let view = services.machines.management.withLock { $0 }
        return await services.view(view, asking: view.clusters.sorted().map(\.value)).fleet
    }

    /// Makes a cluster.
    /// - Parameters:
    ///   - nodes: its members; nil takes those with the fewest places, as many as the policy wants.
    ///   - type: workflows of this type alone run there; nil for all that are not pinned.
    /// - Returns: its id. It works as soon as a majority of its nodes has heard.
    @discardableResult
    public func createCluster(on nodes: [NodeID]? = nil, pinnedType type: String? = nil) async throws -> String {
        let services = try await running()
        let view = services.machines.management.withLock { $0 }
        let id = services.newClusterID()
        guard let founders = nodes ?? MemberChoice(view).founders() else {
            throw NodeError(
                .refused, "a cluster begins with at least \(view.policy.clusterSizes.lowerBound) nodes that stay")
        }
        let creation = ClusterCreation(cluster: id, founders: founders, pinnedType: type.map { ByteText($0) })
        try await services.manage([.createCluster(creation)])
        return id.text
    }

    /// Removes a cluster that its own log says to be empty.
    /// - Parameter isForced: whatever it holds: its runs are lost.
    public func destroyCluster(_ id: String, isForced: Bool = false) async throws {
        let services = try await running()
        let cluster = try services.cluster(named: id)
        var epoch: UInt64 = 0
        if case .sealed(let known) = cluster.phase { epoch = known }
        try await services.manage([.destroyCluster(cluster.id, sealEpoch: epoch, isForced: isForced)])
    }

    /// Takes a node into a cluster. It follows as a learner until it has caught up.
    public func addMember(_ node: NodeID, toCluster id: String, asLearner: Bool = false) async throws {
        let services = try await running()
        let cluster = try services.cluster(named: id)
        try await services.manage([.associateNode(cluster.id, node, asLearner ? .learner : .voter)])
    }

    /// Takes a node out of a cluster; its replica goes.
    /// - Throws: `NodeError` with `unknownCluster`, or `refused`, for instance of the only voter.
    public func removeMember(_ node: NodeID, fromCluster id: String) async throws {
        let services = try await running()
        try await services.manage([.disassociateNode(try services.cluster(named: id).id, node)])
    }

    /// Lets a cluster take no new runs; those that it has go to another one, and then it is removed.
    /// - Parameter successor: where they go; nil takes the cluster with the fewest.
    public func drainCluster(_ id: String, into successor: String? = nil) async throws {
        let services = try await running()
        let cluster = try services.cluster(named: id)
        let view = services.machines.management.withLock { $0 }
        let chosen: ClusterID?
        if let successor {
            chosen = try services.cluster(named: successor).id
        } else {
            chosen =
                view.clusters.members.map(\.value)
                .filter { $0.id != cluster.id && $0.isActive && $0.pinnedType == cluster.pinnedType }
                .min { ($0.activeCount, $0.id) < ($1.activeCount, $1.id) }?.id
        }
        try await services.manage([.drainCluster(cluster.id, into: chosen)])
    }

    /// Takes a drain back.
    public func resumeCluster(_ id: String) async throws {
        let services = try await running()
        try await services.manage([.resumeCluster(try services.cluster(named: id).id)])
    }

    /// Gives a node's places in clusters to others, before it leaves; or takes that back.
    public func drainNode(_ node: NodeID, isDraining: Bool = true) async throws {
        try await running().manage([.drainNode(node, isDraining: isDraining)])
    }

    /// Changes who votes in the management group. All changes count together: an odd number has to be left.
    public func setRoles(_ roles: [NodeID: NodeRole]) async throws {
        let changes = roles.sorted { $0.key < $1.key }.map { ManagementOperation.changeNodeRole($0.key, $0.value) }
        try await running().manage(changes)
    }

    /// What each node of the fleet is in the management group.
    public func roles() async throws -> [NodeID: NodeRole] {
        try await running().machines.management.withLock { $0.nodes.mapValues(\.role) }
    }

    /// By what share the busiest node carries more than the mean, by the runs that it has or is to have.
    public func imbalance() async throws -> Double {
        let view = try await running().machines.management.withLock { $0 }
        return FleetLoad(view, FleetObservation(now: 0)).imbalance
    }

    /// How clusters are made, filled and moved.
    public func policy() async throws -> ExecutionClusterPolicy {
        try await running().machines.management.withLock { $0.policy }
    }

    /// Replaces the policy, for the whole fleet.
    public func setPolicy(_ policy: ExecutionClusterPolicy) async throws {
        try await running().manage([.setPolicy(policy)])
    }
}

extension NodeServices {
    func manage(_ operations: [ManagementOperation]) async throws { try await core.manage(operations) }

    func newClusterID() -> ClusterID {
        ClusterID(
            milliseconds: core.loop.wallNow.nanoseconds / 1_000_000,
            random: (environment.random(), environment.random()))
    }

    /// - Parameter name: an id, or as much of its beginning as no other has.
    func cluster(named name: String) throws -> ExecutionCluster {
        let view = machines.management.withLock { $0 }
        let found = view.clusters.members.map(\.value).filter { $0.id.text.hasPrefix(name.lowercased()) }
        guard !name.isEmpty, let cluster = found.first else {
            throw NodeError(.unknownCluster, "there is no cluster '\(name)'; flotilla cluster list shows them")
        }
        guard found.count == 1 else {
            throw NodeError(
                .unknownCluster, "'\(name)' is the beginning of \(found.count) clusters' ids; write more of it")
        }
        return cluster
    }

    /// Asks the members of clusters, each node once.
    func view(_ state: ManagementState, asking clusters: [ExecutionCluster]) async -> FleetView {
        var view = FleetView(state: state, observation: await observe(state))
        view.management = try? await managementGroup.membership()
        var questions: [NodeID: [GroupID]] = [:]
        for cluster in clusters {
            for node in cluster.members.keys { questions[node, default: []].append(cluster.group) }
        }
        await withTaskGroup(of: (NodeID, [GroupInspection]?).self) { group in
            for (node, groups) in questions.sorted(by: { $0.key < $1.key }) {
                group.addTask { (node, await self.inspect(groups, on: node)) }
            }
            for await (node, inspections) in group {
                guard let inspections else { continue }
                view.answering.insert(node)
                for inspection in inspections { view.inspections[inspection.group, default: [:]][node] = inspection }
            }
        }
        return view
    }

    private func inspect(_ groups: [GroupID], on node: NodeID) async -> [GroupInspection]? {
        let request = InspectGroups(groups: groups.sorted())
        return node == core.node ? try? await request.perform(on: self) : try? await router.perform(request, on: node)
    }
}

extension NodeCore {
    /// Lets management decide; together or not at all.
    /// - Throws: `NodeError` with `refused` and the reason.
    func manage(_ operations: [ManagementOperation]) async throws {
        let answer: Answer
        do {
            answer = try await hosted.group(NodeStart.managementGroup.group).propose(
                operations.map(\.encoded), ownerEpoch: 0)
        } catch let error as GroupError where error.code == .stopped {
            throw NodeError(.stopped, error.message)
        }
        guard answer.code != 0 else { return }
        let message = String(decoding: answer.body, as: UTF8.self)
        switch ManagementStateMachine.Refusal(rawValue: answer.code) {
        case .unknownCluster: throw NodeError(.unknownCluster, message)
        case .unknownNode: throw NodeError(.unknownNode, message)
        default: throw NodeError(.refused, message)
        }
    }
}
