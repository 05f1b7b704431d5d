import FlotillaIO
import Glibc

/// Threads for calls that block, so that they do not hold up Swift's own pool, which has one thread per core.
final class BlockingPool: @unchecked Sendable {
    // `@unchecked Sendable`: `queue` and `conditions` are touched only under the mutex.
    private static let threadCount = 64

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let isFilled = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var queue: [@Sendable () -> Void] = []

    /// The one of this process; its threads live as long.
    static let shared = BlockingPool()

    private init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(isFilled, nil)
        for _ in 0..<Self.threadCount {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self).toOpaque()
            let outcome = pthread_create(
                &thread, nil,
                { context in
                    Unmanaged<BlockingPool>.fromOpaque(context!).takeRetainedValue().work()
                    return nil
                }, context)
            precondition(outcome == 0, "no thread for requests: error \(outcome)")
            pthread_detach(thread)
        }
    }

    private func work() {
        while true {
            pthread_mutex_lock(mutex)
            while queue.isEmpty { pthread_cond_wait(isFilled, mutex) }
            let job = queue.removeFirst()
            pthread_mutex_unlock(mutex)
            job()
        }
    }

    /// Runs `body` on one of the threads. Waits for it also when the task is cancelled: bodies have time limits.
    func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws
        -> Result
    {
        try Task.checkCancellation()
        return try await withCheckedThrowingContinuation { continuation in
            pthread_mutex_lock(mutex)
            queue.append { continuation.resume(with: Swift.Result(catching: body)) }
            pthread_mutex_unlock(mutex)
            pthread_cond_signal(isFilled)
        }
    }
}
