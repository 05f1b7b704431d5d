/// Runs closures on a loop as jobs, which are never dropped.
actor LoopActor {
    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(loop: EventLoop) { self.loop = loop }

    func perform<R: Sendable, Failure: Error>(
        _ body: @Sendable () throws(Failure) -> R
    ) throws(Failure) -> R {
        try body()
    }
}
