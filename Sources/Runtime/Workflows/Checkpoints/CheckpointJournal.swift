import FlotillaActors
import FlotillaIO

/// The way to a node's checkpoint store. Commands are applied on a loop and the store blocks, so changes wait here until
/// a worker writes them; whoever reads, or wants everything durable, writes what waits first. So a reader finds all that
/// was applied before, and a snapshot counts only once all that its state refers to is durable.
///
/// The store is opened by its first use: nodes whose workflows record no checkpoints have none.
final class CheckpointJournal: Sendable {
    private struct Backlog {
        var changes: [CheckpointChange] = []
        var bytes = 0
        /// A worker has been told.
        var isScheduled = false
    }

    private enum State {
        /// Can transition to: open; failed; closed.
        case unopened
        /// Can transition to: failed; closed.
        case open(any CheckpointStore)
        /// Nobody knows what is on the disk. The log still has all that no durable snapshot covers, so a restart makes
        /// the history whole. Can transition to: closed.
        case failed(LogError)
        case closed
    }

    /// More waits only until whoever recorded it has heard that it was written; see `catchUp`.
    static let backlogBytesMax = 8 << 20

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

    // MARK: Writing

    /// Takes changes in their order. On the loop that applies them.
    func append(_ changes: [CheckpointChange]) {
        guard !changes.isEmpty else { return }
        let mustSchedule = backlog.withLock { backlog in
            backlog.changes += changes
            backlog.bytes += changes.reduce(0) { $0 + $1.bytes }
            defer { backlog.isScheduled = true }
            return !backlog.isScheduled
        }
        guard mustSchedule else { return }
        worker.submit({ self.writeBacklog() }, then: {}, on: loop)
    }

    private func writeBacklog() {
        do throws(LogError) {
            try withStore { _ throws(LogError) in }
        } catch {
            logger.error(
                "checkpoints cannot be kept; the group stops at its next snapshot, and a restart makes them whole",
                ["reason": error.description])
        }
    }

    /// Waits until the store has caught up, if it is far behind.
    func catchUp() async throws {
        guard backlog.withLock({ $0.bytes > Self.backlogBytesMax }) else { return }
        try await read { _ throws(LogError) in }
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
    /// - Parameter count: how many records the key has, by the state that was applied.
    func page(
        of key: CheckpointKey, from start: UInt64, limit: Int, until count: UInt64
    ) async throws -> [CheckpointRecord] {
        guard start < count else { return [] }
        let records = try await read { store throws(LogError) in
            try store.history(
                of: key, from: start, limit: min(limit, Int(clamping: count - start)), bytesMax: Self.pageBytesMax)
        }
        for (offset, record) in records.enumerated() where record.sequence != start + UInt64(offset) {
            throw Self.missing(start + UInt64(offset), of: key, count)
        }
        guard !records.isEmpty else { throw Self.missing(start, of: key, count) }
        return records
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
                let changes = backlog.withLock { backlog in
                    defer { backlog = Backlog() }
                    return backlog.changes
                }
                do throws(LogError) {
                    if !changes.isEmpty { try store.apply(changes) }
                } catch {
                    store.close()
                    state = .failed(error)
                    throw error
                }
                return .success(try body(store))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
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
                state = .failed(error)
                throw error
            }
        case .failed(let error):
            backlog.withLock { $0 = Backlog() }
            throw error
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
