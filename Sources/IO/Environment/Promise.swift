/// One value that comes once, and at most one task that waits for it.
///
/// The wait has two steps (prepare, register): a value or a cancellation that comes between them, or before both,
/// is remembered as a state and not lost. Copies are the same promise.
public struct Promise<Value: Sendable>: Identifiable, Sendable {
    @usableFromInline
    enum State {
        /// Can transition to: waiting, fulfilled, cancelled.
        case empty
        /// Can transition to: fulfilled, cancelled.
        case waiting(UnsafeContinuation<Value, any Error>)
        /// The last state; every wait gets the value.
        case fulfilled(Value)
        /// The waiting task was cancelled. Can transition to: fulfilled.
        case cancelled
    }

    @usableFromInline let state = Lock(State.empty)

    @inlinable
    public init() {}

    /// The same for all copies, and for no other promise while one of them is there.
    public var id: ObjectIdentifier { ObjectIdentifier(state.storage) }

    /// Hands over the value. The first one wins. Any thread.
    /// - Returns: whether it was the first.
    @inlinable
    @discardableResult
    public func fulfill(_ value: Value) -> Bool {
        let (isFirst, waiter) = state.withLock {
            state -> (Bool, UnsafeContinuation<Value, any Error>?) in
            switch state {
            case .fulfilled: return (false, nil)
            case .empty, .cancelled:
                state = .fulfilled(value)
                return (true, nil)
            case .waiting(let continuation):
                state = .fulfilled(value)
                return (true, continuation)
            }
        }
        waiter?.resume(returning: value)
        return isFirst
    }

    /// The value if it is there. Any thread.
    @inlinable
    public var value: Value? {
        state.withLock { state in
            if case .fulfilled(let value) = state { value } else { nil }
        }
    }

    /// Waits for the value. One task at a time.
    /// - Throws: `CancellationError` when the task is cancelled and the value has not come.
    @inlinable
    public func wait() async throws -> Value {
        try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation { continuation in register(continuation) }
        } onCancel: {
            cancel()
        }
    }

    @inlinable
    func register(_ continuation: UnsafeContinuation<Value, any Error>) {
        let outcome = state.withLock { state -> Result<Value, any Error>? in
            switch state {
            case .empty:
                state = .waiting(continuation)
                return nil
            case .fulfilled(let value): return .success(value)
            case .cancelled:
                state = .empty
                return .failure(CancellationError())
            case .waiting: preconditionFailure("two tasks wait for one promise")
            }
        }
        if let outcome { continuation.resume(with: outcome) }
    }

    @inlinable
    func cancel() {
        let waiter = state.withLock { state -> UnsafeContinuation<Value, any Error>? in
            switch state {
            case .empty:
                state = .cancelled
                return nil
            case .waiting(let continuation):
                state = .empty
                return continuation
            case .fulfilled, .cancelled: return nil
            }
        }
        waiter?.resume(throwing: CancellationError())
    }
}
