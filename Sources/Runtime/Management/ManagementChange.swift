import FlotillaRaft

/// What a batch of commands changed of the management state, so that whoever follows it looks at that and no more. Nearly
/// always it is what clusters report of their runs, several times a second.
struct ManagementChange: Hashable, Sendable {
    /// Something else than what runs where.
    var isStructural = false
    /// The state was replaced.
    var isWhole = false
    /// Which nodes there are, where they are reached, and who of them votes.
    var hasNodes = false
    /// Groups of clusters that are new or gone, have other members, another phase or incarnation, other orders or slots.
    var groups: Set<GroupID> = []
    /// Clusters whose runs are others than before.
    var reported: Set<ClusterID> = []

    var isEmpty: Bool { !isStructural && reported.isEmpty }

    /// The state was replaced.
    static let whole = ManagementChange(isStructural: true, isWhole: true, hasNodes: true)

    mutating func note(_ operations: [ManagementOperation], from before: ManagementState, to after: ManagementState) {
        for operation in operations {
            if case .reportWorkflows(let report) = operation {
                reported.insert(report.cluster)
                // A run that was elsewhere has moved, perhaps by an order.
                for started in report.started {
                    if let other = before.locations[started.key] { reported.insert(other) }
                }
                if report.sealEpoch == 0 { continue }
            }
            isStructural = true
            switch operation {
            case .registerNode, .removeNode, .changeNodeRole, .drainNode: hasNodes = true
            default: break
            }
            for id in operation.clusters(before, after) {
                if let group = (after.clusters[id] ?? before.clusters[id])?.group { groups.insert(group) }
            }
            if case .moveSlots(let move) = operation {
                for slot in move.slots where before.slots[slot].epoch > 0 { groups.insert(before.slots[slot].home) }
                groups.insert(move.home)
            }
        }
    }
}

extension ManagementOperation {
    /// Which clusters it is about, beside their runs.
    fileprivate func clusters(_ before: ManagementState, _ after: ManagementState) -> Set<ClusterID> {
        switch self {
        case .registerNode(let node): after.memberships[node.node] ?? []
        case .removeNode(let node, _): before.memberships[node] ?? []
        case .createCommonCluster, .beginMigration: [ExecutionCluster.common]
        case .createCluster(let creation): [creation.cluster]
        case .recoverCluster(let recovery): [recovery.cluster]
        case .reportWorkflows(let report): [report.cluster]
        case .destroyCluster(let id, _, _), .associateNode(let id, _, _), .disassociateNode(let id, _),
            .drainCluster(let id, _), .resumeCluster(let id), .moveRuns(let id, _, _):
            [id]
        case .raiseFeatureLevel, .changeNodeRole, .setPolicy, .moveSlots, .drainNode, .confirmDeparture: []
        }
    }
}
