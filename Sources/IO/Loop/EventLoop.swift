import Glibc

/// A thread that runs a libuv loop, and the serial executor of the actors that live on it.
///
/// Jobs and closures wait in one contiguous queue behind a lock. Before the thread blocks for I/O
/// it says so under that lock, and only then does an enqueue from outside cost a wake-up: a busy
/// loop is never woken. The queue has no limit, because a Swift job cannot be refused; it is
/// bounded by the number of suspended tasks and by the inboxes above it.
///
/// It is a serial executor only, never a task executor (both on one object make calls between its
/// actors several times slower).
///
/// **Life.** `start()`, then `shutdown()`, once each; what is given earlier waits for the start.
/// Shutting down closes every listener and connection, drops the timers and ends the thread.
/// Closures given later are dropped. *Jobs of actors* cannot be dropped, since a task would hang
/// for ever: they run, still one after the other, on a short-lived thread that ends when none is
/// left; there, timers and sockets do nothing.
///
/// `@unchecked Sendable`: `shared` is a lock; every other variable is touched only by the thread
/// for which `isOnLoop` holds, and those threads follow each other with the lock in between.
public final class EventLoop: Loop, @unchecked Sendable {
    /// How often the queue is drained before sockets and timers get their turn.
    static let drainRoundsMax = 16

    public struct Counters: Hashable, Sendable {
        /// Jobs and closures that were queued.
        public var enqueues = 0
        /// Turns of the loop.
        public var passes = 0
        /// Times that another thread had to wake the loop.
        public var wakeups = 0
    }

    enum Item {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
        /// A closure that is not dropped either: somebody waits for it.
        case lastWord(@Sendable () -> Void)

        var survivesTheLoop: Bool {
            switch self {
            case .job, .lastWord: true
            case .closure: false
            }
        }
    }

    private enum Phase {
        /// Can transition to: running, ended.
        case notStarted
        /// Can transition to: ended.
        case running
        /// `isDraining`: a short-lived thread is running late jobs.
        case ended(isDraining: Bool)
    }

    private struct Shared {
        var phase = Phase.notStarted
        var queue: ContiguousArray<Item> = []
        /// The loop blocks for I/O, or is about to and will not look at the queue before.
        var isAsleep = false
        var stopIsRequested = false
        var thread: Thread?
        /// From the start on.
        var signal: WakeSignal?
        var counters = Counters()
    }

    let name: String
    private let shared = Lock(Shared())
    private let hasEnded = Latch()
    /// The libuv side; nil before the start and after the end. Set and cleared under the lock, used
    /// on the loop.
    private var handles: LoopHandles?
    private var spare: ContiguousArray<Item> = []
    private var timers = TimerHeap()
    private var isFiringTimers = false
    private(set) var isStopping = false
    private var resources: [ObjectIdentifier: any LoopResource] = [:]
    /// Streams with bytes to write at the end of this pass.
    private var unflushed: ContiguousArray<TCPStream> = []

    /// - Parameter name: the thread's name.
    public init(name: String = "flotilla-loop") { self.name = name }

    // MARK: Life

    /// Starts the thread. Once. The first start in a process ignores SIGPIPE: writing to a
    /// connection whose peer is gone must be an error, not the end of the process.
    public func start() throws(LoopError) {
        ignoreBrokenPipes()
        let signal = try WakeSignal()
        let handles = try LoopHandles(loop: self, signal)
        let started: Result<Thread, ThreadFailure> = shared.withLock { shared in
            guard case .notStarted = shared.phase else {
                preconditionFailure("\(name) was started twice, or after its shutdown")
            }
            self.handles = handles
            shared.signal = signal
            let result = Thread.start(name: name) { self.threadMain() }
            switch result {
            case .success(let thread):
                shared.thread = thread
                shared.phase = .running
            case .failure:
                self.handles = nil
            }
            return result
        }
        if case .failure(let failure) = started {
            handles.abandon()
            throw LoopError(
                .cannotStart,
                "no thread for \(name): \(systemErrorText(failure.errno)); raise the limit on processes"
            )
        }
    }

    /// Closes everything on the loop, ends its thread and joins it. Any context; idempotent: each
    /// call returns after the end. A name lookup that is under way delays it until the resolver
    /// answers.
    public func shutdown() async {
        var neverStarted = false
        var signal: WakeSignal?
        let late = shared.withLock { shared -> ContiguousArray<Item> in
            switch shared.phase {
            case .notStarted:
                neverStarted = true
                let queue = shared.queue
                shared.queue = []
                shared.phase = .ended(isDraining: false)
                return queue
            case .running:
                if !shared.stopIsRequested {
                    shared.stopIsRequested = true
                    signal = signalIfAsleep(&shared)
                }
            case .ended: break
            }
            return []
        }
        signal?.send()
        for item in late { enqueue(item) }
        if neverStarted { hasEnded.open() }
        await hasEnded.wait()
        // The thread's last act was to open the latch, so this waits for its exit alone.
        let thread = shared.withLock { shared in
            defer { shared.thread = nil }
            return shared.thread
        }
        thread?.join()
    }

    // MARK: Loop

    public var now: MonotonicTime { MonotonicTime(nanoseconds: UInt64(clock(CLOCK_MONOTONIC))) }

    public var wallNow: WallTime { WallTime(nanoseconds: clock(CLOCK_REALTIME)) }

    public func execute(_ work: @escaping @Sendable () -> Void) { enqueue(.closure(work)) }

    public func schedule(
        at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void
    ) -> TimerToken {
        preconditionOnLoop()
        guard !isStopping, handles != nil else { return TimerToken(0) }
        let token = timers.insert(at: deadline, work)
        if !isFiringTimers, timers.earliest() == deadline { armTimer() }
        return token
    }

    public func cancel(_ timer: TimerToken) {
        preconditionOnLoop()
        timers.cancel(timer)
    }

    public var isOnLoop: Bool { CurrentLoop.isCurrent(self) }

    public func preconditionOnLoop() {
        precondition(isOnLoop, "this must be called on \(name)")
    }

    /// Runs `body` on the loop and returns its result, also after the shutdown (see the type's
    /// description). For set-up and clean-up: it costs two trips between threads.
    public func run<R: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> R
    ) async throws(Failure) -> R {
        try await LoopActor(loop: self).perform(body)
    }

    /// What happened so far, for the tests that keep calls between actors cheap. Any thread.
    public var counters: Counters { shared.withLock { $0.counters } }

    // MARK: Executor

    public func enqueue(_ job: consuming ExecutorJob) { enqueue(.job(UnownedJob(job))) }

    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    public func checkIsolated() { preconditionOnLoop() }

    public func isIsolatingCurrentContext() -> Bool? { isOnLoop }

    private func enqueue(_ item: Item) {
        let isOnLoop = self.isOnLoop
        var signal: WakeSignal?
        let mustStartDrain = shared.withLock { shared -> Bool in
            if case .ended(let isDraining) = shared.phase {
                guard item.survivesTheLoop else { return false }
                shared.queue.append(item)
                shared.phase = .ended(isDraining: true)
                return !isDraining
            }
            shared.queue.append(item)
            shared.counters.enqueues += 1
            // On the loop the queue is drained again before the loop blocks.
            if !isOnLoop { signal = signalIfAsleep(&shared) }
            return false
        }
        // Behind the lock, which the woken thread takes first.
        signal?.send()
        if mustStartDrain { drainAfterEnd() }
    }

    /// What is to be sent, by one thread for each time that the loop falls asleep.
    private func signalIfAsleep(_ shared: inout Shared) -> WakeSignal? {
        guard shared.isAsleep else { return nil }
        shared.isAsleep = false
        shared.counters.wakeups += 1
        return shared.signal
    }
}

// MARK: The loop's thread

extension EventLoop {
    private func threadMain() {
        CurrentLoop.set(self)
        handles?.run()
        // Every handle is closed. What was given until now still runs, once: a closure or a job may
        // give more.
        let last = shared.withLock { shared in
            let queue = shared.queue
            shared.queue = []
            return queue
        }
        run(last)
        let (dropped, mustStartDrain) = shared.withLock { shared in
            let queue = shared.queue
            shared.queue = queue.filter(\.survivesTheLoop)
            shared.phase = .ended(isDraining: !shared.queue.isEmpty)
            handles = nil
            return (queue, !shared.queue.isEmpty)
        }
        CurrentLoop.set(nil)
        withExtendedLifetime(dropped) {}
        if mustStartDrain { drainAfterEnd() }
        hasEnded.open()
    }

    /// Runs jobs that came too late on a thread of their own, in order; `ended(isDraining: true)`
    /// keeps it the only one.
    private func drainAfterEnd() {
        let started = Thread.start(name: name) {
            CurrentLoop.set(self)
            while true {
                let batch = self.shared.withLock { shared in
                    let queue = shared.queue
                    shared.queue = []
                    if queue.isEmpty { shared.phase = .ended(isDraining: false) }
                    return queue
                }
                guard !batch.isEmpty else { return }
                self.run(batch)
            }
        }
        switch started {
        case .success(let thread): thread.detach()
        case .failure:
            // No thread to be had: the next late job tries again.
            shared.withLock { $0.phase = .ended(isDraining: false) }
        }
    }

    private func run(_ batch: ContiguousArray<Item>) {
        for item in batch {
            switch item {
            case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
            case .closure(let work), .lastWord(let work): work()
            }
        }
    }

    /// Called before and after the loop polls for I/O.
    ///
    /// Nothing that belongs to a user runs between the last look at the queue and the poll: bytes
    /// are written before it.
    func drain(beforePolling: Bool) {
        var rounds = 0
        while true {
            var batch = spare
            spare = []
            let stop = shared.withLock { shared in
                swap(&shared.queue, &batch)
                if beforePolling, rounds == 0 { shared.counters.passes += 1 }
                shared.isAsleep =
                    beforePolling && batch.isEmpty && unflushed.isEmpty && !shared.stopIsRequested
                return shared.stopIsRequested
            }
            let isDone = batch.isEmpty && unflushed.isEmpty
            run(batch)
            recycle(batch)
            flush()
            if stop, !isStopping { return beginStop() }
            rounds += 1
            guard !isDone else { break }
            guard rounds < Self.drainRoundsMax else {
                // More is waiting: poll without blocking, and come back.
                handles?.setBusy(true)
                return
            }
        }
        handles?.setBusy(false)
    }

    private func recycle(_ batch: consuming ContiguousArray<Item>) {
        guard batch.capacity <= 4096 else { return }
        batch.removeAll(keepingCapacity: true)
        spare = batch
    }

    private func flush() {
        guard !unflushed.isEmpty else { return }
        let streams = unflushed
        unflushed.removeAll(keepingCapacity: true)
        for stream in streams { stream.flush() }
    }

    private func beginStop() {
        isStopping = true
        timers = TimerHeap()
        for resource in Array(resources.values) { resource.loopWillStop() }
        handles?.close()
    }

    func fireTimers() {
        let now = self.now
        // A timer that is scheduled by another, already due, waits for the next pass, so that
        // sockets get their turn.
        let limit = timers.nextID
        isFiringTimers = true
        while let work = timers.popDue(at: now, before: limit) { work() }
        isFiringTimers = false
        // libuv calls back until nothing is due, without a poll: what is due already must not be.
        armTimer(millisecondsMin: 1)
    }

    private func armTimer(millisecondsMin: UInt64 = 0) {
        guard !isStopping, let deadline = timers.earliest() else { return }
        let remaining = deadline.nanoseconds - min(deadline.nanoseconds, now.nanoseconds)
        let milliseconds = remaining / 1_000_000 + (remaining % 1_000_000 > 0 ? 1 : 0)
        handles?.setTimer(milliseconds: max(millisecondsMin, milliseconds))
    }
}

// MARK: What lives on the loop

/// A socket; the loop closes it when it stops.
protocol LoopResource: AnyObject {
    func loopWillStop()
}

extension EventLoop {
    /// The libuv loop, for handles; nil when the loop has not started, stops or has ended.
    var openHandles: LoopHandles? {
        preconditionOnLoop()
        return isStopping ? nil : handles
    }

    func register(_ resource: any LoopResource) { resources[ObjectIdentifier(resource)] = resource }

    func unregister(_ resource: any LoopResource) { resources[ObjectIdentifier(resource)] = nil }

    /// As `execute`, also after the end: for what a delegate was promised to hear.
    func executeAlways(_ work: @escaping @Sendable () -> Void) { enqueue(.lastWord(work)) }

    /// Has `stream.flush()` called at the end of this pass.
    func flushLater(_ stream: TCPStream) { unflushed.append(stream) }
}

private func clock(_ id: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(id, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
