/// How often a step is tried, and how long. The attempts are counted in the cluster, over all owners of the run: a failed
/// one is recorded before the next one is waited for, so a takeover neither forgets nor repeats any that had failed.
public struct RetryPolicy: Sendable {
    /// In all; nil tries for ever.
    public var attempts: Int?
    /// The pause before the second attempt. Each later one is `factor` times as long, up to `delayMax`.
    public var delay: Duration = .milliseconds(100)
    /// By how much a pause is longer than the one before.
    public var factor: Double = 2
    /// The longest pause, before chance has its part.
    public var delayMax: Duration = .seconds(60)
    /// Which part of each pause is left to chance, from 0 to 1: so that those that failed together do not come back
    /// together.
    public var jitter: Double = 0.2
    /// An attempt that takes longer is cancelled, and has failed with `stepTimedOut` unless it returns a value all the
    /// same. Nil for no limit.
    public var attemptTimeout: Duration?
    /// An attempt that says for so long nothing by `StepContext.heartbeat` is cancelled, and has failed as one that takes
    /// too long. Nil for no limit.
    public var heartbeatTimeout: Duration?
    /// From the beginning of the first attempt on, whoever made it: no attempt begins later, and each is cancelled then. That
    /// beginning is recorded, one commit more before the first attempt. Nil for no limit.
    public var timeLimit: Duration?
    /// Whether an attempt is cancelled when the run is to end, as its task would be. Else the body hears of it behind the
    /// step, unless it asks (`StepContext.isCancelled`).
    public var isCancelledWithRun = false
    /// Whether another attempt can help. An error for which this is false fails the step at once.
    public var isRetryable: @Sendable (_ error: any Error) -> Bool

    /// - Parameters:
    ///   - attempts: at least 1; nil tries for ever.
    public init(attempts: Int?, isRetryable: @escaping @Sendable (_ error: any Error) -> Bool = { _ in true }) {
        precondition(attempts.map { $0 > 0 } ?? true, "\(attempts ?? 0) attempts are none")
        self.attempts = attempts
        self.isRetryable = isRetryable
    }

    /// The pause behind an attempt.
    /// - Parameter chance: from 0 to 1.
    func pause(after attempt: Int, chance: Double) -> Duration {
        var nanoseconds = Double(max(0, delay.clampedNanoseconds))
        let most = Double(max(0, delayMax.clampedNanoseconds))
        for _ in 1..<max(1, min(attempt, 1_000)) where nanoseconds < most { nanoseconds *= max(1, factor) }
        let part = min(nanoseconds, most) * (1 - max(0, min(1, jitter)) * chance)
        return .nanoseconds(Int64(min(part, 9e18)))
    }
}
