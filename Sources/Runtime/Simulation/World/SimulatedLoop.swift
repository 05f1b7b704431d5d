public import FlotillaIO
public import FlotillaRaft

/// A loop that exists only as a queue in its simulation: items of one loop run in order, and the seeded generator
/// picks which loop goes next. Each start of a node gets a new one.
///
/// The loop of a process that has crashed goes on running, cut off from network and disk (see `SimulatedProcess`).
public final class SimulatedLoop: Loop, @unchecked Sendable {
    // Unchecked: everything here is touched on the simulation's thread only; `enqueue`, `execute` and the rest check.
    /// Whose loop it is.
    public let node: NodeID
    let world: SimulationWorld
    /// Whose death makes its timers unimportant.
    unowned let process: SimulatedProcess
    /// Its machine's.
    let clock: MachineClock

    enum Item {
        case job(UnownedJob)
        case work(@Sendable () -> Void)
        case timer(UInt64)
    }
    private var queue = ItemQueue()
    /// Stands on the ready list; true exactly while there are items and the loop is not paused.
    var isReady = false
    var isPaused = false

    init(process: SimulatedProcess) {
        node = process.node
        world = process.world
        self.process = process
        clock = process.world.clock(of: process.node)
    }

    public var now: MonotonicTime { clock.time(at: world.now) }
    public var wallNow: WallTime { clock.wallTime(at: world.now) }

    public func enqueue(_ job: consuming ExecutorJob) {
        append(.job(UnownedJob(job)))
    }

    public func execute(_ work: @escaping @Sendable () -> Void) {
        append(.work(work))
    }

    public func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void)
        -> TimerToken
    {
        preconditionOnLoop()
        return TimerToken(world.addTimer(on: self, due: deadline, work))
    }

    public func cancel(_ timer: TimerToken) {
        preconditionOnLoop()
        world.cancelTimer(timer.rawValue)
    }

    public func preconditionOnLoop() {
        precondition(isIsolatingCurrentContext() == true, "must be called on the loop of \(node)")
    }

    public func checkIsolated() { preconditionOnLoop() }

    public func isIsolatingCurrentContext() -> Bool? {
        ExecutorHook.isInside(world) && world.runningLoop === self
    }

    // MARK: For the world

    var hasItems: Bool { !queue.isEmpty }

    func append(_ item: Item) {
        // What comes after the end comes from objects that are being released; there is nobody to run it.
        guard !world.hasEnded else { return }
        world.preconditionOnThread()
        queue.append(item)
        if !isReady, !isPaused { world.makeReady(self) }
    }

    /// Runs the next item.
    func runNext() {
        switch queue.removeFirst() {
        case .job(let job):
            world.note(.loopJob, node)
            job.runSynchronously(on: asUnownedSerialExecutor())
        case .work(let work):
            world.note(.loopWork, node)
            work()
        case .timer(let sequence):
            // Cancelled after its time came and before its turn: it does not run, as with a real loop.
            guard case .loop(_, _, let work)? = world.takeTimer(sequence) else { return }
            world.note(.loopTimer, node)
            work()
        }
    }

    func forgetItems() { queue = ItemQueue() }
}

/// First in, first out; space is given back when it runs empty or half of it is used up.
private struct ItemQueue {
    private var items: ContiguousArray<SimulatedLoop.Item> = []
    private var head = 0
    var isEmpty: Bool { head == items.count }

    mutating func append(_ item: SimulatedLoop.Item) { items.append(item) }

    mutating func removeFirst() -> SimulatedLoop.Item {
        let item = items[head]
        // Let go of what the item holds now, not when the array is tidied up.
        items[head] = .timer(0)
        head += 1
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 64, head * 2 >= items.count {
            items.removeSubrange(0..<head)
            head = 0
        }
        return item
    }
}
