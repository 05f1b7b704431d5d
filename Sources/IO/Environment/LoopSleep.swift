extension Loop {
    /// Suspends the calling task, not the loop, until the loop's clock has reached `deadline`. Any task.
    ///
    /// On a loop that has shut down nothing wakes it but cancellation.
    /// - Throws: `CancellationError` as soon as the task is cancelled; the timer is given back.
    public func sleep(until deadline: MonotonicTime) async throws {
        guard now < deadline else { return try Task.checkCancellation() }
        let (woken, cancel) = promise(fulfilledAt: deadline, with: ())
        do {
            try await woken.wait()
        } catch {
            cancel()
            throw error
        }
    }

    /// Suspends for at least `duration`; see `sleep(until:)`.
    public func sleep(for duration: Duration) async throws {
        try await sleep(until: now.advanced(by: duration))
    }

    /// A promise that gets `value` at `deadline` unless it is fulfilled before. Any thread.
    /// - Returns: the promise, and what gives the timer back (any thread; after the deadline it does nothing).
    public func promise<Value: Sendable>(
        _ promise: Promise<Value> = Promise<Value>(), fulfilledAt deadline: MonotonicTime,
        with value: Value
    ) -> (promise: Promise<Value>, cancel: @Sendable () -> Void) {
        let timer = Lock<TimerToken?>(nil)
        execute {
            let token = self.schedule(at: deadline) { promise.fulfill(value) }
            timer.withLock { $0 = token }
        }
        // `execute` keeps the order of calls that follow one another, so this runs after the timer was set.
        return (promise, { self.execute { timer.withLock { $0 }.map(self.cancel) } })
    }
}
