import FlotillaActors
import FlotillaRaft

/// The management state as a value. A copy costs a few references: what may be large is kept in pieces.
struct ManagementState: Sendable {
    /// The number of the first execution cluster's group; those below are for groups that all nodes have.
    static let firstClusterGroup = GroupID(16)

    var featureLevel: UInt32 = 1
    var nodes: [NodeID: ManagementStateMachine.Node] = [:]
    var clusters = BucketedMap<ClusterID, ExecutionCluster>()
    var policy = ExecutionClusterPolicy()
    var slots = SlotMap()
    /// What the next cluster's group will be called. It only rises: a node that was away while a cluster was destroyed
    /// knows by it that the cluster did exist.
    var nextGroup = ManagementState.firstClusterGroup

    /// Of nodes whose membership in a group has ended, by group: the number of that end, until the group's leader has
    /// confirmed that its own configuration holds no replica there.
    var departing: [NodeID: [GroupID: UInt64]] = [:]
    /// How often something was given up by force: a cluster destroyed with whatever it held, or founded anew with what was
    /// left. Until then each slot is held by somebody.
    var surrenders: UInt64 = 0
    /// What the next departure is called.
    var nextDeparture: UInt64 = 1

    // MARK: Computed: they follow from the clusters, and are rebuilt on restore

    /// Which cluster has which group.
    var clustersByGroup: [GroupID: ClusterID] = [:]
    /// The clusters that each node is a member of; nothing for a node in none.
    var memberships: [NodeID: Set<ClusterID>] = [:]
    /// Where each workflow id is said to run.
    var locations = BucketedMap<RunKey, ClusterID>(minimumBuckets: 64)

    // MARK: Applying

    /// Applies the operations of a command together or, where one is refused, none of them.
    /// - Parameter time: the group's time, in nanoseconds since 1970.
    /// - Returns: whether anything changed.
    mutating func apply(_ operations: [ManagementOperation], time: Int64) throws(ManagementRefused) -> Bool {
        var next = self
        var hasChanged = false
        for operation in operations { hasChanged = try next.apply(operation, time: time) || hasChanged }
        let changesRoles = operations.contains { if case .changeNodeRole = $0 { true } else { false } }
        if changesRoles { try next.checkVoters() }
        self = next
        return hasChanged
    }

    /// - Returns: whether anything changed.
    mutating func apply(_ operation: ManagementOperation, time: Int64) throws(ManagementRefused) -> Bool {
        switch operation {
        case .registerNode(let node): return try register(node, time: time)
        case .removeNode(let node, let instance): return try remove(node, instance: instance)
        case .changeNodeRole(let node, let role): return try changeNode(node) { $0.role = role }
        case .recoverCluster(let recovery): return try recover(recovery)
        case .confirmDeparture(let departure): return confirm(departure)
        case .drainNode(let node, let isDraining): return try changeNode(node) { $0.isDraining = isDraining }
        case .raiseFeatureLevel(let level): return try raiseFeatureLevel(to: level)
        case .createCommonCluster: return try createCommonCluster(time: time)
        case .beginMigration: return try beginMigration()
        case .setPolicy(let policy): return try setPolicy(policy)
        case .moveSlots(let move): return try moveSlots(move)
        case .createCluster(let creation): return try createCluster(creation, time: time)
        case .destroyCluster(let cluster, let epoch, let isForced):
            return try destroyCluster(cluster, sealEpoch: epoch, isForced: isForced)
        case .associateNode(let cluster, let node, let role): return try associate(node, with: cluster, as: role)
        case .disassociateNode(let cluster, let node): return try disassociate(node, from: cluster)
        case .drainCluster(let cluster, let successor): return try drainCluster(cluster, into: successor)
        case .resumeCluster(let cluster): return try resumeCluster(cluster)
        case .moveRuns(let from, let to, let count): return try moveRuns(from: from, to: to, count: count)
        case .reportWorkflows(let report): return take(report, time: time)
        }
    }

    // MARK: The fleet as a whole

    private mutating func raiseFeatureLevel(to level: UInt32) throws(ManagementRefused) -> Bool {
        guard level > featureLevel else { return false }
        if let node = nodes.values.filter({ $0.featureLevel < level }).map(\.node).min() {
            throw ManagementRefused(
                .featureLevelUnsupported, "\(node) does not support feature level \(level); upgrade it first")
        }
        featureLevel = level
        return true
    }

    private mutating func setPolicy(_ policy: ExecutionClusterPolicy) throws(ManagementRefused) -> Bool {
        if let problem = policy.problem { throw ManagementRefused(.invalidPolicy, problem) }
        guard policy != self.policy else { return false }
        self.policy = policy
        return true
    }

    private mutating func moveSlots(_ move: SlotMove) throws(ManagementRefused) -> Bool {
        guard move.version == slots.version else {
            throw ManagementRefused(
                .staleSlotMap, "the slot map has version \(slots.version), the change was made for \(move.version)")
        }
        guard move.slots.allSatisfy({ (0..<SlotMap.count).contains($0) }) else {
            throw ManagementRefused(.invalidSlots, "slots are numbered from 0 to \(SlotMap.count - 1)")
        }
        guard isHome(move.home) else {
            throw ManagementRefused(.unknownGroup, "\(move.home) runs no workflows, or is to be destroyed")
        }
        let version = slots.version
        slots.move(move.slots, to: move.home)
        return slots.version != version
    }

    /// Whether ids may be at home there.
    private func isHome(_ group: GroupID) -> Bool {
        cluster(of: group)?.isActive == true
    }

    /// The first group that runs workflows is the home of all ids.
    mutating func settleSlots(at group: GroupID) {
        if !slots.hasHomes { slots.move(0..<SlotMap.count, to: group) }
    }

    // MARK: Nodes

    private mutating func register(
        _ node: ManagementStateMachine.Node, time: Int64
    ) throws(ManagementRefused) -> Bool {
        var node = node
        let known = nodes[node.node]
        if let known, known.instance != node.instance {
            throw ManagementRefused(
                .duplicateNode, "\(node.node) is a member with another data directory; remove it, or choose another id")
        }
        if known == nil, let groups = departing[node.node], !mutated(.forgetsDepartures) {
            throw ManagementRefused(
                .nodeDeparting,
                "\(groups.keys.sorted().map(\.description).joined(separator: ", ")) may still count on what the "
                    + "\(node.node) that was removed had acknowledged; try again, and see that they have a majority")
        }
        guard node.featureLevel >= featureLevel else {
            throw ManagementRefused(
                .featureLevelUnsupported,
                "the cluster uses feature level \(featureLevel), \(node.node) supports \(node.featureLevel): upgrade it"
            )
        }
        node.joinedAt = known?.joinedAt ?? time
        node.role = known?.role ?? (nodes.isEmpty ? .voter : .learner)
        node.isDraining = known?.isDraining ?? false
        guard node != known else { return false }
        nodes[node.node] = node
        if clusters[ExecutionCluster.common]?.spansFleet == true { joinCommonCluster(node.node) }
        return true
    }

    /// Its places go with it, unless a cluster has no other voter: what that one holds is nowhere else.
    private mutating func remove(_ node: NodeID, instance: UInt64?) throws(ManagementRefused) -> Bool {
        guard let known = nodes[node], instance ?? known.instance == known.instance else {
            throw ManagementRefused(.unknownNode, "\(node) is no member")
        }
        guard nodes.count > 1 else {
            throw ManagementRefused(.lastNode, "\(node) is the last node; it cannot be removed")
        }
        for id in memberships[node] ?? [] where clusters[id]?.voters == [node] {
            throw ManagementRefused(
                .lastVoter,
                "\(node) is the only voter of \(id): add another one, or destroy the cluster by force, with all it holds"
            )
        }
        for cluster in clusters(on: node) {
            _ = clusters.update(cluster.id) { $0.members[node] = nil }
            depart(node, from: cluster.group)
        }
        depart(node, from: Self.group)
        memberships[node] = nil
        nodes[node] = nil
        settleVoters()
        return true
    }

    private mutating func changeNode(
        _ node: NodeID, _ change: (inout ManagementStateMachine.Node) -> Void
    ) throws(ManagementRefused) -> Bool {
        guard let known = nodes[node] else { throw ManagementRefused(.unknownNode, "\(node) is no member") }
        var changed = known
        change(&changed)
        nodes[node] = changed
        return changed != known
    }
}

/// Gives slots another home.
struct SlotMove: Hashable, Sendable {
    /// Of the map that it was made for.
    var version: UInt64
    var slots: [Int]
    var home: GroupID
}
