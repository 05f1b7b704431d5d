/// What a batch of commands changed of the management state, for those who follow it: nearly always it is what clusters
/// report of their runs, several times a second, and then nothing has to be looked at besides those clusters.
struct ManagementChange: Hashable, Sendable {
    /// Nodes, clusters, their members, slots, orders, or the policy.
    var isStructural = false
    /// Clusters whose runs are others than before.
    var reported: Set<ClusterID> = []

    var isEmpty: Bool { !isStructural && reported.isEmpty }

    /// - Parameter state: before the operations.
    mutating func note(_ operations: [ManagementOperation], in state: ManagementState) {
        for operation in operations {
            guard case .reportWorkflows(let report) = operation, report.sealEpoch == 0 else {
                isStructural = true
                continue
            }
            reported.insert(report.cluster)
            // A run that was elsewhere has moved, perhaps by an order.
            for started in report.started { if let other = state.locations[started.key] { reported.insert(other) } }
        }
    }
}
