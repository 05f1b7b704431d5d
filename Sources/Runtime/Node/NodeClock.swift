public import FlotillaIO

/// A node's monotonic clock. Virtual time drives it in a simulation, so code that takes `some Clock<Duration>` and is
/// given this one can be simulated.
public struct NodeClock: Clock, Sendable {
    public typealias Instant = MonotonicTime
    let loop: any Loop

    public var now: MonotonicTime { loop.now }
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// - Parameter tolerance: not used; the clock wakes as early as it can.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: MonotonicTime, tolerance: Duration?) async throws {
        try await loop.sleep(until: deadline)
    }
}
