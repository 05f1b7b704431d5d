import FlotillaIO

/// How late a loop is: a timer is due every millisecond, and what it comes late by, the loop was busy with something
/// else, or had no processor.
final class LoopLag: Sendable {
    private struct State {
        var longest = Duration.zero
        var isStopped = false
    }

    private let loop: EventLoop
    private let state = Lock(State())
    private static let interval: Duration = .milliseconds(1)

    init(of loop: EventLoop) {
        self.loop = loop
        loop.execute { self.arm() }
    }

    /// The longest since the last call.
    func takeLongest() -> Duration {
        state.withLock { state in
            defer { state.longest = .zero }
            return state.longest
        }
    }

    func stop() { state.withLock { $0.isStopped = true } }

    private func arm() {
        let due = loop.now.advanced(by: Self.interval)
        _ = loop.schedule(at: due) { [self] in
            let lag = due.duration(to: loop.now)
            let isStopped = state.withLock { state in
                state.longest = max(state.longest, lag)
                return state.isStopped
            }
            if !isStopped { arm() }
        }
    }
}
