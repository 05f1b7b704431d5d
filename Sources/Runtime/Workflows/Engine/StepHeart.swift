import FlotillaIO

/// An attempt at a step, as far as its body tells that it goes on.
final class StepHeart: Sendable {
    private struct State {
        var beatAt: MonotonicTime
        /// Calls that have not returned: what they wait for is no silence of the body.
        var callCount = 0
        /// In JSON, how far the body is; nil where this attempt has not said that.
        var told: [UInt8]?
        /// How often it told that, and which time is on record.
        var toldCount = 0
        var recordedCount = 0
        var isRecording = false
        /// Nothing is recorded before.
        var recordsAgainAt: MonotonicTime
        var hasEnded = false
    }

    private let execution: RunExecution
    private let step: StepKey
    private let attempt: Int
    /// In JSON, how far the attempt before was; nil where it did not say that, or there was none.
    let progressBefore: [UInt8]?
    private let state: Lock<State>

    init(_ execution: RunExecution, _ step: StepKey, attempt: Int, progressBefore: [UInt8]?) {
        self.execution = execution
        self.step = step
        self.attempt = attempt
        self.progressBefore = progressBefore
        let now = execution.environment.loop.now
        state = Lock(State(beatAt: now, recordsAgainAt: now))
    }

    /// Tells that the body goes on, and records how far it is if the last time that was recorded is long enough ago.
    /// - Parameter progress: nil leaves it as it is.
    func beat(_ progress: [UInt8]?) async throws {
        try Task.checkCancellation()
        let now = execution.environment.loop.now
        let interval = execution.environment.limits.progressInterval
        let due: (value: [UInt8], count: Int)? = try state.withLock { state in
            guard !state.hasEnded else {
                throw WorkflowError(.contextEnded, "step \(step) told how far it is after attempt \(attempt) had ended")
            }
            state.beatAt = now
            if let progress {
                state.told = progress
                state.toldCount += 1
            }
            guard let told = state.told, state.recordedCount < state.toldCount, !state.isRecording,
                now >= state.recordsAgainAt
            else { return nil }
            state.recordsAgainAt = now.advanced(by: interval)
            state.isRecording = true
            state.callCount += 1
            return (told, state.toldCount)
        }
        guard let due else { return }
        defer {
            state.withLock { state in
                state.isRecording = false
                state.callCount -= 1
                state.beatAt = execution.environment.loop.now
            }
        }
        _ = try await execution.propose(
            .recordProgress(
                execution.address, step, attempt: UInt32(clamping: attempt),
                value: try execution.environment.codec.encode(due.value)))
        state.withLock { $0.recordedCount = max($0.recordedCount, due.count) }
    }

    /// The attempt is over.
    func end() { state.withLock { $0.hasEnded = true } }

    /// How far this attempt is, or else the one before was.
    var progress: [UInt8]? { state.withLock { $0.told } ?? progressBefore }

    /// What it told and did not record.
    var unrecordedProgress: [UInt8]? {
        state.withLock { $0.recordedCount < $0.toldCount ? $0.told : nil }
    }

    /// Since when nothing was heard of it.
    var silentSince: MonotonicTime {
        state.withLock { $0.callCount > 0 ? execution.environment.loop.now : $0.beatAt }
    }
}

extension RunExecution {
    /// - Parameter last: of the attempt before; nil where another owner made that, or there was none.
    func heart(of step: StepKey, attempt: Int, after last: StepHeart? = nil) throws -> StepHeart {
        let before =
            try last?.progress ?? recorded.progress[step].flatMap { $0.value.isEmpty ? nil : try readable($0.value) }
        return StepHeart(self, step, attempt: attempt, progressBefore: before)
    }
}

extension StepContext {
    /// Tells that the step goes on, as often as the body likes: `RetryPolicy.heartbeatTimeout` is the longest time
    /// between two.
    /// - Throws: `CancellationError` where the attempt is to end: its time is over, or the run stops on this node.
    ///   `WorkflowError` with `contextEnded` where it has ended.
    public func heartbeat() async throws { try await heart.beat(nil) }

    /// The same, and how far the step is, which `lastProgress` of the next attempt says, also on another node. It is
    /// recorded once a second (`WorkflowLimits.progressInterval`), and with the failure of the attempt: what was told
    /// after the last time is lost where the node crashes.
    /// - Throws: as `heartbeat()`, and `WorkflowError` with `unencodable`, or `resultTooLarge` above
    ///   `WorkflowLimits.progressBytesMax`.
    public func heartbeat<Progress: Codable & Sendable>(_ progress: Progress) async throws {
        let bytes = try encodeValue(progress, "the progress of a step")
        guard bytes.count <= WorkflowLimits.progressBytesMax else {
            throw WorkflowError(
                .resultTooLarge,
                "the progress of a step takes \(bytes.count) bytes, the limit is \(WorkflowLimits.progressBytesMax)")
        }
        try await heart.beat(bytes)
    }

    /// How far the attempt before this one was, as far as that is known; nil where it did not say.
    /// - Throws: `WorkflowError` with `undecodableResult`.
    public func lastProgress<Progress: Codable & Sendable>(as type: Progress.Type = Progress.self) throws -> Progress? {
        guard let bytes = heart.progressBefore else { return nil }
        do {
            return try JSONCoding.decode(type, from: bytes)
        } catch {
            throw WorkflowError(.undecodableResult, "what the attempt before told is not a \(type): \(error)")
        }
    }
}
