import Glibc

/// A worker as the executor of an actor whose methods block.
///
/// Tasks await such an actor's methods as any other's. A loop, which awaits nothing, enters it with `run` and hears of
/// the end by a call back. Both take their turn in the worker's queue.
public final class WorkerExecutor: SerialExecutor {
    private let worker: any Worker
    public let loop: any Loop
    /// The thread that runs a piece of work just now: the worker's, or in a simulation the only one.
    private let holder = Lock<pthread_t?>(nil)

    /// - Parameter loop: whose clock the actor reads.
    public init(_ worker: any Worker, loop: any Loop) {
        self.worker = worker
        self.loop = loop
    }

    /// Runs `work`, in which `assumeIsolated` of this executor's actors works, then `completion` on `loop`.
    public func run(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop
    ) {
        worker.submit(
            { [holder] in
                holder.withLock { $0 = pthread_self() }
                work()
                holder.withLock { $0 = nil }
            }, then: completion, on: loop)
    }

    /// After the worker was shut down a job is dropped, as its other work is: who awaits must have ended before.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        run({ job.runSynchronously(on: self.asUnownedSerialExecutor()) }, then: {}, on: loop)
    }

    public func isIsolatingCurrentContext() -> Bool? { holder.withLock { $0 == pthread_self() } }

    public func checkIsolated() {
        precondition(isIsolatingCurrentContext() == true, "called off the worker")
    }
}
