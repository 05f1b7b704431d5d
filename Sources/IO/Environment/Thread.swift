import Glibc

/// A POSIX thread, for the loop and the workers.
struct Thread: Sendable {
    private let handle: pthread_t

    /// Starts a thread that runs `body` and ends.
    /// - Parameter name: shown by `ps` and debuggers; the system keeps 15 bytes.
    static func start(
        name: String, _ body: @escaping @Sendable () -> Void
    ) -> Result<Thread, ThreadFailure> {
        let box = Unmanaged.passRetained(
            Body {
                nameCurrentThread(name)
                body()
            })
        var handle = pthread_t()
        let result = pthread_create(&handle, nil, threadMain, box.toOpaque())
        guard result == 0 else {
            box.release()
            return .failure(ThreadFailure(errno: result))
        }
        return .success(Thread(handle: handle))
    }

    /// Waits for the thread's end. Once; not on the thread itself.
    func join() {
        let result = pthread_join(handle, nil)
        precondition(result == 0, "pthread_join: \(systemErrorText(result))")
    }

    /// Lets the thread end on its own. Instead of `join`.
    func detach() { pthread_detach(handle) }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private static let threadMain: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
        if let context = $0 { Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run() }
        return nil
    }
}

/// Runs a call that blocks on a thread that it starts for it, so that it holds up nobody else: for calls that are rare and
/// long. Waits for it also when the task is cancelled.
/// - Throws: what `body` throws; `LoopError` where the system gives no thread.
package func onThread<Result: Sendable>(
    _ name: String, _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        switch Thread.start(name: name, { continuation.resume(with: Swift.Result(catching: body)) }) {
        case .success(let thread): thread.detach()
        case .failure(let failure):
            continuation.resume(
                throwing: LoopError(.cannotStart, "no thread for \(name): \(systemErrorText(failure.errno))"))
        }
    }
}

/// glibc shows its own call only to GNU sources. Without a name the thread works as well.
private func nameCurrentThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    let bytes = Array(name.utf8.prefix(15))
    _ = write(file, bytes, bytes.count)
    close(file)
}

/// The system gave no thread.
struct ThreadFailure: Error {
    var errno: Int32
}
