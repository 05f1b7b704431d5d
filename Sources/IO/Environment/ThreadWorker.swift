import Glibc

/// A thread for calls that block. Its queue has no limit of its own: who submits bounds what is
/// under way (the log has one batch under way and one that fills).
///
/// `@unchecked Sendable`: the variables are touched only between `pthread_mutex_lock` and
/// `pthread_mutex_unlock`.
public final class ThreadWorker: Worker, @unchecked Sendable {
    private struct Item {
        var work: @Sendable () -> Void
        var completion: @Sendable () -> Void
        var loop: any Loop
    }

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let hasEnded = Latch()

    // Between lock and unlock only. Separate accesses, because another thread writes while
    // `nextBatch` waits.
    private var queue: ContiguousArray<Item> = []
    private var isShuttingDown = false
    private var thread: Thread?

    /// Starts the thread, which lives until `shutdown`.
    /// - Parameter name: the thread's name.
    public init(name: String = "flotilla-worker") throws(LoopError) {
        mutex.initialize(to: pthread_mutex_t())
        condition.initialize(to: pthread_cond_t())
        var result = pthread_mutex_init(mutex, nil)
        precondition(result == 0, "pthread_mutex_init: \(systemErrorText(result))")
        result = pthread_cond_init(condition, nil)
        precondition(result == 0, "pthread_cond_init: \(systemErrorText(result))")
        switch Thread.start(name: name, { self.run() }) {
        case .success(let thread): withLock { self.thread = thread }
        case .failure(let failure):
            throw LoopError(
                .cannotStart,
                "no thread for \(name): \(systemErrorText(failure.errno)); raise the limit on processes"
            )
        }
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Work given after `shutdown` is dropped, and its completion with it.
    public func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void,
        on loop: any Loop
    ) {
        let isFirst = withLock {
            guard !isShuttingDown else { return false }
            queue.append(Item(work: work, completion: completion, loop: loop))
            return queue.count == 1
        }
        // Behind the lock, which the woken thread takes first. With more than one, somebody has done so.
        if isFirst { pthread_cond_signal(condition) }
    }

    public func shutdown() async {
        withLock {
            isShuttingDown = true
            pthread_cond_signal(condition)
        }
        await hasEnded.wait()
        // The thread's last act was to open the latch, so this waits for its exit alone.
        let thread = withLock {
            defer { self.thread = nil }
            return self.thread
        }
        thread?.join()
    }

    private func run() {
        while let batch = nextBatch() {
            for item in batch {
                item.work()
                item.loop.execute(item.completion)
            }
        }
        hasEnded.open()
    }

    /// Waits for work; nil when all is done and no more may come.
    private func nextBatch() -> ContiguousArray<Item>? {
        withLock {
            while queue.isEmpty {
                if isShuttingDown { return nil }
                pthread_cond_wait(condition, mutex)
            }
            let batch = queue
            queue = []
            return batch
        }
    }

    private func withLock<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }
}
