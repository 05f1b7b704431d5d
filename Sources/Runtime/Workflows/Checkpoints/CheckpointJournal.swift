import FlotillaActors
package import FlotillaIO

/// The way to a node's checkpoint store. Commands are applied on a loop and the store blocks, so changes wait here until
/// a worker writes them; whoever reads, or wants everything durable, writes what waits first. So a reader finds all that
/// was applied before, and a snapshot counts only once all that its state refers to is durable.
///
/// The store is opened by its first use: nodes whose workflows record no checkpoints have none.
package final class CheckpointJournal: Sendable {
    private struct Backlog {
        var changes: [CheckpointChange] = []
        var bytes = 0
        /// A worker has been told.
        var isScheduled = false
        /// Why it does not get shorter, or why nothing is taken any more.
        var problem: Problem?
    }

    private enum Problem {
        /// The disk is full. It is tried again then.
        case stalled(LogError, retryAt: MonotonicTime)
        case failed(LogError)
    }

    private enum State {
        /// Also while the disk is full: RocksDB takes nothing more until it is opened again.
        /// Can transition to: open; failed; closed.
        case unopened
        /// Can transition to: unopened; failed; closed.
        case open(any CheckpointStore)
        /// Nobody knows what is on the disk. The log still has all that no durable snapshot covers, so a restart makes
        /// the history whole. Can transition to: closed.
        case failed(LogError)
        case closed
    }

    /// While more waits, nothing is applied.
    static let backlogBytesMax = 8 << 20
    private static let retryInterval: Duration = .seconds(1)

    private let backlog = Lock(Backlog())
    /// Held while the store is used.
    private let state = Lock(State.unopened)
    private let makeStore: @Sendable () throws(LogError) -> any CheckpointStore
    private let worker: any Worker
    private let loop: any Loop
    private let logger: FlotillaLogger

    init(
        worker: any Worker, loop: any Loop, logger: FlotillaLogger,
        makeStore: @escaping @Sendable () throws(LogError) -> any CheckpointStore
    ) {
        self.worker = worker
        self.loop = loop
        self.logger = logger
        self.makeStore = makeStore
    }

    /// A journal that keeps its records in memory.
    package convenience init(inMemoryOn worker: any Worker, loop: any Loop) {
        self.init(worker: worker, loop: loop, logger: .silent) { MemoryCheckpointStore() }
    }

    // MARK: Writing

    /// Takes changes in their order. On the loop that applies them.
    func append(_ changes: [CheckpointChange]) {
        guard !changes.isEmpty else { return }
        let mustSchedule = backlog.withLock { backlog in
            // What is lost here is in the log.
            if case .failed = backlog.problem { return false }
            backlog.changes += changes
            backlog.bytes += changes.reduce(0) { $0 + $1.bytes }
            // While the disk is full, `retry` decides.
            guard backlog.problem == nil, !backlog.isScheduled else { return false }
            backlog.isScheduled = true
            return true
        }
        if mustSchedule { schedule() }
    }

    /// Tries again what a full disk refused, if it is time to. On the loop, now and then.
    func retry(now: MonotonicTime) {
        let isDue = backlog.withLock { backlog in
            guard case .stalled(let error, let retryAt) = backlog.problem, retryAt <= now, !backlog.isScheduled else {
                return false
            }
            backlog.problem = .stalled(error, retryAt: now.advanced(by: Self.retryInterval))
            backlog.isScheduled = true
            return true
        }
        if isDue { schedule() }
    }

    private func schedule() {
        worker.submit({ self.writeBacklog() }, then: {}, on: loop)
    }

    private func writeBacklog() {
        backlog.withLock { $0.isScheduled = false }
        do throws(LogError) {
            try withStore { _ throws(LogError) in }
        } catch {
            // `stall` or `fail` has said so.
        }
    }

    /// Whether so little waits that more may be applied: what is not on the disk is in memory.
    var hasRoom: Bool { backlog.withLock { $0.bytes <= Self.backlogBytesMax } }

    /// What an operator has to know; nil if all is well.
    var warning: String? {
        switch backlog.withLock({ $0.problem }) {
        case nil: nil
        case .stalled(let error, _): "checkpoints wait for room on the disk: \(error.message)"
        case .failed(let error): "checkpoints are not kept until this node is restarted: \(error.message)"
        }
    }

    /// Makes everything durable that was appended. Blocks.
    func sync() throws(LogError) {
        let isUnused = state.withLock { state in
            if case .unopened = state { backlog.withLock { $0.changes.isEmpty } } else { false }
        }
        guard !isUnused else { return }
        try withStore { store throws(LogError) in try store.sync() }
    }

    // MARK: Reading

    /// Reads on the worker what was appended before the call.
    func read<Result: Sendable>(
        _ body: @escaping @Sendable (any CheckpointStore) throws(LogError) -> Result
    ) async throws -> Result {
        try await worker.call(on: loop) { try self.withStore(body) }
    }

    /// A part of a key's history. The records that there must be are there, or it throws.
    /// - Parameters:
    ///   - start: the number of a record that there is.
    ///   - count: the number behind the key's last record, by the state that was applied.
    func page(
        of key: CheckpointKey, from start: UInt64, limit: Int, until count: UInt64
    ) async throws -> [CheckpointRecord] {
        guard start < count else { return [] }
        let records = try await read { store throws(LogError) in
            try store.history(
                of: key, from: start, limit: min(limit, Int(clamping: count - start)), bytesMax: Self.pageBytesMax)
        }
        guard records.first?.sequence == start else { throw Self.missing(start, of: key, count) }
        // A step may have no result.
        guard !StepArchive.isSeries(key.name) else { return records.filter { $0.sequence < count } }
        for (offset, record) in records.enumerated() where record.sequence != start + UInt64(offset) {
            throw Self.missing(start + UInt64(offset), of: key, count)
        }
        return records
    }

    /// Reads what the history has of a step, in its order, until `body` returns false.
    func visitSteps(
        _ name: ByteText, _ archive: StepArchive, of owner: CheckpointRun,
        _ body: (CheckpointRecord) throws -> Bool
    ) async throws {
        let key = CheckpointKey(run: owner, name: StepArchive.series(of: name))
        var (last, count) = (nil as UInt64?, UInt64(0))
        while let next = archive.first(from: last.map { $0 + 1 } ?? 0) {
            for record in try await page(of: key, from: next, limit: 1_000, until: archive.end) {
                guard try body(record) else { return }
                (last, count) = (record.sequence, count + 1)
            }
        }
        guard count == archive.count else { throw Self.missing(archive.end - 1, of: key, archive.end) }
    }

    private static let pageBytesMax = 1 << 20

    static func missing(_ number: UInt64, of key: CheckpointKey, _ count: UInt64) -> LogError {
        LogError(
            .damaged,
            "the history of '\(key.name)' of \(key.run.run) has \(count) records, and number \(number) is not there")
    }

    /// Writes what waits, then runs `body`. Blocks.
    func withStore<Result>(
        _ body: (any CheckpointStore) throws(LogError) -> Result
    ) throws(LogError) -> Result {
        let result: Swift.Result<Result, LogError> = state.withLock { state in
            do throws(LogError) {
                let store = try openStore(&state)
                try writeBacklog(to: store, &state)
                return .success(try body(store))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func writeBacklog(to store: any CheckpointStore, _ state: inout State) throws(LogError) {
        let (changes, bytes) = backlog.withLock { backlog in
            defer { (backlog.changes, backlog.bytes) = ([], 0) }
            return (backlog.changes, backlog.bytes)
        }
        do throws(LogError) {
            if !changes.isEmpty { try store.apply(changes) }
        } catch {
            store.close()
            guard error.code == .diskFull else { throw fail(error, &state) }
            state = .unopened
            backlog.withLock { backlog in
                backlog.changes = changes + backlog.changes
                backlog.bytes += bytes
            }
            throw stall(error)
        }
        let hadStalled = backlog.withLock { backlog in
            defer { backlog.problem = nil }
            return backlog.problem != nil
        }
        if hadStalled { logger.info("the disk of the history of checkpoints has room again") }
    }

    /// The disk is full: what waits goes on waiting.
    private func stall(_ error: LogError) -> LogError {
        let isNew = backlog.withLock { backlog in
            guard backlog.problem == nil else { return false }
            backlog.problem = .stalled(error, retryAt: loop.now.advanced(by: Self.retryInterval))
            return true
        }
        if isNew { logger.error("checkpoints wait for room on the disk", ["reason": error.message]) }
        return error
    }

    private func fail(_ error: LogError, _ state: inout State) -> LogError {
        state = .failed(error)
        backlog.withLock { backlog in
            backlog = Backlog()
            backlog.problem = .failed(error)
        }
        logger.error(
            "checkpoints cannot be kept; the group stops at its next snapshot, and a restart makes them whole",
            ["reason": error.description])
        return error
    }

    private func openStore(_ state: inout State) throws(LogError) -> any CheckpointStore {
        switch state {
        case .open(let store): return store
        case .unopened:
            do throws(LogError) {
                let store = try makeStore()
                state = .open(store)
                return store
            } catch {
                throw error.code == .diskFull ? stall(error) : fail(error, &state)
            }
        case .failed(let error): throw error
        case .closed: throw LogError(.closed, "the store of checkpoints is closed")
        }
    }

    /// Blocks. Nothing is written afterwards; what waits is in the log.
    func close() {
        state.withLock { state in
            if case .open(let store) = state { store.close() }
            state = .closed
        }
    }
}
