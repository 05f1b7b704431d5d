import FlotillaRaft

/// What the HTTP interface asks of a node. Every one of them may be asked of any node.
protocol NodeOperations: Sendable {
    var id: NodeID { get }
    /// - Returns: the run, and whether this call started it.
    func startWorkflow(
        type: String, version: UInt32?, id: String?, namespace: String, input: JSONValue, attributes: [String: String],
        trace: TraceContext?
    ) async throws -> (info: WorkflowInfo, isNew: Bool)
    /// - Returns: nil if there is no such run.
    func describeWorkflow(_ id: String, namespace: String) async throws -> WorkflowDescription?
    /// - Returns: nil if there is no such run.
    func listCheckpoints(
        _ key: String, of id: String, namespace: String, from start: UInt64, limit: Int
    ) async throws -> CheckpointPage?
    /// - Parameter after: as the page before named it; nil for the first page.
    /// - Returns: nil if there is no such run.
    func workflowHistory(
        of id: String, namespace: String, after: String?, limit: Int, withValues: Bool
    ) async throws -> WorkflowHistory?
    /// - Returns: the run as it stands then.
    func controlWorkflow(
        _ id: String, namespace: String, _ action: WorkflowAction, reason: String
    ) async throws -> WorkflowInfo
    /// - Parameter sender: whoever sends several; nil for a single one.
    func signalWorkflow(
        _ id: String, namespace: String, name: String, value: JSONValue, from sender: (name: String, number: UInt64)?
    ) async throws
    /// - Parameter updateID: nil for a new one.
    /// - Returns: the update's id, and what became of it; nil when `wait` is over.
    func updateWorkflow(
        _ id: String, namespace: String, name: String, input: JSONValue, updateID: String?, wait: Duration
    ) async throws -> (id: String, outcome: UpdateOutcome?)
    /// - Returns: JSON.
    func queryWorkflow(_ id: String, namespace: String, name: String, input: JSONValue) async throws -> [UInt8]
    /// - Parameter value: nil rejects it with `reason`.
    func completeAwakeable(_ token: String, value: JSONValue?, reason: String) async throws
    /// Waits for what a run emits behind a place.
    /// - Returns: nil if there is no such run.
    func streamWorkflow(
        _ id: String, namespace: String, stream: String, after: String?, limit: Int, wait: Duration
    ) async throws -> WorkflowStreamPage?
    /// - Parameter newID: nil for a new one.
    /// - Returns: the new run, and whether this call started it.
    func forkWorkflow(
        _ id: String, namespace: String, from step: String, occurrence: UInt64, newID: String?
    ) async throws -> (info: WorkflowInfo, isNew: Bool)
    /// - Parameter callID: nil for a new one.
    /// - Returns: the call's id, and what came of it; nil when `wait` is over.
    func callObject(
        _ object: String, _ key: String, _ method: String, input: JSONValue, callID: String?, wait: Duration
    ) async throws -> (id: String, answer: ObjectCall.Answer?)
    /// - Returns: nil if it was never called.
    func objectState(_ object: String, _ key: String) async throws -> JSONValue?
    func pruneWorkflow(_ id: String, namespace: String) async throws
    /// - Returns: how many runs were removed, and whether there are more to remove.
    func pruneWorkflows(
        namespace: String, keeping retention: WorkflowRetention, limit: Int
    ) async throws -> (count: Int, hasMore: Bool)
    /// Waits for the end of a run, `wait` at most.
    /// - Returns: the run as it then stands; nil if there is no such run.
    func awaitWorkflow(_ id: String, namespace: String, wait: Duration) async throws
        -> WorkflowDescription?
    /// - Parameter after: as the page before named it; nil for the first page.
    func listWorkflows(
        namespace: String, _ filter: WorkflowFilter, after: String?, limit: Int
    ) async throws -> WorkflowPage
    func countWorkflows(namespace: String, _ filter: WorkflowFilter) async throws -> WorkflowCount
    func createSchedule(_ name: String, _ schedule: Schedule, isPaused: Bool) async throws -> ScheduleDescription
    func schedule(_ name: String) async throws -> ScheduleDescription
    func schedules() async throws -> [ScheduleDescription]
    func changeSchedule(_ name: String, _ command: ScheduleCommand) async throws -> ScheduleDescription
    func deleteSchedule(_ name: String) async throws
    func workflowVersions() async throws -> WorkflowVersions
    func status(withHashes: Bool) async throws -> NodeStatus
    /// What the node has counted since it started, in the order in which it is shown.
    func counters() async throws -> [NodeCounter]
    func figures() async throws -> FleetFigures
    func removeNode(_ id: NodeID) async throws

    // What they are is said at `Node`.
    func fleet() async throws -> FleetStatus
    func cluster(_ id: String) async throws -> ClusterStatus
    func createCluster(on nodes: [NodeID]?, pinnedType type: String?) async throws -> String
    func destroyCluster(_ id: String, isForced: Bool) async throws
    func addMember(_ node: NodeID, toCluster id: String, asLearner: Bool) async throws
    func removeMember(_ node: NodeID, fromCluster id: String) async throws
    func drainCluster(_ id: String, into successor: String?) async throws
    func resumeCluster(_ id: String) async throws
    func recoveryPlan(ofCluster id: String) async throws -> ClusterRecoveryPlan
    func recoverCluster(_ id: String, isForced: Bool) async throws -> ClusterRecoveryPlan
    func drainNode(_ node: NodeID, isDraining: Bool) async throws
    func setRoles(_ roles: [NodeID: NodeRole]) async throws
    func policy() async throws -> ExecutionClusterPolicy
    func setPolicy(_ policy: ExecutionClusterPolicy) async throws
}

/// Something that a node counts; it only rises, and starts at zero with the process.
struct NodeCounter: Hashable, Sendable {
    /// Without the prefix and the suffix that Prometheus' conventions ask for.
    var name: String
    var help: String
    var value: UInt64
}
