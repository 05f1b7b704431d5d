import FlotillaActors
import FlotillaIO

// Steps that are tried again. Each failed attempt is recorded before the next one is waited for.

extension RunExecution {
    func step<Result: Codable & Sendable>(
        _ name: String, retry policy: RetryPolicy, _ body: @escaping @Sendable (StepContext) async throws -> Result
    ) async throws -> Result {
        try checkName(name)
        let step = try begin("step", name, counter: \.steps)
        defer { finish("step", name) }
        if let known = try await recordedStep(step) {
            meet(.step, step)
            return try recordedValue(known.value, of: .init(kind: .step, key: step), "step \(step)")
        }
        let tried = recorded.attempts[step]
        if let tried, tried.nextAt == nil {
            meet(.step, step)
            throw WorkflowError(.stepFailed, tried.message(for: step), failure: tried.failure)
        }
        if try await meetsCancellation(at: "step \(step)") { throw Self.cancelled }
        try await replay?.end(.step, step)
        var attempt = Int(tried?.effort.attempt ?? 0)
        let deadline = try await deadline(of: step, policy)
        if let nextAt = tried?.nextAt { try await wait(until: nextAt, for: step) }
        var heart: StepHeart?
        while true {
            attempt += 1
            // No effects of a run that is being stopped.
            try Task.checkCancellation()
            let here = try self.heart(of: step, attempt: attempt, after: heart)
            heart = here
            let start = environment.loop.now
            let wallStart = environment.loop.wallNow
            let context = stepContext(step, attempt: attempt, here)
            let outcome = await outcome(of: body, context, policy, until: deadline)
            here.end()
            report(step, context, from: wallStart, outcome.failure)
            let duration = start.duration(to: environment.loop.now).clampedNanoseconds
            let effort = StepEffort(attempt: UInt32(clamping: attempt), duration: duration)
            switch outcome {
            case .success(let value): return try await record(value, as: step, effort, mayLeave: true)
            case .failure(let error):
                // The run is being stopped here: that is no failure of the step.
                guard !Task.isCancelled, !isOver else { throw error }
                if policy.isCancelledWithRun, try await meetsCancellation(at: "step \(step)") { throw Self.cancelled }
                let nextAt = try await recordFailure(
                    error, of: step, effort, here.unrecordedProgress, policy, until: deadline)
                try await wait(until: nextAt, for: step)
            }
        }
    }

    /// When no attempt may go on; nil for never. A limit counts from the first attempt of the first owner, so its beginning
    /// is recorded, unless a later one is.
    private func deadline(of step: StepKey, _ policy: RetryPolicy) async throws -> Int64? {
        guard let limit = policy.timeLimit else { return nil }
        var begunAt = recorded.begunAt(of: step)
        if begunAt == nil {
            _ = try await propose(.recordProgress(address, step, attempt: 1, value: []))
            begunAt = environment.loop.wallNow.nanoseconds
        }
        let (sum, isTooLarge) = (begunAt ?? 0).addingReportingOverflow(limit.clampedNanoseconds)
        return isTooLarge ? Int64.max : sum
    }

    /// - Returns: when the next attempt may begin.
    /// - Throws: `WorkflowError` with `stepFailed` where there is none.
    private func recordFailure(
        _ error: any Error, of step: StepKey, _ effort: StepEffort, _ progress: [UInt8]?, _ policy: RetryPolicy,
        until deadline: Int64?
    ) async throws -> Int64 {
        let attempt = Int(effort.attempt)
        let chance = Double(environment.random() >> 11) / Double(1 << 53)
        let pause = policy.pause(after: attempt, chance: chance).clampedNanoseconds
        let isLate = deadline.map { $0 - environment.loop.wallNow.nanoseconds <= pause } ?? false
        let isLast = isLate || policy.attempts.map { attempt >= $0 } ?? false || !policy.isRetryable(error)
        let failed = StepFailure(
            failure: WorkflowFailure(error), effort: effort, delay: isLast ? nil : pause,
            progress: try progress.map { try environment.codec.encode($0) })
        let nextAt = try await propose(.recordFailure(address, step, failed)).deadline
        guard isLast else { return nextAt }
        let attempts = StepAttempts(
            startedAt: 0, failedAt: 0, failure: failed.failure, owner: environment.client.node, epoch: epoch,
            effort: effort)
        throw WorkflowError(.stepFailed, attempts.message(for: step), failure: failed.failure)
    }

    /// The pause before an attempt ends early where the run is to end.
    private func wait(until moment: Int64, for step: StepKey) async throws {
        repeat {
            try await waitForWallClock(moment)
            if try await meetsCancellation(at: "step \(step)") { throw Self.cancelled }
        } while environment.loop.wallNow.nanoseconds < moment
    }

    /// One attempt, within its time. A body that returns a value although its time was over has done its work.
    private func outcome<Result: Sendable>(
        of body: @escaping @Sendable (StepContext) async throws -> Result, _ context: StepContext,
        _ policy: RetryPolicy, until deadline: Int64?
    ) async -> Swift.Result<Result, any Error> {
        let loop = environment.loop
        let left = deadline.map { Duration.nanoseconds(max(0, $0 - loop.wallNow.nanoseconds)) }
        let limit = [policy.attemptTimeout, left].compactMap(\.self).min()
        // Who has heard that the run is to end cleans up.
        let hearsOfEnd = policy.isCancelledWithRun && progress.withLock { $0.cancellationPlace == nil }
        let hasLimit = limit != nil || policy.heartbeatTimeout != nil
        guard hasLimit || hearsOfEnd else {
            do { return .success(try await body(context)) } catch { return .failure(error) }
        }
        guard limit.map({ $0 > .zero }) ?? true else {
            return .failure(WorkflowError(.stepTimedOut, "attempt \(context.attempt) came too late to begin"))
        }
        return await withTaskGroup(of: AttemptEnd<Result>.self) { group in
            group.addTask {
                do { return .body(.success(try await body(context))) } catch { return .body(.failure(error)) }
            }
            func watch(_ end: @escaping @Sendable () async throws -> WorkflowError) {
                group.addTask {
                    do { return .stopped(try await end()) } catch { return .body(.failure(error)) }
                }
            }
            if hasLimit { watch { try await self.timeout(of: context, limit, policy.heartbeatTimeout) } }
            if hearsOfEnd { watch { try await self.cancellation() } }
            let first = await group.next()
            group.cancelAll()
            switch first {
            case .stopped(let error)?:
                for await case .body(.success(let value)) in group { return .success(value) }
                return .failure(error)
            case .body(let outcome)?:
                await group.waitForAll()
                return outcome
            case nil: preconditionFailure("the body is a task of the group")
            }
        }
    }

    private enum AttemptEnd<Result: Sendable>: Sendable {
        case body(Swift.Result<Result, any Error>)
        case stopped(WorkflowError)
    }

    /// Waits until the run is to end.
    private func cancellation() async throws -> WorkflowError {
        let request = Promise<Void>()
        cancel.wake(request)
        defer { cancel.forget(request) }
        try await request.wait()
        return Self.cancelled
    }

    /// Waits until the attempt has taken too long, or has told nothing for too long.
    private func timeout(
        of context: StepContext, _ limit: Duration?, _ heartbeatLimit: Duration?
    ) async throws -> WorkflowError {
        let loop = environment.loop
        let end = limit.map { loop.now.advanced(by: $0) }
        while true {
            let now = loop.now
            if let limit, let end, now >= end {
                return WorkflowError(.stepTimedOut, "attempt \(context.attempt) took longer than \(limit)")
            }
            let silentAt = heartbeatLimit.map { context.heart.silentSince.advanced(by: $0) }
            if let heartbeatLimit, let silentAt, now >= silentAt {
                return WorkflowError(
                    .stepTimedOut, "attempt \(context.attempt) sent no heartbeat for \(heartbeatLimit)")
            }
            guard let next = [end, silentAt].compactMap(\.self).min() else { preconditionFailure("no limit") }
            try await loop.sleep(for: now.duration(to: next))
        }
    }
}

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
