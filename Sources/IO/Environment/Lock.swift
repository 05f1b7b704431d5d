import Glibc

/// State behind a pthread mutex. (`Synchronization.Mutex` gives false positives under the thread sanitizer.) Copies share
/// the state.
///
/// `@unchecked Sendable`: the state is touched only in `withLock`, between lock and unlock.
public struct Lock<State>: @unchecked Sendable {
    /// State and mutex in one allocation, whose addresses stay.
    private final class Storage: ManagedBuffer<State, pthread_mutex_t> {
        deinit {
            _ = withUnsafeMutablePointerToElements { pthread_mutex_destroy($0) }
        }
    }
    private let storage: Storage

    public init(_ state: State) {
        let storage = Storage.create(minimumCapacity: 1) { _ in state }
        self.storage = unsafeDowncast(storage, to: Storage.self)
        let result = storage.withUnsafeMutablePointerToElements { mutex in
            mutex.initialize(to: pthread_mutex_t())
            return pthread_mutex_init(mutex, nil)
        }
        precondition(result == 0, "pthread_mutex_init: \(systemErrorText(result))")
    }

    /// Runs `body` alone with the state. Not recursive.
    public func withLock<R>(_ body: (inout State) throws -> R) rethrows -> R {
        try storage.withUnsafeMutablePointers { state, mutex in
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return try body(&state.pointee)
        }
    }
}
