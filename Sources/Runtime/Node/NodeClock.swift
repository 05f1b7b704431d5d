import FlotillaIO

/// A node's monotonic clock. Virtual time drives it in a simulation, so code that takes `some Clock<Duration>` and is
/// given this one can be simulated.
public struct NodeClock: Clock, Sendable {
    /// A moment of one clock; moments of two machines mean nothing to each other.
    public struct Instant: InstantProtocol, Sendable {
        let time: MonotonicTime

        public func advanced(by duration: Duration) -> Instant { Instant(time: time.advanced(by: duration)) }
        public func duration(to other: Instant) -> Duration { time.duration(to: other.time) }
        public static func < (a: Instant, b: Instant) -> Bool { a.time < b.time }
    }

    let loop: any Loop

    public var now: Instant { Instant(time: loop.now) }
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// - Parameter tolerance: not used; the clock wakes as early as it can.
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    public func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        try await loop.sleep(until: deadline.time)
    }
}
