public import FlotillaIO
public import FlotillaRaft

/// One log per node on its disk, shared by all its groups. LogFormat.swift describes the files.
///
/// Calls block and exclude each other; any thread may make them. After a write or an fsync has failed nobody knows what
/// is on the disk (the kernel may have dropped the pages and call the next fsync a success), so nothing is retried:
/// every later call throws `ioFailed`, and the log is verified when the node starts again. Room is made before a write
/// begins, so a full disk is no such failure.
public final class DiskLogStore: LogStore {
    /// A segment is left once it has grown by this many bytes.
    public static let defaultSegmentSizeLimit: UInt64 = 64 << 20
    /// Payloads of more bytes are kept in files of their own.
    public static let defaultPayloadFileLimit = 256 << 10

    private enum State {
        /// Can transition to: open; closed.
        case new
        /// Can transition to: failed; closed.
        case open(DiskLog)
        /// Can transition to: closed.
        case failed(DiskLog, LogError)
        case closed
    }

    private let directory: String
    private let fileSystem: any FileSystem
    private let segmentSizeLimit: UInt64
    private let payloadFileLimit: Int
    private let makeSegmentID: @Sendable () -> UInt64
    private let firstBoot: UInt64
    private let acceptsLoss: Bool
    private let state = Lock(State.new)
    /// Apart from the state, which is locked while a write is under way.
    private let durableWrites = Lock(UInt64(0))
    /// Apart from the state, which a write holds through its fsync.
    private let reader = Lock<DiskLogReader?>(nil)

    /// Touches nothing yet.
    /// - Parameters:
    ///   - segmentSizeLimit: in bytes; a segment is left once it has grown by so much. A small one is for tests.
    ///   - payloadFileLimit: in bytes; the payload of an entry that is longer goes to a file of its own, so that the log
    ///     stays dense. What was written under another limit stays as it is.
    ///   - makeSegmentID: draws the number that binds records to their segment; a simulation gives its own.
    ///   - firstBoot: what the count of boots begins with in a new directory; data that comes from elsewhere goes on
    ///     with its own.
    ///   - acceptsLoss: whether groups without other voters go on without damaged entries, and without everything behind
    ///     them; otherwise such a log is refused. The operator's decision.
    public init(
        directory: String, fileSystem: any FileSystem,
        segmentSizeLimit: UInt64 = DiskLogStore.defaultSegmentSizeLimit,
        payloadFileLimit: Int = DiskLogStore.defaultPayloadFileLimit,
        makeSegmentID: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) },
        firstBoot: UInt64 = 1, acceptsLoss: Bool = false
    ) {
        self.directory = directory
        self.fileSystem = fileSystem
        self.segmentSizeLimit = segmentSizeLimit
        self.payloadFileLimit = payloadFileLimit
        self.makeSegmentID = makeSegmentID
        self.firstBoot = firstBoot
        self.acceptsLoss = acceptsLoss
    }

    /// - Throws: `inUse`, `damaged`, `missing`, `unknownVersion`, `ioFailed`; the store may then be opened again.
    ///   Except for `ioFailed` nothing was changed.
    public func open() throws(LogError) -> RecoveredLog {
        try locked { state throws(LogError) in
            guard case .new = state else {
                throw LogError(.closed, "the log in \(self.directory) was opened before")
            }
            let log = try DiskLog(
                directory: self.directory, files: self.fileSystem,
                segmentSizeLimit: self.segmentSizeLimit, payloadFileLimit: self.payloadFileLimit,
                makeSegmentID: self.makeSegmentID, firstBoot: self.firstBoot, acceptsLoss: self.acceptsLoss)
            do throws(LogError) {
                let recovered = try log.recover()
                state = .open(log)
                self.noteWrites(of: log)
                self.reader.withLock {
                    $0 = DiskLogReader(
                        files: self.fileSystem, directory: log.logDirectory, index: log.index, payloads: log.payloads)
                }
                return recovered
            } catch {
                log.unlock()
                throw error
            }
        }
    }

    public func persistIdentity(_ identity: NodeIdentity) throws(LogError) {
        try changing { log throws(LogError) in try log.persist(identity) }
    }

    public func write(_ batch: LogBatch) throws(LogError) {
        try changing { log throws(LogError) in
            try log.write(batch)
            self.noteWrites(of: log)
        }
    }

    public var lastWrite: UInt64 { durableWrites.withLock { $0 } }

    private func noteWrites(of log: DiskLog) { durableWrites.withLock { $0 = log.nextSequence - 1 } }

    public func read(
        _ group: GroupID, incarnation: UInt64, from first: LogIndex, bytesMax: Int
    ) throws(LogError) -> [Entry] {
        guard let reader = reader.withLock({ $0 }) else {
            throw LogError(.closed, "the log in \(directory) is not open")
        }
        return try reader.read(LogKey(group: group, incarnation: incarnation), from: first, bytesMax: bytesMax)
    }

    /// Releases the directory in any case; throws if the log is not marked as closed in order. Idempotent.
    public func close() throws(LogError) {
        try locked { state throws(LogError) in
            let previous = state
            state = .closed
            self.reader.withLock { $0 = nil }
            switch previous {
            case .new, .closed: return
            case .open(let log):
                defer { log.unlock() }
                try log.markClean()
            case .failed(let log, _):
                log.unlock()
                _ = try self.openLog(previous)
            }
        }
    }

    private func changing(_ body: (DiskLog) throws(LogError) -> Void) throws(LogError) {
        try locked { state throws(LogError) in
            let log = try self.openLog(state)
            do throws(LogError) {
                try body(log)
            } catch {
                if error.code != .diskFull { state = .failed(log, error) }
                throw error
            }
        }
    }

    private func openLog(_ state: State) throws(LogError) -> DiskLog {
        switch state {
        case .open(let log): return log
        case .new: throw LogError(.closed, "the log in \(directory) is not open yet")
        case .closed: throw LogError(.closed, "the log in \(directory) is closed")
        case .failed(_, let error):
            throw LogError(
                .ioFailed,
                "an earlier write to \(directory) failed (\(error.message)): restart the node to verify its log"
            )
        }
    }

    private func locked<R>(_ body: (inout State) throws(LogError) -> R) throws(LogError) -> R {
        let result: Result<R, LogError> = state.withLock { state in
            do throws(LogError) { return .success(try body(&state)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
