public import FlotillaIO

/// A running workflow's way to everything that must be recorded. Safe to use from child tasks of the body.
///
/// All of it is counted by name: the second use of a name is its second occurrence, whatever ran in between. Where
/// branches run in parallel, give each branch names of its own; then the order in which they run does not matter.
///
/// When the run is taken from this node its task is cancelled, and the calls throw `CancellationError`. The same happens when
/// the body only waits for a while (`WorkflowLimits.restsAfter`): it is run again, against what is recorded, when there is
/// something to go on with. So whatever takes long belongs into a step.
public struct WorkflowContext: Sendable {
    let execution: RunExecution
    /// Comes between the steps and their bodies, where a simulation lets steps fail.
    package var interception: StepInterception?

    init(execution: RunExecution) { self.execution = execution }

    /// The user's name for the work.
    public var workflowID: String { execution.key.workflowID.text }
    /// This execution of it.
    public var runID: RunID { execution.runID }

    /// Runs `body` and records its result; once it is recorded it is never computed again.
    ///
    /// The body runs at least once, and again only if this node crashed or lost the run before the result was
    /// recorded: with the same idempotency key and a higher fencing token.
    /// - Throws: what `body` throws, which is not recorded; `WorkflowError` with `duplicateStep`, `resultTooLarge`,
    ///   `invalidName`, `unencodable` or `undecodableResult`, and once with `cancelled`, before `body` begins, when the
    ///   run is to end.
    public func step<Result: Codable & Sendable>(
        _ name: String, _ body: (StepContext) async throws -> Result
    ) async throws -> Result {
        try await execution.step(name) { step in try await intercepting(name) { try await body(step) } }
    }

    /// The same for a step that is tried again where it fails, as `retry` says. Failed attempts are recorded, so the next
    /// owner goes on with the count. When no attempt is left, that is recorded as well.
    /// - Throws: as `step(_:_:)`, but not what `body` throws: `WorkflowError` with `stepFailed` and the last failure
    ///   instead, whichever owner finds it.
    public func step<Result: Codable & Sendable>(
        _ name: String, retry: RetryPolicy, _ body: @escaping @Sendable (StepContext) async throws -> Result
    ) async throws -> Result {
        try await execution.step(name, retry: retry) { step in
            try await intercepting(name) { try await body(step) }
        }
    }

    /// A step without a result that is tried again where it fails.
    public func step(
        _ name: String, retry: RetryPolicy, _ body: @escaping @Sendable (StepContext) async throws -> Void
    ) async throws {
        _ = try await step(name, retry: retry) { step in
            try await body(step)
            return JSONValue.null
        }
    }

    /// A step without a result: that it is done is recorded.
    public func step(_ name: String, _ body: (StepContext) async throws -> Void) async throws {
        _ = try await step(name) { step in
            try await body(step)
            return JSONValue.null
        }
    }

    /// Sleeps, across changes of the owner, until the group's time is `duration` after the first call. Throws
    /// `WorkflowError.Code.cancelled`, once, when the run is to end.
    /// - Parameter name: sleeps that run at the same time need different ones.
    public func sleep(for duration: Duration, name: String = "sleep") async throws {
        try await execution.sleep(.after(max(0, duration.clampedNanoseconds)), name: name)
    }

    /// Sleeps, across changes of the owner, until the group's time reaches `moment`.
    /// - Parameter name: sleeps that run at the same time need different ones.
    public func sleep(until moment: WallTime, name: String = "sleep") async throws {
        try await execution.sleep(.at(moment.nanoseconds), name: name)
    }

    /// The wall clock when this was first called. Recorded.
    public func now(_ name: String = "") async throws -> WallTime {
        WallTime(
            nanoseconds: try await execution.value("$now", name) { $0.loop.wallNow.nanoseconds })
    }

    /// A random number. Recorded.
    public func random(_ name: String = "") async throws -> UInt64 {
        try await execution.value("$random", name) { $0.random() }
    }

    /// A random UUID (version 4), in lower case. Recorded.
    public func uuid(_ name: String = "") async throws -> String {
        try await execution.value("$uuid", name) { environment in
            let high = environment.random() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
            let low = environment.random() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
            return uuidText(high: high, low: low)
        }
    }

    /// Whether the run was ended from outside. The body's task is cancelled as well; nothing that it records counts.
    public var isTerminated: Bool { execution.isTerminated }

    /// Whether the run is to end, as `WorkflowAction.cancel` asks: for a body that goes long without a step or a sleep,
    /// which would throw. Recorded once it is true.
    /// - Parameter name: branches that run in parallel look under names of their own.
    public func isCancelled(_ name: String = "") async throws -> Bool {
        try await execution.lookForCancellation(name)
    }

    /// Records a value by key, beside the steps and with its history; anyone can read it from any node.
    /// - Throws: as `step`; `duplicateStep` also where two of one key are recorded at the same time.
    public func checkpoint<Value: Codable & Sendable>(_ key: String, _ value: Value) async throws {
        try await execution.setCheckpoint(key, value)
    }

    /// The value that this body has recorded last under `key`; nil before the first.
    ///
    /// After a takeover the body sees, at each point, what it saw there the first time.
    public func checkpoint<Value: Codable & Sendable>(_ key: String, as type: Value.Type)
        async throws -> Value?
    {
        try execution.latestCheckpoint(key, as: type)
    }
}

/// What a step's body may tell the outside world about itself.
public struct StepContext: Sendable {
    /// The same for every attempt at this step: send it along, so that the receiver can drop repetitions.
    public let idempotencyKey: String
    /// The owner's epoch. It rises with every change of the owner: a receiver that remembers the highest can refuse an
    /// owner that was cut off and does not know it.
    public let fencingToken: UInt64
    /// Counts the attempts, from 1: those that failed under a `RetryPolicy`, over all owners, and this one.
    public let attempt: Int
    /// The node's clock, for waits inside the body such as the pause before another attempt. It drives a simulation's
    /// time where the system's clocks would leave it.
    public let clock: NodeClock
    let cancel: CancelRequest
    let heart: StepHeart
    let payloads: PayloadCoding
    /// The span of this attempt, for the requests that it makes (`TraceContext.traceparent`): in the trace that the start of
    /// the workflow came with, whichever node runs it. Nil without one.
    public let trace: TraceContext?
    /// Whether the run is to end; the step may hurry, and what it returns is recorded all the same.
    public var isCancelled: Bool { cancel.isMade }
    /// Whether an earlier owner may have run the body already: it recorded no result.
    public var mayBeRepetition: Bool { fencingToken > 1 }
}

extension Duration {
    /// Whole nanoseconds; what 64 bits do not hold is the nearest that they do.
    var clampedNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflowAgain) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow || overflowAgain ? (seconds < 0 ? .min : .max) : sum
    }
}
