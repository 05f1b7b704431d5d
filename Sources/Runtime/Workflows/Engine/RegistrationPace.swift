import FlotillaIO

/// When the engines of a node may tell their groups that it runs workflows. A node that starts, or that was given up, has
/// to tell all of them: at once that would be as many commands as it has groups. What is paced is when they begin: groups
/// without a majority, which do not answer, hold up no others.
final class RegistrationPace: Sendable {
    /// So many may begin at once.
    static let burst = 256
    /// The others follow at this distance, 2,500 a second.
    static let interval: Duration = .microseconds(400)

    /// When the next one were due if none had come early.
    private let next = Lock(MonotonicTime(nanoseconds: 0))

    /// - Returns: when one that comes now may begin; in the past where it need not wait.
    func turn(_ now: MonotonicTime) -> MonotonicTime {
        next.withLock { next in
            let due = max(next, now)
            next = due.advanced(by: Self.interval)
            return due.advanced(by: Self.interval * -Self.burst)
        }
    }

    /// - Throws: `CancellationError`.
    func untilTurn(on loop: any Loop) async throws {
        let turn = turn(loop.now)
        if turn > loop.now { try await loop.sleep(until: turn) }
    }
}
