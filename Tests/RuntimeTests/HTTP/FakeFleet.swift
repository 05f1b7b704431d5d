import FlotillaIO
import FlotillaRaft

@testable import Flotilla

// What the fake node says of a fleet of three nodes with one cluster. Changes are noted, not made.

extension FakeNode {
    static let clusterID = ClusterID(milliseconds: 1_700_000_000_000, random: (1, 2))

    static let fleetState: ManagementState = {
        var state = ManagementState()
        var operations: [ManagementOperation] = []
        for number in 1...3 as ClosedRange<UInt64> {
            operations.append(.registerNode(ManagementBench.node(number, labels: [NodeLabel("zone", "z\(number)")])))
        }
        operations.append(
            .createCluster(ClusterCreation(cluster: clusterID, founders: [1, 2, 3].map { NodeID($0) })))
        do {
            _ = try state.apply(operations, time: 1_000_000)
        } catch {
            preconditionFailure("\(error)")
        }
        return state
    }()

    func fleet() async throws -> FleetStatus {
        FleetView(state: Self.fleetState, observation: FleetObservation(now: 0)).fleet
    }

    func cluster(_ id: String) async throws -> ClusterStatus {
        guard Self.clusterID.text.hasPrefix(id) else { throw NodeError(.unknownCluster, "there is no cluster '\(id)'") }
        return try await fleet().clusters[0]
    }

    func createCluster(on nodes: [NodeID]?, pinnedType type: String?) async throws -> String {
        try note("create \(nodes.map { "\($0.map(\.rawValue))" } ?? "any") \(type ?? "")")
        return Self.clusterID.text
    }

    func destroyCluster(_ id: String, isForced: Bool) async throws { try note("destroy \(id) \(isForced)") }
    func addMember(_ node: NodeID, toCluster id: String, asLearner: Bool) async throws {
        try note("add \(node.rawValue) \(id) \(asLearner)")
    }
    func removeMember(_ node: NodeID, fromCluster id: String) async throws { try note("remove \(node.rawValue) \(id)") }
    func drainCluster(_ id: String, into successor: String?) async throws {
        try note("drain \(id) \(successor ?? "any")")
    }
    func resumeCluster(_ id: String) async throws { try note("resume \(id)") }
    func recoveryPlan(ofCluster id: String) async throws -> ClusterRecoveryPlan {
        ClusterRecoveryPlan(
            cluster: Self.clusterID.text, incarnation: 2, survivor: 3,
            candidates: [
                .init(node: 3, incarnation: 1, lastTerm: 2, lastIndex: 40, commitIndex: 38, isDamaged: false)
            ], givenUp: [1, 2], lost: [1, 2], members: [3, 4], unconfirmedEntries: 2, slots: 0,
            isCarriedOut: false)
    }
    func recoverCluster(_ id: String, isForced: Bool) async throws -> ClusterRecoveryPlan {
        try note("recover \(id) \(isForced)")
        var plan = try await recoveryPlan(ofCluster: id)
        plan.isCarriedOut = true
        return plan
    }
    func drainNode(_ node: NodeID, isDraining: Bool) async throws { try note("node \(node.rawValue) \(isDraining)") }
    func setRoles(_ roles: [NodeID: NodeRole]) async throws {
        try note(roles.sorted { $0.key < $1.key }.map { "\($0.key.rawValue)=\($0.value)" }.joined(separator: " "))
    }
    func policy() async throws -> ExecutionClusterPolicy { ExecutionClusterPolicy() }
    func setPolicy(_ policy: ExecutionClusterPolicy) async throws {
        try note("policy \(policy.maximumWorkflowsPerCluster) \(policy.strategy.name) \(policy.idleTimeToLive)")
    }

    private func note(_ change: String) throws {
        calls.withLock { $0.changes.append(change) }
        try answers.change.get()
    }
}
