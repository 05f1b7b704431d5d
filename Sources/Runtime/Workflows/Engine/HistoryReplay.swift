import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Runs a workflow's body against a recorded history: what is recorded is handed to it, nothing else happens.
package struct HistoryReplay {
    /// Where code and history part.
    package struct Difference: Sendable {
        /// What the history has, in its order, and what the code asks for besides; those that only one of them has begin
        /// with "-" (recorded only) or "+" (asked for only).
        package var lines: [String]
        /// How the run ended, where the code ends otherwise.
        package var end: String?
    }

    private let history: WorkflowHistory
    private let definition: WorkflowDefinition

    /// - Throws: `WorkflowError` with `invalidInput` where the history cannot be replayed.
    package init(_ history: WorkflowHistory, against definition: WorkflowDefinition) throws {
        guard history.next == nil, history.input != nil, history.events.allSatisfy(\.isReplayable) else {
            throw WorkflowError(
                .invalidInput,
                "a replay needs a whole history with its values: wholeHistory(of:), or flotilla workflow history ID --json"
            )
        }
        guard !history.isUnreadable else {
            throw WorkflowError(
                .invalidInput, "the history has payloads that its node could not read; ask one that has their keys")
        }
        self.history = history
        self.definition = definition
    }

    /// - Returns: nil where the code does what is recorded.
    package func difference() async throws -> Difference? {
        let notes = ReplayNotes()
        let journal = CheckpointJournal(worker: ReplayWorker(), loop: ReplayLoop(), logger: .silent) {
            MemoryCheckpointStore()
        }
        let (key, run) = try record(in: journal)
        let environment = EngineEnvironment(
            client: ReplayClient(), group: Self.group,
            context: EngineContext(
                boot: 0, definitions: [:], checkpoints: journal, loop: ReplayLoop(), random: { 0 }),
            bells: RunBells(of: Lock(EngineState())))
        let execution = RunExecution(
            key: key, recorded: run, environment: environment, stop: Promise(), cancel: CancelRequest(),
            replay: notes)
        let result: RunResult
        do {
            result = .success(try await definition.run(run.input, WorkflowContext(execution: execution)))
        } catch let error as WorkflowError where error.code == .cancelled && execution.isCancelled {
            result = .cancelled
        } catch {
            result = .failure(WorkflowFailure(error))
        }
        return compare(notes, result)
    }

    // MARK: The record

    private static let group = GroupID(0)

    private func record(in journal: CheckpointJournal) throws -> (RunKey, Run) {
        let key = RunKey(defaultNamespace, history.info.workflowID)
        var run = Run(
            sequence: 1, runID: history.info.runID, type: definition.type, contentType: definition.contentType,
            input: history.input ?? [], startedAt: history.info.startedAt, status: .running)
        run.epoch = 1
        let owner = run.checkpointRun(key, in: Self.group)
        for event in history.events {
            let step = StepKey(event.name, event.occurrence)
            switch event.detail {
            case .step(let owner, let epoch, let attempt, let duration):
                let effort = StepEffort(
                    attempt: UInt32(clamping: attempt), duration: duration.clampedNanoseconds)
                run.steps.insert(
                    Run.Step(
                        value: event.value ?? [], epoch: epoch, recordedAt: event.recordedAt, owner: owner,
                        effort: effort), for: step)
            case .failedStep(let owner, let epoch, let attempt, let duration, let failure):
                let effort = StepEffort(
                    attempt: UInt32(clamping: attempt), duration: duration.clampedNanoseconds)
                run.attempts.insert(
                    StepAttempts(
                        startedAt: event.recordedAt, failedAt: event.recordedAt, failure: failure, owner: owner,
                        epoch: epoch, effort: effort), for: step)
            case .sleep(let deadline, let firedAt):
                run.timers.insert(
                    Run.Timer(deadline: deadline, startedAt: event.recordedAt, firedAt: firedAt), for: step)
            case .checkpoint:
                guard event.occurrence == run.checkpoints[step.name]?.count ?? 0 else {
                    throw WorkflowError(.invalidInput, "the history lacks a checkpoint before \(step)")
                }
                let record = CheckpointRecord(
                    sequence: event.occurrence, value: event.value ?? [], recordedAt: event.recordedAt)
                run.checkpoints.insert(
                    Run.Checkpoint(
                        count: event.occurrence + 1, value: record.value, recordedAt: event.recordedAt),
                    for: step.name)
                journal.append([.append(CheckpointKey(run: owner, name: step.name), record)])
            case .message, .receipt, .reply, .awakeable: try run.restoreMessages(event)
            }
        }
        return (key, run)
    }

    // MARK: The comparison

    private func compare(_ notes: ReplayNotes, _ result: RunResult) -> Difference? {
        let used = Set(notes.used)
        var lines: [String] = []
        var differs = false
        for event in history.events {
            // What others told the run is theirs; what it received counts.
            if case .message = event.detail { continue }
            let isUsed = used.contains(event.use)
            differs = differs || !isUsed
            lines.append((isUsed ? "  " : "- ") + Self.text(event.use))
        }
        let end = endDifference(notes, result)
        // Where both end alike, a wait without an end is one that a branch of the body gave up.
        let unrecorded = notes.unrecorded.first { end != nil || !$0.isWait }
        // A run that has not ended goes on behind what is recorded, and a terminated one would have.
        if let unrecorded, history.info.status.isFinished, history.info.status != .terminated {
            differs = true
            lines.append("+ " + Self.text(unrecorded))
        }
        return differs || end != nil ? Difference(lines: lines, end: end) : nil
    }

    private func endDifference(_ notes: ReplayNotes, _ result: RunResult) -> String? {
        let recorded: String
        switch history.info.status {
        case .completed: recorded = Self.text(.success(history.output ?? []))
        case .failed: recorded = history.failure.map { Self.text(.failure($0)) } ?? ""
        case .cancelled: recorded = Self.text(.cancelled)
        case .continued: recorded = Self.continued
        case .running, .parked, .paused, .terminated: return nil
        }
        let replayed = notes.hasContinued ? Self.continued : Self.text(result)
        return recorded == replayed ? nil : "recorded: \(recorded)\nreplayed: \(replayed)"
    }

    private static let continued = "continued as a new execution"

    private static func text(_ use: ReplayNotes.Use) -> String { "\(use.kind) \(use.key)" }

    private static func text(_ result: RunResult) -> String {
        switch result {
        case .success(let output):
            "completed with \(String(decoding: (try? JSONCoding.canonical(output)) ?? output, as: UTF8.self))"
        case .failure(let failure): "failed with \(failure)"
        case .cancelled: "cancelled"
        }
    }
}

extension ReplayNotes.Use {
    /// Whether it stands for a wait, of which nothing is recorded before its end.
    fileprivate var isWait: Bool {
        kind == .receipt || ["$condition/", "$event", "$childEnd/"].contains { key.name.text.hasPrefix($0) }
    }
}

extension WorkflowEvent {
    fileprivate var use: ReplayNotes.Use {
        let kind: EventPosition.Kind =
            switch detail {
            case .step, .failedStep: .step
            case .sleep: .sleep
            case .checkpoint: .checkpoint
            case .message: .message
            case .receipt: .receipt
            case .reply: .reply
            case .awakeable: .awakeable
            }
        return ReplayNotes.Use(kind: kind, key: StepKey(name, occurrence))
    }

    fileprivate var isReplayable: Bool {
        switch detail {
        case .step, .checkpoint, .message(_, _, nil), .reply(nil): value != nil
        case .failedStep, .sleep, .message, .reply, .receipt, .awakeable: true
        }
    }
}

// MARK: A world in which nothing happens

/// Never asked: what is not recorded ends the body's branch first.
private struct ReplayClient: GroupClient {
    var node: NodeID { NodeID(0) }
    private var refusal: GroupError { GroupError(.stopped, "nothing is recorded while a history is replayed") }

    func propose(_ operations: [Operation], ownerEpoch: UInt64) async throws -> Answer { throw refusal }
    func barrier() async throws { throw refusal }
    func withState<Result: Sendable>(
        _ body: @escaping @Sendable (any StateMachine) -> Result
    ) async throws -> Result { throw refusal }
}

/// Does its work where it is given.
private struct ReplayWorker: Worker {
    func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop
    ) {
        work()
        completion()
    }
    func shutdown() async {}
}

/// Time stands still: no sleep of a replay waits.
private final class ReplayLoop: Loop {
    var now: MonotonicTime { MonotonicTime(nanoseconds: 0) }
    var wallNow: WallTime { WallTime(nanoseconds: 0) }
    func execute(_ work: @escaping @Sendable () -> Void) { work() }
    func enqueue(_ job: consuming ExecutorJob) { preconditionFailure("no actor lives on a replay's loop") }
    func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> TimerToken {
        preconditionFailure("a replay waits for nothing")
    }
    func cancel(_ timer: TimerToken) {}
    func preconditionOnLoop() {}
}
