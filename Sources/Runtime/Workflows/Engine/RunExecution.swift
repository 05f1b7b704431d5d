import FlotillaActors
import FlotillaIO

/// One run on the node that owns it: what is recorded, what runs, and how it is stopped.
final class RunExecution: Sendable {
    /// Why a run stops on this node.
    enum Stop: Sendable {
        /// The body has ended.
        case ended
        /// The run has another owner, or none, or was ended from outside.
        case lost
        /// The node or the group stops.
        case shutdown
    }

    private struct Progress {
        var steps: [ByteText: UInt64] = [:]
        var timers: [ByteText: UInt64] = [:]
        var checkpoints: [ByteText: UInt64] = [:]
        /// The value that each key has at this point of the body.
        var latestCheckpoints: [ByteText: [UInt8]] = [:]
        /// What earlier owners recorded, from the next occurrence on, as far as it was read.
        var replayed: [ByteText: ArraySlice<CheckpointRecord>] = [:]
        /// What runs now, for the check on names and for the log.
        var running: Set<String> = []
        /// Nothing may be recorded any more.
        var isOver = false
        var bodyHasEnded = false
    }

    let key: RunKey
    /// The run as it was when this owner began; a copy that shares its pieces with the state.
    let recorded: Run
    let environment: EngineEnvironment
    let stop: Promise<Stop>
    /// Set where a finished run's record is held against code: nothing may have effects then.
    private let replay: ReplayNotes?
    private let progress = Lock(Progress())

    init(
        key: RunKey, recorded: Run, environment: EngineEnvironment, stop: Promise<Stop>, replay: ReplayNotes? = nil
    ) {
        self.key = key
        self.recorded = recorded
        self.environment = environment
        self.stop = stop
        self.replay = replay
    }

    var runID: RunID { recorded.runID }
    var epoch: UInt64 { recorded.epoch }
    var address: RunAddress { RunAddress(workflowID: key.workflowID.text, runID: recorded.runID) }

    /// The steps and sleeps that run now.
    var runningNames: [String] { progress.withLock { $0.running.sorted() } }
    var isOver: Bool { progress.withLock { $0.isOver } }

    var bodyHasEnded: Bool { progress.withLock { $0.bodyHasEnded } }

    /// From here on the context records nothing.
    func end() { progress.withLock { $0.isOver = true } }

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
        let known = recorded.steps[step]
        try replay?.note(.step, step, isRecorded: known != nil)
        if let known { return try decode(known.value, "step \(step)") }
        let context = StepContext(
            idempotencyKey: "\(runID)/\(name)/\(step.occurrence)", fencingToken: epoch, attempt: 1,
            clock: NodeClock(loop: environment.loop))
        // No effects of a run that is being stopped.
        try Task.checkCancellation()
        let start = environment.loop.now
        let value = try await body(context)
        let duration = start.duration(to: environment.loop.now).clampedNanoseconds
        return try await record(
            value, as: step, StepEffort(attempt: UInt32(context.attempt), duration: duration))
    }

    /// A small value that is computed here and recorded like a step. Several of one name may run at the same time.
    func value<Value: Codable & Sendable>(
        _ kind: String, _ name: String, _ compute: (EngineEnvironment) -> Value
    ) async throws -> Value {
        if !name.isEmpty { try checkName(name) }
        let step = try count(name.isEmpty ? kind : "\(kind)/\(name)", counter: \.steps)
        let known = recorded.steps[step]
        try replay?.note(.step, step, isRecorded: known != nil)
        if let known { return try decode(known.value, "\(step)") }
        return try await record(compute(environment), as: step)
    }

    /// What the caller gets has been through JSON, as it will have been after a takeover.
    private func record<Value: Codable & Sendable>(
        _ value: Value, as step: StepKey, _ effort: StepEffort = StepEffort()
    ) async throws -> Value {
        let bytes = try encode(value, "the result of step \(step)")
        let result = try await propose(.recordStep(address, step, value: bytes, effort))
        return try decode(result.recordedValue ?? bytes, "step \(step)")
    }

    // MARK: Sleeps

    func sleep(_ setting: WorkflowOperation.TimerSetting, name: String) async throws {
        try checkName(name)
        let timer = try begin("sleep", name, counter: \.timers)
        defer { finish("sleep", name) }
        let deadline: Int64
        let known = recorded.timers[timer]
        try replay?.note(.sleep, timer, isRecorded: known != nil, isOver: known?.hasFired ?? false)
        if let known {
            if known.hasFired { return }
            deadline = known.deadline
        } else {
            deadline = try await propose(.startTimer(address, timer, setting)).deadline
        }
        while true {
            try await waitForWallClock(deadline)
            do {
                _ = try await propose(.fireTimer(address, timer))
                return
            } catch let refused as Refused where refused.code == .notYet {
                // This clock has been set back, or runs ahead of the one that stamped the command.
                try await environment.loop.sleep(for: Backoff.delayMin)
            }
        }
    }

    private func waitForWallClock(_ deadline: Int64) async throws {
        let loop = environment.loop
        while loop.wallNow.nanoseconds < deadline {
            let (remaining, overflow) = deadline.subtractingReportingOverflow(
                loop.wallNow.nanoseconds)
            let interval = WorkflowLimits.wallClockCheckInterval
            try await loop.sleep(
                for: overflow ? interval : min(interval, .nanoseconds(max(1, remaining))))
        }
    }

    // MARK: Checkpoints

    func setCheckpoint<Value: Codable & Sendable>(_ name: String, _ value: Value) async throws {
        try checkName(name)
        let checkpoint = try begin("checkpoint", name, counter: \.checkpoints)
        defer { finish("checkpoint", name) }
        let bytes: [UInt8]
        let known = try await recordedCheckpoint(checkpoint)
        try replay?.note(.checkpoint, checkpoint, isRecorded: known != nil)
        if let known {
            bytes = known
        } else {
            bytes = try encode(value, "checkpoint \(checkpoint)")
            _ = try await propose(.setCheckpoint(address, checkpoint, value: bytes))
            try await readingCheckpoints { try await $0.catchUp() }
        }
        progress.withLock { $0.latestCheckpoints[checkpoint.name] = bytes }
    }

    /// What an earlier owner recorded; nil if none did. Read in pieces, because a body records it in order again.
    private func recordedCheckpoint(_ checkpoint: StepKey) async throws -> [UInt8]? {
        guard let latest = recorded.checkpoints[checkpoint.name], checkpoint.occurrence < latest.count else {
            return nil
        }
        if checkpoint.occurrence == latest.count - 1 { return latest.value }
        func ready() -> [UInt8]? {
            progress.withLock { progress in
                guard progress.replayed[checkpoint.name]?.first?.sequence == checkpoint.occurrence else { return nil }
                return progress.replayed[checkpoint.name]?.removeFirst().value
            }
        }
        if let value = ready() { return value }
        let key = CheckpointKey(
            run: CheckpointRun(group: environment.group, run: self.key, runID: runID), name: checkpoint.name)
        let records = try await readingCheckpoints { journal in
            try await journal.page(
                of: key, from: checkpoint.occurrence, limit: Self.replayPage, until: latest.count)
        }
        progress.withLock { $0.replayed[checkpoint.name] = records[...] }
        return ready()
    }

    /// Checkpoints that are read at a time while a body is replayed.
    private static let replayPage = 256

    /// A store that fails is no failure of the run, which goes on elsewhere.
    private func readingCheckpoints<Result>(
        _ body: (CheckpointJournal) async throws -> Result
    ) async throws -> Result {
        do {
            return try await body(environment.checkpoints)
        } catch let error as LogError {
            environment.logger.log(.error, "the history of checkpoints cannot be used: \(error)", metadata)
            throw halt(.shutdown)
        }
    }

    func latestCheckpoint<Value: Codable>(_ name: String, as type: Value.Type) throws -> Value? {
        try checkName(name)
        guard let latest = progress.withLock({ $0.latestCheckpoints[ByteText(name)] }) else {
            return nil
        }
        return try decode(latest, "checkpoint '\(name)'")
    }

    // MARK: The end

    /// Records how the body ended.
    func finish(with result: RunResult) async throws {
        _ = try await propose(.finishRun(address, result))
    }

    // MARK: Below

    /// Proposes as this run's owner. What says that it is not the owner any more stops the run here, and looks to the
    /// body like the cancellation that follows.
    private func propose(_ operation: WorkflowOperation) async throws -> OperationResult {
        guard !isOver else { throw overError() }
        do {
            return try await environment.proposeUntilAnswered(operation, ownerEpoch: epoch)
        } catch let refused as Refused {
            if refused.code == .notYet { throw refused }
            environment.logger.log(
                .info, "run \(key) stops on this node: \(refused.message)", metadata)
            throw halt(.lost)
        } catch let error as GroupError {
            if error.code == .tooLarge {
                throw WorkflowError(.resultTooLarge, "the group does not take it: \(error.message)")
            }
            throw halt(.shutdown)
        }
    }

    private func halt(_ reason: Stop) -> CancellationError {
        end()
        stop.fulfill(reason)
        return CancellationError()
    }

    private func overError() -> any Error {
        guard !Task.isCancelled else { return CancellationError() }
        return WorkflowError(
            .contextEnded,
            "the context of run \(runID) was used after the run had ended on this node")
    }

    private func checkName(_ name: String) throws {
        guard !name.isEmpty, name.utf8.count <= WorkflowLimits.nameBytesMax, !name.hasPrefix("$")
        else {
            throw WorkflowError(
                .invalidName,
                "'\(name)' is not a name of 1 to \(WorkflowLimits.nameBytesMax) bytes that does not begin with '$'"
            )
        }
    }

    /// The next occurrence of a name.
    private func count(_ name: String, counter: WritableKeyPath<Progress, [ByteText: UInt64]>)
        throws -> StepKey
    {
        try progress.withLock { progress in
            guard !progress.isOver else { throw overError() }
            let occurrence = progress[keyPath: counter][ByteText(name)] ?? 0
            progress[keyPath: counter][ByteText(name)] = occurrence + 1
            return StepKey(name, occurrence)
        }
    }

    private func begin(
        _ kind: String, _ name: String, counter: WritableKeyPath<Progress, [ByteText: UInt64]>
    ) throws -> StepKey {
        let isFirst = progress.withLock { $0.running.insert("\(kind) '\(name)'").inserted }
        guard isFirst else {
            throw WorkflowError(
                .duplicateStep,
                "two of \(kind) '\(name)' run at the same time; give each of them a name of its own"
            )
        }
        do {
            return try count(name, counter: counter)
        } catch {
            finish(kind, name)
            throw error
        }
    }

    private func finish(_ kind: String, _ name: String) {
        progress.withLock { _ = $0.running.remove("\(kind) '\(name)'") }
    }

    private func encode<Value: Encodable>(_ value: Value, _ what: @autoclosure () -> String) throws
        -> [UInt8]
    {
        let bytes = try encodeValue(value, what())
        try checkSize(bytes, what())
        return bytes
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

    private func decode<Value: Decodable>(_ bytes: [UInt8], _ what: @autoclosure () -> String)
        throws -> Value
    {
        do {
            return try JSONCoding.decode(Value.self, from: bytes)
        } catch {
            throw WorkflowError(
                .undecodableResult, "what is recorded of \(what()) is not a \(Value.self): \(error)"
            )
        }
    }

    var metadata: FlotillaLogger.Metadata { ["workflow": "\(key)", "run": "\(runID)", "epoch": "\(epoch)"] }
}
