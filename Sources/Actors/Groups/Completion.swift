public import FlotillaIO

/// One answer that one task waits for: a promise that can fail, and that knows when nobody wants its answer any more.
/// The task suspends in its own context; whoever has the answer resumes it from any thread. Cancellation of the task
/// ends the wait at once, also when it came before the wait began. Copies are the same answer.
public struct Completion<Value: Sendable>: Sendable {
    @usableFromInline let promise = Promise<Result<Value, any Error>>()
    @usableFromInline let handler: (@Sendable (Result<Value, any Error>) -> Void)?

    @inlinable
    public init() { handler = nil }

    /// For an answer that no task waits for.
    /// - Parameter handler: called with it, once, by the thread that has it.
    init(_ handler: @escaping @Sendable (Result<Value, any Error>) -> Void) { self.handler = handler }

    /// Whether there is an answer, or nobody who wants one.
    @inlinable
    public var isFinished: Bool { promise.value != nil }

    /// Waits for the answer. To be called once.
    @inlinable
    public func wait() async throws -> Value {
        do {
            return try await promise.wait().get()
        } catch let error as CancellationError {
            // Nobody waits any longer: whoever works on the answer can drop it.
            finish(.failure(error))
            throw error
        }
    }

    /// Gives the answer; the first one counts.
    @inlinable
    public func finish(_ result: Result<Value, any Error>) {
        if promise.fulfill(result) { handler?(result) }
    }
}
