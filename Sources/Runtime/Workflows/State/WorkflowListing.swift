public import FlotillaRaft

/// What a list tells of a run. Times are the group's, in nanoseconds since 1970.
public struct WorkflowInfo: Hashable, Codable, Sendable {
    /// The user's name for the work.
    public var workflowID: String
    /// Tells the run from others that had its id before.
    public var runID: RunID
    /// Counts the executions of the run, from 1; see `WorkflowContext.continueAsNew`.
    public var execution: UInt64 = 1
    /// The name of its workflow.
    public var type: String
    /// The version of its workflow, which stays.
    public var version: UInt32
    /// Where it stands.
    public var status: WorkflowStatus
    /// When its start was recorded.
    public var startedAt: Int64
    /// Nil while it has not ended.
    public var finishedAt: Int64?
    /// Nil while it is parked; the last owner once it has ended.
    public var owner: NodeID?
    /// Why a parked run waits.
    public var parkedReason: String?
    /// Why it was terminated or paused, or else is to be cancelled; empty where nobody said why, nil where none of this
    /// was asked.
    public var reason: String?
    /// When it was asked to end, if it was.
    public var cancelRequestedAt: Int64?
    /// What it was started with, and what its body has set since.
    public var attributes: [String: String] = [:]
    /// The workflow id of the run that started it, if one did.
    public var parent: String?

    init(
        workflowID: String, runID: RunID, type: String, version: UInt32, status: WorkflowStatus, startedAt: Int64
    ) {
        self.workflowID = workflowID
        self.runID = runID
        self.type = type
        self.version = version
        self.status = status
        self.startedAt = startedAt
    }

    init(_ run: Run, key: RunKey) {
        workflowID = key.workflowID.text
        runID = run.runID
        type = run.type.name
        version = run.type.version
        status = run.status
        startedAt = run.startedAt
        finishedAt = run.finishedAt
        owner = run.owner
        parkedReason = run.parkedReason
        reason = (run.intervention ?? run.cancellation)?.reason
        cancelRequestedAt = run.cancellation?.requestedAt
        attributes = run.attributes.texts
        execution = run.execution
        parent = run.ties?.parent?.workflowID
    }
}

/// All that is known of a run.
public struct WorkflowDescription: Hashable, Codable, Sendable {
    /// A step that has a result.
    public struct Step: Hashable, Codable, Sendable {
        /// The step's name.
        public var name: String
        /// Counts the uses of the name, from 0.
        public var occurrence: UInt64
        /// JSON.
        @Base64 public var value: [UInt8]
        /// The fencing token of the owner that recorded it.
        public var epoch: UInt64
        /// In nanoseconds since 1970, by the group's time.
        public var recordedAt: Int64
        /// Who recorded it.
        public var owner: NodeID
        /// Counts the attempts of that owner, from 1.
        public var attempt: Int
        /// Of the last attempt.
        public var duration: Duration
    }
    /// A sleep.
    public struct Timer: Hashable, Codable, Sendable {
        /// The sleep's name.
        public var name: String
        /// Counts the uses of the name, from 0.
        public var occurrence: UInt64
        /// When it is over, in nanoseconds since 1970.
        public var deadline: Int64
        /// Whether it is over.
        public var hasFired: Bool
    }
    /// A step that failed, or waits for another attempt.
    public struct FailedStep: Hashable, Codable, Sendable {
        /// The step's name.
        public var name: String
        /// Counts the uses of the name, from 0.
        public var occurrence: UInt64
        /// How many attempts have failed.
        public var attempts: Int
        /// When the last one failed, in nanoseconds since 1970.
        public var failedAt: Int64
        /// When the next attempt may begin; nil where there is none.
        public var nextAt: Int64?
        /// The last one's.
        public var failure: WorkflowFailure
    }
    /// How far a step is that has no result yet.
    public struct Progress: Hashable, Codable, Sendable {
        /// The step's name.
        public var name: String
        /// Counts the uses of the name, from 0.
        public var occurrence: UInt64
        /// In JSON, what its body told last of what is recorded.
        @Base64 public var value: [UInt8]
        /// Which attempt told it, from 1.
        public var attempt: Int
        /// The node of that attempt.
        public var owner: NodeID
        /// In nanoseconds since 1970, by the group's time.
        public var recordedAt: Int64
    }
    /// The last of the values recorded under a key.
    public struct Checkpoint: Hashable, Codable, Sendable {
        /// The key.
        public var key: String
        /// How many values the key has had.
        public var count: UInt64
        /// The last one, in JSON.
        @Base64 public var value: [UInt8]
        /// When the last one was recorded, in nanoseconds since 1970.
        public var recordedAt: Int64
    }

    /// What a list tells of it.
    public var info: WorkflowInfo
    /// Why it does not go on, as far as that is recorded; empty where it computes, and once it has ended.
    public var waits: [WorkflowWait]
    /// The current fencing token; it rises with every change of the owner.
    public var epoch: UInt64
    /// Canonical JSON.
    @Base64 public var input: [UInt8]
    /// In the order of recording: those that are in memory, which of each name are the latest.
    public var steps: [Step]
    /// How many more have a result; `history(of:after:limit:withValues:)` tells them all.
    public var earlierSteps: UInt64
    /// By name.
    public var failedSteps: [FailedStep]
    /// By name.
    public var progress: [Progress]
    /// By name.
    public var timers: [Timer]
    /// By key; `checkpoints(_:of:from:limit:)` has the values before the last.
    public var checkpoints: [Checkpoint]
    /// JSON; nil unless it completed.
    @Base64 public var output: [UInt8]? = nil
    /// Nil unless it failed.
    public var failure: WorkflowFailure?
    /// What its start came with.
    public var trace: TraceContext?
    /// Of a fork: the workflow id and the step that it was forked from.
    public var forkedFrom: String?

    init(_ run: Run, key: RunKey) {
        trace = run.trace
        forkedFrom = run.fork.map { "\($0.source.workflowID) at \($0.step)" }
        info = WorkflowInfo(run, key: key)
        waits = run.waits
        epoch = run.epoch
        input = run.input
        earlierSteps = run.archivedStepCount
        steps = run.steps.members.map { key, step in
            Step(
                name: key.name.text, occurrence: key.occurrence, value: step.value,
                epoch: step.epoch, recordedAt: step.recordedAt, owner: step.owner, attempt: Int(step.effort.attempt),
                duration: .nanoseconds(step.effort.duration))
        }
        steps.sort {
            ($0.recordedAt, $0.name, $0.occurrence) < ($1.recordedAt, $1.name, $1.occurrence)
        }
        failedSteps = run.attempts.sorted().map { key, attempts in
            FailedStep(
                name: key.name.text, occurrence: key.occurrence, attempts: Int(attempts.effort.attempt),
                failedAt: attempts.failedAt, nextAt: attempts.nextAt, failure: attempts.failure)
        }
        progress = run.progress.filter { !$0.value.value.isEmpty }.sorted { $0.key < $1.key }.map { key, progress in
            Progress(
                name: key.name.text, occurrence: key.occurrence, value: progress.value,
                attempt: Int(progress.attempt), owner: progress.owner, recordedAt: progress.recordedAt)
        }
        timers = run.timers.sorted().map { key, timer in
            Timer(
                name: key.name.text, occurrence: key.occurrence, deadline: timer.deadline,
                hasFired: timer.hasFired)
        }
        checkpoints = run.checkpoints.sorted().map { key, checkpoint in
            Checkpoint(
                key: key.text, count: checkpoint.count, value: checkpoint.value, recordedAt: checkpoint.recordedAt)
        }
        output = run.output
        failure = run.failure
    }
}

/// A run and its place in its group's order of starts.
struct ListedRun: Hashable, Codable, Sendable {
    var info: WorkflowInfo
    var position: UInt64
}

extension WorkflowState {
    /// One look at up to `examine` runs behind `position` in the order of the starts.
    /// - Returns: the matching ones, `limit` at most, and where to go on; nil at the end.
    func list(
        namespace: String, _ filter: WorkflowFilter, after position: UInt64, limit: Int,
        examine: Int
    ) -> (runs: [ListedRun], position: UInt64, isAtEnd: Bool) {
        var found: [ListedRun] = []
        var position = position
        let examined = startOrder.elements(after: position, limit: examine)
        for (sequence, key) in examined {
            guard found.count < limit else { return (found, position, false) }
            position = sequence
            guard key.namespace == ByteText(namespace), let run = runs[key], filter.includes(run)
            else { continue }
            found.append(ListedRun(info: WorkflowInfo(run, key: key), position: sequence))
        }
        return (found, position, startOrder.elements(after: position, limit: 1).isEmpty)
    }
}

/// A part of a key's history.
public struct CheckpointPage: Hashable, Codable, Sendable {
    /// One of the values recorded under the key.
    public struct Checkpoint: Hashable, Codable, Sendable {
        /// Counts the key's values, from 0.
        public var number: UInt64
        /// JSON.
        @Base64 public var value: [UInt8]
        /// In nanoseconds since 1970.
        public var recordedAt: Int64
    }
    /// In the order of their recording.
    public var checkpoints: [Checkpoint]
    /// The number to go on from; nil at the end.
    public var next: UInt64?
}
