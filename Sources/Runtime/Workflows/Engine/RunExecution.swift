import FlotillaActors
import FlotillaIO

/// One run on the node that owns it: what is recorded, what runs, and how it is stopped.
final class RunExecution: Sendable {
    /// Why a run stops on this node.
    enum Stop: Sendable {
        /// The body has ended.
        case ended
        /// The run has another owner, or none.
        case lost
        /// The run was ended from outside.
        case terminated
        /// It only waits.
        case rests
        /// What is recorded is not what the code asks for.
        case mismatch
        /// The node or the group stops.
        case shutdown
    }

    struct Progress {
        var steps: [ByteText: UInt64] = [:]
        var timers: [ByteText: UInt64] = [:]
        var checkpoints: [ByteText: UInt64] = [:]
        /// The value that each key has at this point of the body.
        var latestCheckpoints: [ByteText: [UInt8]] = [:]
        /// What earlier owners recorded and the history has, as far as it was read.
        var replayed: [ByteText: [CheckpointRecord]] = [:]
        /// What runs now, for the check on names and for the log.
        var running: Set<String> = []
        var looks: [ByteText: UInt64] = [:]
        /// Of messages, by mailbox.
        var asks: [ByteText: UInt64] = [:]
        var awakeables: [ByteText: UInt64] = [:]
        var conditions: [ByteText: UInt64] = [:]
        var queries: [ByteText: QueryAnswer] = [:]
        var patches: [ByteText: Bool] = [:]
        /// Ends of children that the body has asked for.
        var metEnds: Set<StepKey> = []
        /// How much of the record the body has met again.
        var metCount: UInt64 = 0
        /// Where the body heard first that it is to end, in this life of it or in an earlier one.
        var cancellationPlace: String?
        /// It has been there.
        var isCancelled = false
        var activity: Activity
        /// Nothing may be recorded any more.
        var isOver = false
        var isTerminated = false
        var bodyHasEnded = false
        /// What of the record cannot be read on this node; the run has stopped here.
        var unreadable: WorkflowError?
        /// What the code asks for, and the record has as something else; the run has stopped here.
        var mismatch: String?
    }

    let key: RunKey
    /// The run as it was when this owner began; a copy that shares its pieces with the state.
    let recorded: Run
    let environment: EngineEnvironment
    let stop: Promise<Stop>
    let cancel: CancelRequest
    /// Set where a finished run's record is held against code: nothing may have effects then.
    let replay: ReplayNotes?
    /// How many steps, sleeps and checkpoints are recorded.
    let recordedCount: UInt64
    let progress: Lock<Progress>
    let watchers = VariableWatchers()
    let order: MessageOrder

    init(
        key: RunKey, recorded: Run, environment: EngineEnvironment, stop: Promise<Stop>, cancel: CancelRequest,
        replay: ReplayNotes? = nil
    ) {
        self.key = key
        self.recorded = recorded
        self.environment = environment
        self.stop = stop
        self.cancel = cancel
        self.replay = replay
        progress = Lock(Progress(activity: Activity(last: environment.loop.now)))
        order = MessageOrder(recorded.messages)
        recordedCount =
            recorded.stepCount + UInt64(recorded.timers.count)
            + recorded.checkpoints.members.reduce(0) { $0 + $1.value.count }
            + recorded.attempts.members.reduce(0) { $0 + ($1.value.nextAt == nil ? 1 : 0) }
            + (recorded.messages?.metCount ?? 0)
        if let place = recorded.steps[Self.cancellationStep]?.value {
            // Where it cannot be read, neither can what is recorded before it.
            let text = try? JSONCoding.decode(String.self, from: environment.codec.decode(place))
            progress.withLock { $0.cancellationPlace = text }
        }
    }

    var runID: RunID { recorded.runID }
    var epoch: UInt64 { recorded.epoch }
    var address: RunAddress { RunAddress(workflowID: key.workflowID.text, runID: recorded.runID) }

    /// The steps and sleeps that run now.
    var runningNames: [String] { progress.withLock { $0.running.sorted() } }
    var isOver: Bool { progress.withLock { $0.isOver } }

    var bodyHasEnded: Bool { progress.withLock { $0.bodyHasEnded } }

    var isTerminated: Bool { progress.withLock { $0.isTerminated } }
    /// The body has heard that it is to end.
    var isCancelled: Bool { progress.withLock { $0.isCancelled } }

    /// From here on the context records nothing.
    func end(isTerminated: Bool) {
        progress.withLock { progress in
            progress.isOver = true
            progress.isTerminated = progress.isTerminated || isTerminated
        }
    }

    /// The body has returned; nothing of the run is left here.
    func endBody() {
        progress.withLock { progress in
            progress.isOver = true
            progress.bodyHasEnded = true
        }
    }

    // MARK: Steps

    func step<Result: Codable & Sendable>(
        _ name: String, _ body: (StepContext) async throws -> Result
    ) async throws -> Result {
        try checkName(name)
        let step = try begin("step", name, counter: \.steps)
        defer { finish("step", name) }
        if let known = try await recordedStep(step) {
            meet(.step, step)
            return try recordedValue(known.value, of: .init(kind: .step, key: step), "step \(step)")
        }
        if try await meetsCancellation(at: "step \(step)") { throw Self.cancelled }
        try await replay?.end(.step, step)
        let heart = try heart(of: step, attempt: 1)
        defer { heart.end() }
        let context = stepContext(step, attempt: 1, heart)
        // No effects of a run that is being stopped.
        try Task.checkCancellation()
        let (start, wallStart) = (environment.loop.now, environment.loop.wallNow)
        let value: Result
        do {
            value = try await body(context)
        } catch {
            report(step, context, from: wallStart, error)
            throw error
        }
        report(step, context, from: wallStart, nil)
        let duration = start.duration(to: environment.loop.now).clampedNanoseconds
        return try await record(
            value, as: step, StepEffort(attempt: UInt32(context.attempt), duration: duration), mayLeave: true)
    }

    /// The run id, and behind its first execution the execution's number.
    private var executionName: String {
        recorded.execution == 1 ? "\(runID)" : "\(runID).\(recorded.execution)"
    }

    func stepContext(_ step: StepKey, attempt: Int, _ heart: StepHeart) -> StepContext {
        StepContext(
            idempotencyKey: "\(executionName)/\(step.name)/\(step.occurrence)", fencingToken: epoch, attempt: attempt,
            clock: NodeClock(loop: environment.loop), cancel: cancel, heart: heart,
            payloads: environment.codec, trace: span(of: step, attempt: attempt))
    }

    /// A small value that is computed here and recorded like a step. Several of one name may run at the same time.
    func value<Value: Codable & Sendable>(
        _ kind: String, _ name: String, _ compute: (EngineEnvironment) -> Value
    ) async throws -> Value {
        if !name.isEmpty { try checkName(name) }
        let step = try count(name.isEmpty ? kind : "\(kind)/\(name)", counter: \.steps)
        if let known = try await recordedStep(step) {
            meet(.step, step)
            return try recordedValue(known.value, of: .init(kind: .step, key: step), "\(step)")
        }
        try await replay?.end(.step, step)
        return try await record(compute(environment), as: step, mayLeave: true)
    }

    /// What the caller gets has been through JSON, as it will have been after a takeover.
    /// - Parameter mayLeave: memory, once there are many of that name: `recordedStep` finds it.
    func record<Value: Codable & Sendable>(
        _ value: Value, as step: StepKey, _ effort: StepEffort = StepEffort(), mayLeave: Bool = false
    ) async throws -> Value {
        let bytes = try encode(value, "the result of step \(step)")
        let keeping = mayLeave ? UInt64(max(1, environment.limits.stepsInMemory)) : 0
        let result = try await propose(.recordStep(address, step, value: bytes, effort, keeping: keeping))
        return try decode(result.recordedValue ?? bytes, "step \(step)")
    }

    // MARK: Sleeps

    func sleep(_ setting: WorkflowOperation.TimerSetting, name: String) async throws {
        try checkName(name)
        let timer = try begin("sleep", name, counter: \.timers)
        defer { finish("sleep", name) }
        let place = "sleep \(timer)"
        let known = recorded.timers[timer]
        if known != nil { meet(.sleep, timer) }
        if known?.hasFired == true { return }
        if try await meetsCancellation(at: place) { throw Self.cancelled }
        // Where the record says that it lasts, a replay has come to the record's end.
        try await replay?.end(.sleep, timer, isRecorded: known != nil)
        let deadline: Int64
        if let known {
            deadline = known.deadline
        } else {
            deadline = try await propose(.startTimer(address, timer, setting)).deadline
        }
        while true {
            try await waitForWallClock(deadline)
            if try await meetsCancellation(at: place) { throw Self.cancelled }
            do {
                _ = try await propose(.fireTimer(address, timer))
                return
            } catch let refused as Refused where refused.code == .notYet {
                // This clock has been set back, or runs ahead of the one that stamped the command.
                try await environment.loop.sleep(for: Backoff.delayMin)
            }
        }
    }

    func waitForWallClock(_ deadline: Int64) async throws {
        let loop = environment.loop
        while loop.wallNow.nanoseconds < deadline, !hasNewCancellation {
            let (remaining, overflow) = deadline.subtractingReportingOverflow(
                loop.wallNow.nanoseconds)
            let interval = environment.limits.wallClockCheckInterval
            try await sleepUnlessCancelled(
                for: overflow ? interval : min(interval, .nanoseconds(max(1, remaining))), until: deadline)
        }
    }

    private func sleepUnlessCancelled(for duration: Duration, until deadline: Int64) async throws {
        let loop = environment.loop
        let wait = beginWait(until: deadline)
        defer { endWait(wait) }
        // Who has heard of it sleeps as everybody does.
        guard !progress.withLock({ $0.cancellationPlace != nil }) else { return try await loop.sleep(for: duration) }
        let (sleeper, cancelTimer) = loop.promise(fulfilledAt: loop.now.advanced(by: duration), with: ())
        cancel.wake(sleeper)
        defer {
            cancel.forget(sleeper)
            cancelTimer()
        }
        try await sleeper.wait()
    }

    // MARK: The end

    /// Records how the body ended.
    func finish(with result: RunResult) async throws {
        _ = try await propose(.finishRun(address, result))
    }

    // MARK: Below

    /// Proposes as this run's owner. What says that it is not the owner any more stops the run here, and looks to the
    /// body like the cancellation that follows.
    func propose(_ operation: WorkflowOperation) async throws -> OperationResult {
        let now = environment.loop.now
        let isAllowed = progress.withLock { progress in
            if progress.isOver { return false }
            progress.activity.enter(now)
            progress.activity.recordCount += 1
            return true
        }
        guard isAllowed else { throw overError() }
        defer { leaveCall() }
        do {
            return try await environment.proposeUntilAnswered(operation, ownerEpoch: epoch)
        } catch let refused as Refused {
            if refused.concernsBody { throw refused }
            environment.logger.log(
                .info, "run \(key) stops on this node: \(refused.message)", metadata)
            throw halt(refused.code == .runEnded ? .terminated : .lost)
        } catch let error as GroupError {
            if error.code == .tooLarge {
                throw WorkflowError(.resultTooLarge, "the group does not take it: \(error.message)")
            }
            throw halt(.shutdown)
        }
    }

    func halt(_ reason: Stop) -> CancellationError {
        end(isTerminated: reason == .terminated)
        stop.fulfill(reason)
        return CancellationError()
    }

    private func overError() -> any Error {
        let rests = progress.withLock { progress in
            progress.activity.isDisturbed = progress.activity.rests
            return progress.activity.rests
        }
        guard !rests, !Task.isCancelled else { return CancellationError() }
        return WorkflowError(
            .contextEnded,
            "the context of run \(runID) was used after the run had ended on this node")
    }

    func checkName(_ name: String) throws {
        guard !name.isEmpty, name.utf8.count <= WorkflowLimits.nameBytesMax, !name.hasPrefix("$")
        else {
            throw WorkflowError(
                .invalidName,
                "'\(name)' is not a name of 1 to \(WorkflowLimits.nameBytesMax) bytes that does not begin with '$'"
            )
        }
    }

    /// The next occurrence of a name.
    func count(_ name: String, counter: WritableKeyPath<Progress, [ByteText: UInt64]>)
        throws -> StepKey
    {
        let occurrence = progress.withLock { progress -> UInt64? in
            guard !progress.isOver else { return nil }
            let occurrence = progress[keyPath: counter][ByteText(name)] ?? 0
            progress[keyPath: counter][ByteText(name)] = occurrence + 1
            return occurrence
        }
        guard let occurrence else { throw overError() }
        return StepKey(name, occurrence)
    }

    /// - Parameter key: nil where occurrences are counted by the name itself.
    func begin(
        _ kind: String, _ name: String, counter: WritableKeyPath<Progress, [ByteText: UInt64]>,
        countedAs key: ByteText? = nil
    ) throws -> StepKey {
        let now = environment.loop.now
        let isFirst = progress.withLock { progress in
            guard progress.running.insert("\(kind) '\(name)'").inserted else { return false }
            progress.activity.enter(now)
            return true
        }
        guard isFirst else {
            throw WorkflowError(
                .duplicateStep,
                "two of \(kind) '\(name)' run at the same time; give each of them a name of its own"
            )
        }
        do {
            return try count(key?.text ?? name, counter: counter)
        } catch {
            finish(kind, name)
            throw error
        }
    }

    func finish(_ kind: String, _ name: String) {
        let now = environment.loop.now
        progress.withLock { progress in
            progress.running.remove("\(kind) '\(name)'")
            progress.activity.leave(now)
        }
    }

    func encode<Value: Encodable>(_ value: Value, _ what: @autoclosure () -> String) throws
        -> [UInt8]
    {
        let bytes = try encodeValue(value, what())
        try checkSize(bytes, what())
        return try environment.codec.encode(bytes)
    }

    func checkSize(_ bytes: [UInt8], _ what: @autoclosure () -> String) throws {
        let limit = environment.limits.resultBytesMax
        guard bytes.count <= limit else {
            throw WorkflowError(
                .resultTooLarge,
                "\(what()) takes \(bytes.count) bytes, the limit is \(limit); store it elsewhere and return its address"
            )
        }
    }

    func decode<Value: Decodable>(_ bytes: [UInt8], _ what: @autoclosure () -> String)
        throws -> Value
    {
        let plain = try readable(bytes)
        do {
            return try JSONCoding.decode(Value.self, from: plain)
        } catch {
            throw WorkflowError(
                .undecodableResult, "what is recorded of \(what()) is not a \(Value.self): \(error)"
            )
        }
    }

    var metadata: FlotillaLogger.Metadata { ["workflow": "\(key)", "run": "\(runID)", "epoch": "\(epoch)"] }
}
