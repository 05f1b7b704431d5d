import FlotillaIO

/// An actor that lives on a loop: the loop is its executor.
protocol LoopConfined: Actor {
    nonisolated var loop: any Loop { get }
}

extension LoopConfined {
    /// As `assumeIsolated`, which asks the runtime, which asks the executor's class, whether this is the right thread: here
    /// the loop itself is asked. That is one look at a thread-local, and a message goes through dozens of these.
    ///
    /// Traps anywhere but on the loop.
    nonisolated func assumeOnLoop<R: Sendable, Failure: Error>(
        _ body: (isolated Self) throws(Failure) -> R
    ) throws(Failure) -> R {
        loop.preconditionOnLoop()
        // As the standard library's does it: the same function, whose parameter is not called isolated.
        return try withoutActuallyEscaping(body) { body throws(Failure) in
            try unsafeBitCast(body, to: ((Self) throws(Failure) -> R).self)(self)
        }
    }
}
