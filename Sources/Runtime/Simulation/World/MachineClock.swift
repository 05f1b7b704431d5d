import FlotillaIO

/// The clocks of one machine: a monotonic one, which may run faster or slower than virtual time, and a wall clock that
/// runs with it and may jump.
final class MachineClock: @unchecked Sendable {
    // Unchecked: changed and read on the simulation's thread only.

    /// 2030-01-01 UTC: the wall clock when the simulation starts.
    private static let wallStart: Int64 = 1_893_456_000_000_000_000
    private static let unit: UInt64 = 1_000_000_000

    /// What the clock shows at the moment `since` of virtual time, the last change of its rate.
    private var base = SimulationWorld.start
    private var since = SimulationWorld.start
    /// Nanoseconds per second.
    private var rate = MachineClock.unit
    var wallOffset: Duration = .zero

    func setRate(_ secondsPerSecond: Double, at now: MonotonicTime) {
        precondition(
            (0.001...1_000).contains(secondsPerSecond),
            "a clock at \(secondsPerSecond) times its speed is not simulated")
        base = time(at: now)
        since = now
        rate = UInt64((secondsPerSecond * Double(Self.unit)).rounded())
    }

    /// What the monotonic clock shows at a moment of virtual time.
    func time(at now: MonotonicTime) -> MonotonicTime {
        let passed = now.nanoseconds - since.nanoseconds
        guard rate != Self.unit else { return MonotonicTime(nanoseconds: base.nanoseconds + passed) }
        let product = passed.multipliedFullWidth(by: rate)
        return MonotonicTime(nanoseconds: base.nanoseconds + Self.unit.dividingFullWidth(product).quotient)
    }

    /// The first moment of virtual time at which the monotonic clock shows `time`; the last change of its rate for
    /// what came before that.
    func moment(of time: MonotonicTime) -> MonotonicTime {
        guard time > base else { return since }
        let wanted = time.nanoseconds - base.nanoseconds
        guard rate != Self.unit else { return MonotonicTime(nanoseconds: since.nanoseconds + wanted) }
        let (quotient, remainder) = rate.dividingFullWidth(wanted.multipliedFullWidth(by: Self.unit))
        return MonotonicTime(nanoseconds: since.nanoseconds + quotient + (remainder > 0 ? 1 : 0))
    }

    func wallTime(at now: MonotonicTime) -> WallTime {
        WallTime(nanoseconds: Self.wallStart + Int64(time(at: now).nanoseconds) + wallOffset.wholeNanoseconds)
    }
}
