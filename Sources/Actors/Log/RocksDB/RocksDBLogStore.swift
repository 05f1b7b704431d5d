import FlotillaIO
public import FlotillaRaft

/// The logs of all groups in one RocksDB database; RocksDBLogKeys.swift describes it. The yardstick of `DiskLogStore`,
/// and for those who know how to look after RocksDB.
///
/// Calls block and exclude each other; any thread may make them. After a write has failed every later one throws, and
/// the database is verified when the node starts again. RocksDB reaches the disk by itself, so a simulation cannot
/// stand in for it.
public final class RocksDBLogStore: LogStore {
    private enum State {
        /// Can transition to: open; closed.
        case new
        /// Can transition to: closed.
        case open(RocksDBLog)
        case closed
    }

    private let directory: String
    private let firstBoot: UInt64
    private let state = Lock(State.new)
    /// Apart from the state, which a write holds through its fsync. Reads exclude each other, and the end of the database.
    private let reader = Lock<RocksDBLogReader?>(nil)

    /// Touches nothing yet.
    /// - Parameter firstBoot: what the count of boots begins with in a new directory; data that comes from elsewhere
    ///   goes on with its own.
    public init(directory: String, firstBoot: UInt64 = 1) {
        self.directory = directory
        self.firstBoot = firstBoot
    }

    /// - Throws: `inUse`, `damaged`, `unknownVersion`, `otherFormat`, `moved`, `ioFailed`; the store may then be opened
    ///   again.
    public func open() throws(LogError) -> RecoveredLog {
        try locked { state throws(LogError) in
            guard case .new = state else {
                throw LogError(.closed, "the log in \(self.directory) was opened before")
            }
            let log = try RocksDBLog(directory: self.directory, files: PosixFileSystem())
            do throws(LogError) {
                let recovered = try log.recover(firstBoot: self.firstBoot)
                state = .open(log)
                self.reader.withLock { $0 = log.reader }
                return recovered
            } catch {
                log.close()
                throw error
            }
        }
    }

    public func persistIdentity(_ identity: NodeIdentity) throws(LogError) {
        try whileOpen { log throws(LogError) in try log.persist(identity) }
    }

    public func write(_ batch: LogBatch) throws(LogError) {
        try whileOpen { log throws(LogError) in try log.write(batch) }
    }

    public func read(
        _ group: GroupID, incarnation: UInt64, from first: LogIndex, bytesMax: Int
    ) throws(LogError) -> [Entry] {
        let key = LogKey(group: group, incarnation: incarnation)
        let result: Result<[Entry], LogError> = reader.withLock { reader in
            guard let reader else { return .failure(LogError(.closed, "the log in \(directory) is not open")) }
            do throws(LogError) {
                return .success(try reader.read(key, from: first, bytesMax: bytesMax))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Idempotent.
    public func close() throws(LogError) {
        try locked { state throws(LogError) in
            defer { state = .closed }
            guard case .open(let log) = state else { return }
            self.reader.withLock { $0 = nil }
            log.close()
            if let failure = log.failure { throw self.failed(failure) }
        }
    }

    private func whileOpen<R>(_ body: (RocksDBLog) throws(LogError) -> R) throws(LogError) -> R {
        try locked { state throws(LogError) in
            switch state {
            case .new: throw LogError(.closed, "the log in \(self.directory) is not open yet")
            case .closed: throw LogError(.closed, "the log in \(self.directory) is closed")
            case .open(let log):
                if let failure = log.failure { throw self.failed(failure) }
                return try body(log)
            }
        }
    }

    private func failed(_ error: LogError) -> LogError {
        LogError(
            .ioFailed,
            "an earlier write to \(directory) failed (\(error.message)): restart the node to verify its log")
    }

    private func locked<R>(_ body: (inout State) throws(LogError) -> R) throws(LogError) -> R {
        let result: Result<R, LogError> = state.withLock { state in
            do throws(LogError) { return .success(try body(&state)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
