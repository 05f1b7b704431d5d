/// Nanoseconds since some fixed moment before this process; never goes back, not even over a change of the wall clock.
public struct MonotonicTime: Hashable, Comparable, Sendable, InstantProtocol {
    public let nanoseconds: UInt64
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    public static func < (a: MonotonicTime, b: MonotonicTime) -> Bool { a.nanoseconds < b.nanoseconds }
    public func advanced(by duration: Duration) -> MonotonicTime {
        let (seconds, attoseconds) = duration.components
        let delta = Int64(seconds) * 1_000_000_000 + attoseconds / 1_000_000_000
        return MonotonicTime(nanoseconds: UInt64(max(0, Int64(nanoseconds) + delta)))
    }
    /// How long from this moment to `other`; negative if `other` came first.
    public func duration(to other: MonotonicTime) -> Duration {
        .nanoseconds(Int64(other.nanoseconds) - Int64(nanoseconds))
    }
}

/// Nanoseconds since 1970-01-01 UTC by the machine's wall clock, which may jump.
public struct WallTime: Hashable, Comparable, Codable, Sendable {
    public let nanoseconds: Int64
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    public static func < (a: WallTime, b: WallTime) -> Bool { a.nanoseconds < b.nanoseconds }
}

/// Names one scheduled timer of one loop.
public struct TimerToken: Hashable, Sendable {
    public let rawValue: UInt64
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// One thread's worth of serial execution with a clock and timers: libuv's in a process, a simulated one in tests.
///
/// Actors take a loop as their executor and enter it from its callbacks by `assumeIsolated`. Everything here except
/// `execute(_:)` and the clocks must be called on the loop.
public protocol Loop: SerialExecutor {
    /// The monotonic clock. Any thread.
    var now: MonotonicTime { get }
    /// The wall clock. Any thread.
    var wallNow: WallTime { get }
    /// Runs `work` on the loop, in the order of the calls from one thread. Any thread. Work given to a loop that
    /// has shut down is dropped.
    func execute(_ work: @escaping @Sendable () -> Void)
    /// Runs `work` on the loop at or after `deadline`, once. Loop only.
    func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> TimerToken
    /// Loop only. Cancelling a timer that has fired does nothing.
    func cancel(_ timer: TimerToken)
    /// Traps anywhere but on the loop.
    func preconditionOnLoop()
}
