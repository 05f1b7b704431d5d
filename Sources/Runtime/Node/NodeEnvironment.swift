package import FlotillaActors
public import FlotillaIO

/// Everything outside a node that it depends on: its loop with clock and timers, network, disk, blocking workers, and
/// chance. A simulation puts its own in place.
public struct NodeEnvironment: Sendable {
    /// The executor of the node's actors, with clock and timers.
    public var loop: any Loop
    /// Connects to peers and listens for them.
    public var network: any Network
    /// Where the log and the snapshots are.
    public var fileSystem: any FileSystem
    /// Runs the log's writes, and nothing else.
    public var logWorker: any Worker
    /// In bytes; a segment of the log is left once it has grown by so much.
    package var logSegmentSizeLimit = DiskLogStore.defaultSegmentSizeLimit
    /// Runs snapshots and other blocking work.
    public var bulkWorker: any Worker
    /// Where this node's randomness begins.
    public var seed: UInt64
    /// Random numbers for ids and workflows, from any thread.
    public var random: @Sendable () -> UInt64
    /// The share of the machine's capacity that is in use, from 0 to 1; asked for once in a while, from any thread.
    public var load: @Sendable () -> Double = { 0 }
    /// The memory that this process takes, in bytes; asked for often, from any thread.
    public var memory: @Sendable () -> Int = { 0 }
    /// Ends loop and workers, as the last thing.
    public var shutdown: @Sendable () async -> Void
    /// Set by simulations, to compare replicas.
    package var observer: (any GroupObserver)?

    /// All of it, without load: whoever knows that sets it afterwards.
    public init(
        loop: any Loop, network: any Network, fileSystem: any FileSystem, logWorker: any Worker,
        bulkWorker: any Worker, seed: UInt64,
        random: @escaping @Sendable () -> UInt64, shutdown: @escaping @Sendable () async -> Void
    ) {
        self.loop = loop
        self.network = network
        self.fileSystem = fileSystem
        self.logWorker = logWorker
        self.bulkWorker = bulkWorker
        self.seed = seed
        self.random = random
        self.shutdown = shutdown
    }

    /// The machine's own: a libuv loop on a thread, TCP, the file system, two worker threads.
    /// - Throws: `LoopError` when the system has no thread or descriptor to spare.
    public static func system() throws -> NodeEnvironment {
        let loop = EventLoop(name: "flotilla")
        try loop.start()
        let logWorker = try ThreadWorker(name: "flotilla-log")
        let bulkWorker = try ThreadWorker(name: "flotilla-bulk")
        var environment = NodeEnvironment(
            loop: loop, network: TCPNetwork(), fileSystem: PosixFileSystem(), logWorker: logWorker,
            bulkWorker: bulkWorker, seed: .random(in: .min ... .max),
            random: { .random(in: .min ... .max) },
            shutdown: {
                await logWorker.shutdown()
                await bulkWorker.shutdown()
                await loop.shutdown()
            })
        environment.load = { MachineLoad.share() }
        environment.memory = { MachineMemory.used() }
        return environment
    }
}

extension Worker {
    /// Runs a blocking call and waits for it in the caller's own context.
    func call<Result: Sendable>(
        on loop: any Loop, _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        let outcome = Lock<Swift.Result<Result, any Error>?>(nil)
        return try await withCheckedThrowingContinuation { continuation in
            submit(
                {
                    let result = Swift.Result(catching: body)
                    outcome.withLock { $0 = result }
                },
                then: { continuation.resume(with: outcome.withLock { $0 }!) }, on: loop)
        }
    }
}
