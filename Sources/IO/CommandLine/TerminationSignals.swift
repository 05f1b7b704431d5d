import Glibc

/// Turns SIGTERM and SIGINT into the cancellation of a task, for executables.
package enum TerminationSignals {
    /// Runs `body` in a child task. The first signal cancels it; the second calls `onSecondSignal` and ends the
    /// process at once with 128 + its number. Call it once in a process.
    package static func cancelling<Result: Sendable>(
        onSecondSignal: @escaping @Sendable () -> Void = {},
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let (signals, continuation) = AsyncStream.makeStream(
            of: Int32.self, bufferingPolicy: .bufferingOldest(1))
        SignalPipe.start { number, isFirst in
            if isFirst {
                continuation.yield(number)
            } else {
                onSecondSignal()
                _exit(128 + number)
            }
        }
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask { try await body() }
            group.addTask {
                for await _ in signals { break }
                return nil
            }
            while let outcome = try await group.next() {
                // A signal came first, or the body has ended: either way nothing else may go on.
                group.cancelAll()
                if let result = outcome { return result }
            }
            throw CancellationError()
        }
    }
}

/// The handler may only call what is safe in a signal handler, so it writes the number into a pipe, which a thread
/// reads. (Blocking the signals and waiting for them would miss what a thread started before takes.)
private enum SignalPipe {
    // Written once, before the handlers are installed, and only read after that.
    nonisolated(unsafe) private static var writeEnd: Int32 = -1

    private final class Reader: Sendable {
        let descriptor: Int32
        let receive: @Sendable (_ number: Int32, _ isFirst: Bool) -> Void
        init(descriptor: Int32, receive: @escaping @Sendable (Int32, Bool) -> Void) {
            self.descriptor = descriptor
            self.receive = receive
        }

        func run() {
            var isFirst = true
            while true {
                var number: UInt8 = 0
                let count = read(descriptor, &number, 1)
                if count < 0 && errno == EINTR { continue }
                guard count == 1 else { return }
                receive(Int32(number), isFirst)
                isFirst = false
            }
        }
    }

    static func start(_ receive: @escaping @Sendable (Int32, Bool) -> Void) {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0, "no pipe for signals: error \(errno)")
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        writeEnd = ends[1]
        // The thread lives as long as the process, as the handlers do.
        let reader = Unmanaged.passRetained(Reader(descriptor: ends[0], receive: receive))
        var thread = pthread_t()
        let outcome = pthread_create(
            &thread, nil,
            { context in
                Unmanaged<Reader>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            }, reader.toOpaque())
        precondition(outcome == 0, "no thread for signals: error \(outcome)")
        pthread_detach(thread)
        for number in [SIGTERM, SIGINT] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { SignalPipe.note($0) }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
    }

    private static func note(_ number: Int32) {
        var byte = UInt8(truncatingIfNeeded: number)
        let saved = errno
        _ = write(writeEnd, &byte, 1)
        errno = saved
    }
}
