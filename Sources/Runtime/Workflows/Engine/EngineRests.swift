import FlotillaIO

// Runs that only wait leave memory: their bodies are stopped, and replayed when their time comes or something happens to
// them.

extension WorkflowEngine {
    /// Runs that wake, or are put to rest, in one turn of the loop.
    private static let runsPerTurn = 500
    /// Between turns that put to rest.
    private static let turnPause: Duration = .milliseconds(10)

    /// After which bodies that only wait are put to rest while others wait for room.
    private static let crowdedPause: Duration = .milliseconds(100)

    private var restPause: Duration? {
        let range = RunExecution.restPauses
        return environment.limits.restsAfter.map { min(max($0, range.lowerBound), range.upperBound) }
    }

    /// A run has begun here.
    /// - Returns: whether nobody looks after it yet.
    func noteRun(in state: inout EngineState) -> Bool {
        guard let pause = restPause, state.nextRestLook == nil else { return false }
        state.nextRestLook = environment.loop.now.advanced(by: pause / 2)
        return true
    }

    /// Has `lookAtRests` called when there is something for it. Any thread.
    func watchRests() {
        environment.loop.execute { [weak self] in self?.armRestTimer() }
    }

    /// Loop only.
    private func armRestTimer() {
        let loop = environment.loop
        let (now, wallNow) = (loop.now, loop.wallNow.nanoseconds)
        let limits = environment.limits
        let (old, time) = state.withLock { state -> (TimerToken?, MonotonicTime?) in
            guard !state.bell.isFinished else { return (state.takeRestTimer(), nil) }
            var time = state.nextRestLook
            if let wake = state.resting.firstWake {
                let (left, overflow) = wake.subtractingReportingOverflow(wallNow)
                let pause = overflow ? limits.wallClockCheckInterval : .nanoseconds(max(0, left))
                let wakeTime = now.advanced(by: min(pause, limits.wallClockCheckInterval))
                time = time.map { min($0, wakeTime) } ?? wakeTime
            }
            if state.resting.hasPutOff {
                let turn = now.advanced(by: Self.turnPause)
                time = time.map { min($0, turn) } ?? turn
            }
            guard let time, state.restTimer.map({ $0.time > time }) ?? true else { return (nil, nil) }
            return (state.takeRestTimer(), time)
        }
        if let old { loop.cancel(old) }
        guard let time else { return }
        let token = loop.schedule(at: time) { [weak self] in self?.lookAtRests() }
        state.withLock { $0.restTimer = (token, time) }
    }

    /// Puts to rest what only waits, and wakes what is due. Loop only.
    private func lookAtRests() {
        let loop = environment.loop
        let (now, wallNow) = (loop.now, loop.wallNow.nanoseconds)
        let usual = restPause
        let lateBefore = now.advanced(by: .zero - environment.limits.stepGracePeriod)
        let (stops, late, wakes) = state.withLock { state -> ([Promise<RunExecution.Stop>], [RunExecution], Bool) in
            state.restTimer = nil
            guard !state.bell.isFinished else { return ([], [], false) }
            var stops: [Promise<RunExecution.Stop>] = []
            var late: [RunExecution] = []
            // Room is needed: who only waits makes some soon.
            let pause = state.resting.hasPutOff ? usual.map { min($0, Self.crowdedPause) } : usual
            if let pause, state.resting.hasPutOff, let time = state.nextRestLook {
                state.nextRestLook = min(time, now.advanced(by: pause / 2))
            }
            if let pause, let time = state.nextRestLook, time <= now {
                late = state.bodiesThatGoOn(since: lateBefore)
                stops = state.putToRest(after: pause, now, limit: Self.runsPerTurn)
                let untilNext = stops.count < Self.runsPerTurn ? pause / 2 : Self.turnPause
                state.nextRestLook = state.running.isEmpty ? nil : now.advanced(by: untilNext)
            }
            let due = state.resting.takeDue(at: wallNow, limit: Self.runsPerTurn)
            for assignment in due { state.receive(assignment) }
            let hasTurns = state.takeTurns(now, limit: Self.runsPerTurn)
            return (stops, late, hasTurns || !due.isEmpty)
        }
        for stop in stops { stop.fulfill(.rests) }
        for execution in late { nameUnresponsive(execution) }
        if wakes { ring() }
        armRestTimer()
    }

    /// Nothing rests any more, because the engine has ended. Any thread.
    func stopWatchingRests() {
        state.withLock { $0.resting.removeAll() }
        watchRests()
    }
}

extension EngineState {
    mutating func takeRestTimer() -> TimerToken? {
        defer { restTimer = nil }
        return restTimer?.token
    }

    /// Ends the bodies that only wait, `limit` of them at most.
    /// - Returns: what stops them, in the order of their keys, so that a simulated history can be repeated where there are
    ///   no more than `limit`.
    mutating func putToRest(
        after pause: Duration, _ now: MonotonicTime, limit: Int
    ) -> [Promise<RunExecution.Stop>] {
        var found: [(key: RunKey, until: Int64?)] = []
        for (key, here) in running where here.rest == nil {
            guard let until = here.execution?.rest(after: pause * (1 << min(here.restlessness, 10))) else { continue }
            found.append((key, until))
            if found.count == limit { break }
        }
        return found.sorted { $0.key < $1.key }.compactMap { key, until in
            setRest(Rest(until: until, beganAt: now), of: key)
        }
    }

    /// Those that were put to rest by a time and have not ended, once each, in the order of their keys.
    mutating func bodiesThatGoOn(since time: MonotonicTime) -> [RunExecution] {
        let late = running.filter { $0.value.rest.map { !$0.isNamed && $0.beganAt <= time } ?? false }
        return late.sorted { $0.key < $1.key }.compactMap { key, here in
            if var rest = here.rest {
                rest.isNamed = true
                _ = setRest(rest, of: key)
            }
            return here.execution
        }
    }
}
