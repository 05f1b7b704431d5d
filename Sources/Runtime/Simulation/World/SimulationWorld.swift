public import FlotillaIO
public import FlotillaRaft

/// One simulated fleet: virtual time, one ready list from which a seeded generator picks, links, disks and processes.
///
/// Made by `Simulation.run`. Confined to the simulation's own thread, which drives it; every call checks that, and
/// traps when it comes from elsewhere. A task that would leave by `Task.sleep` or `@MainActor` ends it with an error.
public final class SimulationWorld: @unchecked Sendable {
    // Unchecked: all state is touched on the simulation's thread only; entry points call `preconditionOnThread`.
    /// What all chance in this world follows from.
    public let seed: UInt64
    let limits: SimulationLimits

    /// Virtual time. Moves only when nothing can run, and then to the next timer.
    public private(set) var now = SimulationWorld.start
    /// How many jobs, callbacks and timers have run.
    public private(set) var steps: UInt64 = 0
    /// Covers every decision so far.
    public var traceHash: UInt64 { trace.hash }
    /// Delays, losses and partitions between the nodes.
    public private(set) lazy var links = SimulatedLinks(world: self)

    /// The monotonic clock does not start at 0, so that subtracting a little from it is harmless.
    static let start = MonotonicTime(nanoseconds: 1_000_000_000)

    private enum Runnable {
        case loop(SimulatedLoop)
        case job(UnownedJob)
        case work(@Sendable () -> Void)
        func isLoop(_ loop: SimulatedLoop) -> Bool {
            if case .loop(let other) = self { other === loop } else { false }
        }
    }
    /// What can run now, in no order: the generator picks.
    private var ready: ContiguousArray<Runnable> = []
    private var timers = TimerQueue()
    private var generator: SeededGenerator
    private var trace = Trace()

    /// The loop whose item is running.
    private(set) var runningLoop: SimulatedLoop?
    /// Why the scenario cannot pass any more; the first reason stays.
    private var failure: SimulationError?
    /// Nothing runs any more; what still arrives is dropped.
    private(set) var hasEnded = false

    var processes: [NodeID: SimulatedProcess] = [:]
    /// All of them, dead ones too, in the order of their starts.
    var processHistory: [SimulatedProcess] = []
    var disks: [NodeID: SimulatedDisk] = [:]
    private var clocks: [NodeID: MachineClock] = [:]

    init(seed: UInt64, limits: SimulationLimits) {
        self.seed = seed
        self.limits = limits
        generator = SeededGenerator(seed: seed)
    }

    func preconditionOnThread() {
        precondition(
            ExecutorHook.isInside(self),
            """
            the simulation with seed \(seed) was entered from a foreign thread: a task left it, by an executor, a \
            queue or a thread of its own. What runs in a simulation must stay on its thread
            """)
    }

    // MARK: Chance

    /// A number in 0 ..< bound from the seed.
    public func random(below bound: UInt64) -> UInt64 {
        preconditionOnThread()
        return generator.next(below: bound)
    }

    /// A duration in the range from the seed, to a nanosecond.
    public func random(in range: ClosedRange<Duration>) -> Duration {
        let low = range.lowerBound.wholeNanoseconds
        let width = UInt64(range.upperBound.wholeNanoseconds - low)
        return width == 0 ? range.lowerBound : .nanoseconds(low + Int64(random(below: width + 1)))
    }

    /// True with the given probability. 0 and 1 draw nothing.
    public func chance(_ probability: Double) -> Bool {
        guard probability > 0 else { return false }
        guard probability < 1 else { return true }
        return Double(random(below: 1 << 53)) < probability * Double(1 << 53)
    }

    /// A seed for a generator of the caller's own, such as a node's election jitter.
    public func nextSeed() -> UInt64 {
        preconditionOnThread()
        return generator.next()
    }

    // MARK: Time

    /// Suspends until virtual time has moved on by `duration`; zero lets whatever else is ready go first or not, as
    /// the seed has it (use it instead of `Task.yield`).
    /// - Throws: `CancellationError` when the task is cancelled, before or while it sleeps.
    public func sleep(for duration: Duration) async throws {
        preconditionOnThread()
        let sequence = timers.makeSequence()
        try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation {
                (continuation: UnsafeContinuation<Void, any Error>) in
                // A cancellation that came first has found nothing to cancel; it is seen here.
                guard !Task.isCancelled else {
                    return continuation.resume(throwing: CancellationError())
                }
                timers.insert(
                    sequence, at: now.advanced(by: max(duration, .zero)), .sleeper(continuation))
            }
        } onCancel: {
            preconditionOnThread()
            if case .sleeper(let continuation)? = timers.take(sequence) {
                continuation.resume(throwing: CancellationError())
            }
        }
    }

    /// Suspends until `condition` holds, looking once per `interval` of virtual time.
    /// - Throws: `SimulationError` (`conditionNotMet`) naming `what` after `limit`; whatever the condition throws.
    public func wait(
        until what: String, within limit: Duration, every interval: Duration = .milliseconds(1),
        _ condition: () async throws -> Bool
    ) async throws {
        let deadline = now.advanced(by: limit)
        while try await !condition() {
            guard now < deadline else {
                throw error(.conditionNotMet, "not within \(limit): \(what)")
            }
            try await sleep(for: interval)
        }
    }

    /// Runs `work` outside every loop after `delay` of virtual time: faults, mostly. Dropped if the body ends first.
    public func after(_ delay: Duration, _ work: @escaping @Sendable () -> Void) {
        at(now.advanced(by: max(delay, .zero)), work)
    }

    func at(_ deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) {
        preconditionOnThread()
        timers.insert(timers.makeSequence(), at: deadline, .world(work))
    }

    /// Moves a node's wall clock, now and for the rest of the run. Its monotonic clock does not notice.
    public func jumpWallClock(of node: NodeID, by offset: Duration) {
        preconditionOnThread()
        clock(of: node).wallOffset += offset
    }

    /// Lets a node's clocks, the monotonic one and the wall clock, run at `rate` seconds per second of virtual time,
    /// from now on. Timers that are set already fire when its monotonic clock says so.
    public func setClockRate(of node: NodeID, to rate: Double) {
        preconditionOnThread()
        let clock = clock(of: node)
        clock.setRate(rate, at: now)
        timers.reschedule(after: now) { loop, due in loop.clock === clock ? clock.moment(of: due) : nil }
    }

    /// A machine's clocks, which outlive its processes.
    func clock(of node: NodeID) -> MachineClock {
        if let clock = clocks[node] { return clock }
        let clock = MachineClock()
        clocks[node] = clock
        return clock
    }

    /// Makes a value part of the trace hash, for instance a state machine's hash at the end.
    public func note(_ value: UInt64) {
        preconditionOnThread()
        trace.add(.note, node: value, time: now)
    }

    func note(text: String) {
        trace.add(.note, node: UInt64(text.utf8.count), time: now)
        trace.add(text: text)
    }

    func note(_ decision: Decision, _ node: NodeID) {
        trace.add(decision, node: node.rawValue, time: now)
    }

    func error(_ code: SimulationError.Code, _ message: String, cause: (any Error)? = nil)
        -> SimulationError
    {
        SimulationError(code: code, message: message, seed: seed, time: now, cause: cause)
    }

    /// Ends the simulation with an error, after the item that runs now.
    func fail(_ error: SimulationError) {
        preconditionOnThread()
        if failure == nil { failure = error }
    }

    // MARK: For loops and the hook

    func addTimer(on loop: SimulatedLoop, due: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> UInt64 {
        let sequence = timers.makeSequence()
        timers.insert(sequence, at: max(loop.clock.moment(of: due), now), .loop(loop, due: due, work))
        return sequence
    }

    func cancelTimer(_ sequence: UInt64) { _ = timers.take(sequence) }

    func takeTimer(_ sequence: UInt64) -> TimerQueue.Action? { timers.take(sequence) }

    func enqueueGlobal(_ job: UnownedJob) { ready.append(.job(job)) }

    func makeReady(_ work: @escaping @Sendable () -> Void) { ready.append(.work(work)) }

    func makeReady(_ loop: SimulatedLoop) {
        loop.isReady = true
        ready.append(.loop(loop))
    }

    /// A paused loop keeps its items and its timers' turns until it goes on.
    func setPaused(_ isPaused: Bool, _ loop: SimulatedLoop) {
        preconditionOnThread()
        guard loop.isPaused != isPaused else { return }
        loop.isPaused = isPaused
        if isPaused, loop.isReady {
            loop.isReady = false
            ready.removeAll { $0.isLoop(loop) }
        } else if !isPaused, loop.hasItems {
            makeReady(loop)
        }
    }

    // MARK: Driving

    /// Runs what is ready and lets time pass until `isDone`.
    /// - Parameter stopsAtFailure: false lets what is left of a scenario that failed go on.
    /// - Returns: why it cannot go on, if that comes first.
    func drive(limits: SimulationLimits, stopsAtFailure: Bool = true, until isDone: () -> Bool) -> SimulationError? {
        let end = Self.start.advanced(by: limits.virtualTime)
        while !isDone() {
            if stopsAtFailure, let failure { return failure }
            while ready.isEmpty {
                guard let next = timers.nextDeadline() else {
                    return error(.deadlock, "nothing can run and no timer is pending\(pausedNodes)")
                }
                guard next <= end else {
                    return error(
                        .timeLimit, "the body has not finished within \(limits.virtualTime)")
                }
                advance(to: next)
            }
            guard steps < limits.steps else {
                return error(.stepLimit, "the body has not finished after \(limits.steps) steps")
            }
            step()
        }
        return stopsAtFailure ? failure : nil
    }

    /// Runs what can still run without any time passing.
    func drain(maxSteps: UInt64) -> SimulationError? {
        let last = steps + maxSteps
        while !ready.isEmpty {
            guard steps < last else {
                return error(.leftover, "tasks go on running after the body has finished")
            }
            step()
        }
        return nil
    }

    private func advance(to deadline: MonotonicTime) {
        now = max(now, deadline)
        while let (sequence, action) = timers.popDue(at: now) {
            switch action {
            case .loop(let loop, _, _): loop.append(.timer(sequence))
            case .world(let work): makeReady(work)
            case .sleeper(let continuation):
                trace.add(.wake, node: 0, time: now)
                continuation.resume()
            }
        }
    }

    private func step() {
        steps += 1
        let index = ready.count == 1 ? 0 : Int(generator.next(below: UInt64(ready.count)))
        switch ready[index] {
        case .loop(let loop):
            runningLoop = loop
            loop.runNext()
            runningLoop = nil
            // Only now: what the item appended has found the loop on the list already.
            if !loop.hasItems, loop.isReady { removeReady(loop, at: index) }
        case .job(let job):
            removeReady(at: index)
            trace.add(.poolJob, node: 0, time: now)
            ExecutorHook.run(job)
        case .work(let work):
            removeReady(at: index)
            trace.add(.worldWork, node: 0, time: now)
            work()
        }
    }

    private func removeReady(at index: Int) {
        ready.swapAt(index, ready.count - 1)
        ready.removeLast()
    }

    /// The item may have paused loops, which moves places: look the loop up if it does not stand at `index`.
    private func removeReady(_ loop: SimulatedLoop, at index: Int) {
        loop.isReady = false
        if index < ready.count, ready[index].isLoop(loop) { return removeReady(at: index) }
        ready.removeAll { $0.isLoop(loop) }
    }

    private var pausedNodes: String {
        let paused = processHistory.filter { $0.loops.contains { $0.isPaused && $0.hasItems } }
        guard !paused.isEmpty else { return "" }
        return "; \(paused.map(\.node.description).joined(separator: ", ")) paused with work to do"
    }

    // MARK: The end

    /// Names what outlives the body: it would be a leak in a process.
    func leftovers() -> String? {
        var sleepers = 0
        var loopTimers: [NodeID: Int] = [:]
        for action in timers.pending {
            switch action {
            case .sleeper: sleepers += 1
            // The timers of a crashed process are nobody's any more.
            case .loop(let loop, _, _) where loop.process.isAlive:
                loopTimers[loop.node, default: 0] += 1
            case .loop, .world: break
            }
        }
        var found = loopTimers.sorted { $0.key < $1.key }.map { "\($0.value) timers of \($0.key)" }
        if sleepers > 0 { found.append("\(sleepers) sleeping tasks") }
        for process in processHistory where process.isAlive && process.pendingWork > 0 {
            found.append("\(process.pendingWork) calls on the workers of \(process.node)")
        }
        return found.isEmpty
            ? nil : "after the body finished there were left: " + found.joined(separator: ", ")
    }

    /// Wakes whatever can be woken, so that tasks end instead of being lost.
    func unwind() {
        for process in processHistory { process.resume() }
        for continuation in timers.takeSleepers() {
            continuation.resume(throwing: CancellationError())
        }
    }

    /// Lets go of everything, so that no cycle outlives the run. Jobs that never ran are lost with their tasks.
    func tearDown() {
        hasEnded = true
        for process in processHistory { process.forget() }
        links.forget()
        processes = [:]
        processHistory = []
        disks = [:]
        ready = []
        timers = TimerQueue()
    }
}

extension SeededGenerator {
    /// A number in 0 ..< bound, off by at most bound / 2^64 from uniform. Not drawn by the standard library, whose way
    /// of doing so may change between releases and would change histories.
    fileprivate mutating func next(below bound: UInt64) -> UInt64 {
        precondition(bound > 0, "no number lies below 0")
        return next().multipliedFullWidth(by: bound).high
    }
}

extension Duration {
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
