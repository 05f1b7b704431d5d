import FlotillaIO

/// When the engines of a node may tell their groups that it runs workflows. A node that starts, or that was given up, has
/// to tell all of them: at once that would be as many commands as it has groups, each of which is sent again while it has no
/// answer. So they begin at a distance, and few are under way.
final class RegistrationPace: Sendable {
    /// So many may begin at once, and be under way.
    static let burst = 256
    /// The others follow at this distance, 2,500 a second.
    static let interval: Duration = .microseconds(400)
    /// One that has no answer for so long holds up no others: its group may have no majority.
    static let patience: Duration = .seconds(5)

    private struct State {
        /// When the next one were due if none had come early.
        var next = MonotonicTime(nanoseconds: 0)
        /// When those that are under way began.
        var underWay: [UInt64: MonotonicTime] = [:]
        var last: UInt64 = 0
    }
    private let state = Lock(State())

    /// Runs `body` in its turn.
    /// - Throws: `CancellationError`, and what `body` throws.
    func run<Result>(on loop: any Loop, _ body: () async throws -> Result) async throws -> Result {
        var number: UInt64?
        while number == nil {
            let turn = turn(loop.now)
            if turn > loop.now { try await loop.sleep(until: turn) }
            // Who finds no place comes again behind the others.
            number = begin(loop.now)
        }
        defer { if let number { end(number) } }
        return try await body()
    }

    /// - Returns: when one that comes now may begin; in the past where it need not wait.
    func turn(_ now: MonotonicTime) -> MonotonicTime {
        state.withLock { state in
            let due = max(state.next, now)
            state.next = due.advanced(by: Self.interval)
            return due.advanced(by: Self.interval * -Self.burst)
        }
    }

    /// - Returns: nil where as many as may be are under way.
    func begin(_ now: MonotonicTime) -> UInt64? {
        state.withLock { state in
            if state.underWay.count >= Self.burst {
                state.underWay = state.underWay.filter { $0.value.advanced(by: Self.patience) > now }
            }
            guard state.underWay.count < Self.burst else { return nil }
            state.last += 1
            state.underWay[state.last] = now
            return state.last
        }
    }

    func end(_ number: UInt64) { state.withLock { $0.underWay[number] = nil } }
}
