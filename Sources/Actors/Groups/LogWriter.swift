import FlotillaIO
import FlotillaRaft

/// Feeds the log store: one batch of all groups is being made durable while the next one fills. There is never a
/// second fsync outstanding. Confined to the scheduler's loop.
struct LogWriter {
    let store: any LogStore
    let worker: any Worker
    let loop: any Loop

    private var filling: [GroupOutput.Write] = []
    /// The disk had no room for what fills; it is tried again when that is asked for.
    private(set) var isStalled = false
    private(set) var isWriting = false
    private(set) var batches: UInt64 = 0
    private(set) var entries: UInt64 = 0

    init(store: any LogStore, worker: any Worker, loop: any Loop) {
        self.store = store
        self.worker = worker
        self.loop = loop
    }

    var isIdle: Bool { !isWriting && filling.isEmpty }

    mutating func add(_ writes: [GroupOutput.Write]) { filling += writes }

    /// Hands the filled batch to the disk unless one is on its way. Core by core, what is in flight is bounded by
    /// `RaftOptions.maxUncommittedBytes`, and so is the batch that fills.
    /// - Parameter completion: called on the loop with the writes that are durable now, or with the failure.
    mutating func startIfIdle(
        then completion: @escaping @Sendable ([GroupOutput.Write], LogError?) -> Void
    ) {
        guard !isWriting, !isStalled, !filling.isEmpty else { return }
        isWriting = true
        var taken: [GroupOutput.Write] = []
        swap(&taken, &filling)
        var batch = LogBatch()
        batch.writes.reserveCapacity(taken.count)
        for write in taken {
            batch.writes.append(write.record)
        }
        let failure = Lock<LogError?>(nil)
        worker.submit(
            { [store, batch] in
                do throws(LogError) {
                    try store.write(batch)
                } catch {
                    failure.withLock { $0 = error }
                }
            },
            then: { [taken] in completion(taken, failure.withLock { $0 }) }, on: loop)
    }

    mutating func didComplete(_ writes: [GroupOutput.Write]) {
        isWriting = false
        batches += 1
        for write in writes { entries += UInt64(write.record.entries.count) }
        if mutated(.dropsWritesThatFill) { filling = [] }
    }

    /// The disk is full and nothing was written: these go first when it is tried again.
    mutating func didStall(_ writes: [GroupOutput.Write]) {
        isWriting = false
        isStalled = true
        filling = writes + filling
    }

    mutating func endStall() { isStalled = false }
}
