public import FlotillaIO

/// A thread for blocking calls, of which only the order and the time they take are left: each piece of work runs at
/// once, after a delay drawn from its node's `SimulatedDisk.latency`, on no loop.
public final class SimulatedWorker: Worker, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only, which `world.at` checks.
    /// Outlives this: the world keeps every process until the run is over.
    private unowned let process: SimulatedProcess
    private var busyUntil = MonotonicTime(nanoseconds: 0)
    private var lastCompletion = MonotonicTime(nanoseconds: 0)
    private var pending = 0
    private var isShutDown = false
    private var waiters: [UnsafeContinuation<Void, Never>] = []

    init(process: SimulatedProcess) { self.process = process }

    /// Work given after `shutdown` is dropped, and its completion with it.
    public func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void,
        on loop: any Loop
    ) {
        guard !isShutDown else { return }
        let world = process.world
        let duration = max(world.random(in: world.disk(of: process.node).latency), .nanoseconds(1))
        busyUntil = max(world.now, busyUntil).advanced(by: duration)
        pending += 1
        process.pendingWork += 1
        let late = world.random(in: world.disk(of: process.node).completionDelay)
        // One worker's completions keep their order, as a thread's do; those of two workers do not.
        lastCompletion = max(busyUntil.advanced(by: late), lastCompletion)
        let isLate = lastCompletion > busyUntil
        let heardAt = lastCompletion
        let complete: @Sendable () -> Void = { [self] in
            loop.execute(completion)
            finishOne()
        }
        world.at(busyUntil) {
            work()
            if isLate { world.at(heardAt, complete) } else { complete() }
        }
    }

    public func shutdown() async {
        process.world.preconditionOnThread()
        isShutDown = true
        guard pending > 0 else { return }
        await withUnsafeContinuation { waiters.append($0) }
    }

    private func finishOne() {
        pending -= 1
        process.pendingWork -= 1
        guard pending == 0, isShutDown else { return }
        let ended = waiters
        waiters = []
        for waiter in ended { waiter.resume() }
    }
}
