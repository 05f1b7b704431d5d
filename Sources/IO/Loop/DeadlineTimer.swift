/// One deadline that moves often and passes seldom: moving it later costs nothing.
///
/// A loop that was stalled looks at its timers before its sockets. So that our own stall is not
/// taken for a peer's silence, a passed deadline is looked at again a little later, and counts
/// only if it was not moved by what arrived there.
///
/// Confined to its loop. It does not keep its owner alive; the owner clears it when it closes.
final class DeadlineTimer: @unchecked Sendable {
    /// How much later a passed deadline is looked at again; many polls fit in.
    static let secondLook: Duration = .milliseconds(100)

    // @unchecked Sendable: used on the loop only, which `schedule` checks.
    private let loop: EventLoop
    private let expired: () -> Void
    private var deadline: MonotonicTime?
    private var suspected: MonotonicTime?
    private var scheduled: (token: TimerToken, time: MonotonicTime)?

    init(loop: EventLoop, expired: @escaping () -> Void) {
        self.loop = loop
        self.expired = expired
    }

    /// Replaces the deadline.
    func set(after duration: Duration) {
        let deadline = loop.now.advanced(by: duration)
        self.deadline = deadline
        if let scheduled, scheduled.time <= deadline { return }
        schedule(at: deadline)
    }

    func clear() {
        deadline = nil
        if let scheduled { loop.cancel(scheduled.token) }
        scheduled = nil
    }

    private func schedule(at time: MonotonicTime) {
        if let scheduled { loop.cancel(scheduled.token) }
        let token = loop.schedule(at: time) { [weak self] in self?.fire() }
        scheduled = (token, time)
    }

    private func fire() {
        scheduled = nil
        guard let deadline else { return }
        let now = loop.now
        if now < deadline {
            schedule(at: deadline)
        } else if suspected == deadline {
            self.deadline = nil
            expired()
        } else {
            suspected = deadline
            schedule(at: now.advanced(by: Self.secondLook))
        }
    }
}
