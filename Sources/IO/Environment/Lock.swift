public import Glibc

/// State behind a pthread mutex. (`Synchronization.Mutex` gives false positives under the thread sanitizer.) Copies share
/// the state.
///
/// `@unchecked Sendable`: the state is touched only in `withLock`, between lock and unlock.
public struct Lock<State>: @unchecked Sendable {
    /// State and mutex in one allocation, whose addresses stay.
    @usableFromInline
    final class Storage: ManagedBuffer<State, pthread_mutex_t> {
        @inlinable
        deinit {
            _ = withUnsafeMutablePointerToElements { pthread_mutex_destroy($0) }
        }
    }
    @usableFromInline let storage: Storage

    @inlinable
    public init(_ state: State) {
        let storage = Storage.create(minimumCapacity: 1) { _ in state }
        self.storage = unsafeDowncast(storage, to: Storage.self)
        let result = self.storage.withUnsafeMutablePointerToElements { mutex in
            mutex.initialize(to: pthread_mutex_t())
            return pthread_mutex_init(mutex, nil)
        }
        if result != 0 { cannotMakeMutex(result) }
    }

    /// Runs `body` alone with the state. Not recursive.
    @inlinable
    public func withLock<R>(_ body: (inout State) throws -> R) rethrows -> R {
        try storage.withUnsafeMutablePointers { state, mutex in
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return try body(&state.pointee)
        }
    }
}

@usableFromInline
func cannotMakeMutex(_ number: Int32) -> Never {
    preconditionFailure("pthread_mutex_init: \(systemErrorText(number))")
}
