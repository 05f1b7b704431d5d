public import FlotillaActors
import FlotillaIO
public import FlotillaRaft

/// The workflows of one group. Confined to the group's loop.
public final class WorkflowStateMachine: StateMachine {
    public static let formatVersion = WorkflowSnapshot.formatVersion

    private(set) var state = WorkflowState()

    /// Told on the loop of what changed. The engine of this node sets itself here.
    weak var observer: (any WorkflowObserver)?
    /// The group has ended on this node.
    private(set) var hasStopped = false

    /// What changed at which entry.
    var activity = RunActivity(isWhole: true)
    /// Whether this replica leads its group.
    private var isLeader = false
    /// Told, on the leader, that something happened which others may want to know.
    private let attention: @Sendable (GroupID) -> Void
    /// Told, on the leader, that the group may owe something to other groups; see `ClusterSteward`.
    private let deliveries: @Sendable (GroupID) -> Void
    /// Told, on the leader, that runs may have something to tell others; see `PostCourier`.
    private let posts: @Sendable (GroupID) -> Void

    private let group: GroupID
    let checkpoints: CheckpointJournal
    private let types: WorkflowTypeSets
    private lazy var checkpointCompanion = CheckpointCompanion(group: group, journal: checkpoints)

    /// - Parameters:
    ///   - types: shared by the groups of a node.
    ///   - attention: called on the loop, on the leader alone, when there may be something to report or to do.
    ///   - deliveries: the same when there may be something that other groups must hear, which is seldom.
    ///   - posts: the same when a run has something to tell another one.
    package init(
        group: GroupID, checkpoints: CheckpointJournal, types: WorkflowTypeSets = WorkflowTypeSets(),
        attention: @escaping @Sendable (GroupID) -> Void = { _ in },
        deliveries: @escaping @Sendable (GroupID) -> Void = { _ in },
        posts: @escaping @Sendable (GroupID) -> Void = { _ in }
    ) {
        self.group = group
        self.types = types
        self.attention = attention
        self.deliveries = deliveries
        self.posts = posts
        self.checkpoints = checkpoints
    }

    /// How many results of steps and checkpoints were applied since this replica was made. Not part of the state.
    private(set) var recordedCheckpoints: UInt64 = 0

    // MARK: StateMachine

    public func isForOthers(_ operation: Operation) -> Bool { !WorkflowOperation.recordsStep(operation) }

    public func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError)
        -> Answer
    {
        guard command.kind == .workflow else {
            throw ApplyError(
                .unknownCommand, "a command for a \(command.kind) group at index \(index)")
        }
        var operations: [WorkflowOperation] = []
        operations.reserveCapacity(command.operations.count)
        for operation in command.operations { operations.append(try WorkflowOperation(operation)) }
        let context = ApplyContext(
            group: group, namespace: command.namespace, ownerEpoch: command.ownerEpoch, time: time)
        var arrived: TransferredRun?
        if case .transfer(.importRun(let part))? = operations.first { arrived = try state.arrival(of: part) }
        let (changesBefore, departuresBefore) = (state.changes.runs.count, state.changes.departures.count)
        defer {
            for key in state.changes.runs[changesBefore...] { activity.note(key, at: index) }
            for move in state.changes.departures[departuresBefore...] {
                activity.noteMove(of: move.run, to: move.group, at: index)
            }
        }
        do throws(Refused) {
            let results = try applyAll(operations, context, arrived)
            for (operation, result) in zip(operations, results) where operation.isCheckpoint && !result.wasDone {
                recordedCheckpoints += 1
            }
            return WorkflowAnswer.applied(results).encoded
        } catch {
            return WorkflowAnswer.refused(error.code, error.message).encoded
        }
    }

    public func didApplyBatch() {
        let changes = state.changes
        state.changes = WorkflowChanges()
        if changes.executors { state.shareTypes(in: types) }
        checkpoints.append(changes.checkpoints)
        if isLeader, changes.deliveries { deliveries(group) }
        if isLeader, changes.posts { posts(group) }
        // A seal changes no run, and is to be reported all the same.
        let isSealed = changes.deliveries && state.transfers.sealEpoch != nil
        if isLeader, isSealed || !changes.isEmpty { attention(group) }
        guard !changes.isEmpty else { return }
        observer?.workflowsDidChange(changes, in: self)
    }

    public func roleDidChange(isLeader: Bool) {
        self.isLeader = isLeader
        if isLeader { callAttention() }
    }

    private func callAttention() {
        attention(group)
        deliveries(group)
        if state.debtors.count > 0 { posts(group) }
    }

    public func beginIncarnation(_ incarnation: UInt64) { state.beginIncarnation(incarnation) }

    public func didStop() {
        hasStopped = true
        observer?.groupDidStop()
    }

    /// A snapshot refers to the history of everything that was applied.
    public func snapshotView() -> any SnapshotView {
        checkpoints.append(state.changes.checkpoints)
        state.changes.checkpoints = []
        return WorkflowSnapshot(state, checkpoints)
    }

    /// Checkpoints that are not on the disk are in memory.
    public var isReadyToApply: Bool { checkpoints.hasRoom }

    public var companion: (any StateCompanion)? { checkpointCompanion }

    /// A state as a snapshot held it.
    public struct Decoded: Sendable {
        let state: WorkflowState
    }

    public static func decode(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) -> Decoded {
        Decoded(state: try WorkflowSnapshot.state(from: bytes, formatVersion: formatVersion))
    }

    public func restore(_ decoded: Decoded) {
        let before = state
        state = decoded.state
        state.shareTypes(in: types)
        activity = RunActivity(isWhole: false)
        if isLeader { callAttention() }
        // What the others removed meanwhile this node will not be told to remove any more.
        let kept = Set(state.recordedRuns.map { $0.run.checkpointRun($0.key, in: group) })
        for (key, run) in before.recordedRuns where run.hasHistory {
            let owner = run.checkpointRun(key, in: group)
            if !kept.contains(owner) { state.changes.checkpoints.append(.remove(owner)) }
        }
    }

    /// The operations together or none of them. A single one checks before it changes; a list is tried on an excerpt
    /// first, because a later one is checked against what the earlier ones made.
    private func applyAll(
        _ operations: [WorkflowOperation], _ context: ApplyContext, _ arrived: TransferredRun?
    ) throws(Refused) -> [OperationResult] {
        if operations.count == 1 { return [try state.apply(operations[0], context, arrived: arrived)] }
        for case .transfer(let operation) in operations where operation.standsAlone {
            throw Refused(.wrongState, "an operation that stands alone in its command came with others")
        }
        let ids = operations.compactMap(\.workflowID)
        var excerpt = state.excerpt(Set(ids.map { RunKey(context.namespace, $0) }))
        for operation in operations { _ = try excerpt.apply(operation, context) }
        var results: [OperationResult] = []
        results.reserveCapacity(operations.count)
        do throws(Refused) {
            for operation in operations { results.append(try state.apply(operation, context)) }
        } catch {
            preconditionFailure(
                "operations \(operations) passed on an excerpt and were refused: \(error.message)")
        }
        return results
    }
}

extension WorkflowOperation {
    /// Whether it records a value for good.
    fileprivate var isCheckpoint: Bool {
        switch self {
        case .recordStep, .setCheckpoint: true
        default: false
        }
    }
}

/// Whoever waits for runs to change. Called on the group's loop: it must be short.
protocol WorkflowObserver: AnyObject, Sendable {
    func workflowsDidChange(_ changes: WorkflowChanges, in machine: WorkflowStateMachine)
    /// The last call.
    func groupDidStop()
}

// MARK: What the node asks

extension WorkflowStateMachine {
    /// A node that runs workflows.
    public struct Executor: Hashable, Sendable {
        /// The node's id.
        public var node: NodeID
        /// The start of the node that registered it.
        public var boot: UInt64
        /// Which of the node's registrations is current; see `WorkflowOperations.loseExecutor`.
        public var registration: UInt64
        /// Whether the group holds it to be alive.
        public var isAlive: Bool
        /// What it can run.
        public var capabilities: [WorkflowType]
        /// How many running runs it owns.
        public var ownedRuns: Int
    }

    /// The runs that the history of checkpoints knows. Loop only.
    var checkpointedRuns: [CheckpointRun] {
        state.startOrder.elements.compactMap { _, key in
            guard let run = state.runs[key], run.hasHistory else { return nil }
            return run.checkpointRun(key, in: group)
        }
    }

    /// All nodes that ever registered, by id. Loop only.
    public var executors: [Executor] {
        state.executors.map { node, executor in
            Executor(
                node: node, boot: executor.boot, registration: executor.registration,
                isAlive: executor.isAlive,
                capabilities: executor.capabilities.sorted(),
                ownedRuns: state.owned[node]?.count ?? 0)
        }
    }

    /// How many runs there are of each status. Loop only.
    public func count(of status: WorkflowStatus) -> Int { state.counts[status] ?? 0 }

    /// Equal on replicas that applied the same commands: FNV-1a (Fowler, Noll, Vo), 64 bits, over the serialised
    /// state. Takes time in proportion to the state.
    public var stateHash: UInt64 {
        snapshotView().serialize().reduce(0xCBF2_9CE4_8422_2325) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01B3
        }
    }
}
