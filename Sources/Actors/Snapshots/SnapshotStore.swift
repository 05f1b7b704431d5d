public import FlotillaIO
public import FlotillaRaft

/// The snapshots of all groups of one node, in files of one directory. Its calls block, so it lives on a worker; see
/// `SnapshotLayout.swift` for the files.
///
/// A snapshot counts only once the log names it, which it does after `save` or `finishFetch` has returned.
public actor SnapshotStore {
    /// How snapshots are cut and stored.
    public struct Options: Sendable {
        /// What a follower fetches at a time, and what is verified by itself.
        public var chunkBytes = 1 << 20
        /// What of a chunk travels in one frame. A frame occupies the loops at both ends, so it is short.
        public var pieceBytes = 64 << 10
        /// Stores own snapshots compressed by Zstandard. What is fetched is stored as it came.
        public var isCompressed = false
        public init() {}
    }

    /// A complete snapshot.
    public struct Metadata: Hashable, Sendable {
        public var id: SnapshotID
        /// Of the state.
        public var sizeBytes: UInt64
        /// CRC-32C of the state.
        public var checksum: UInt32
        public var chunkBytes: Int
        /// What its file takes.
        public var storedBytes: UInt64
    }

    /// What it cost to store a snapshot.
    public struct SaveReport: Sendable {
        public var sizeBytes: UInt64
        public var storedBytes: UInt64
        /// From the first byte until it was durable, compression included.
        public var duration: Duration
        public var compressionTime: Duration
    }

    public nonisolated let unownedExecutor: UnownedSerialExecutor
    private nonisolated let executor: WorkerExecutor
    let directory: String
    let files: any FileSystem
    private let options: Options
    private(set) var complete: Set<SnapshotID> = []
    /// Files that are being read.
    private var readers: [SnapshotID: SnapshotReader] = [:]
    /// What is being fetched, by group: one at a time of each.
    var parts: [GroupID: SnapshotPart] = [:]

    private static let temporarySuffix = ".tmp"
    /// More open files than followers commonly fetch from at once are not kept.
    private static let readersMax = 16

    /// Touches nothing yet.
    public init(directory: String, files: any FileSystem, executor: WorkerExecutor, options: Options = Options()) {
        self.directory = directory
        self.files = files
        self.executor = executor
        self.options = options
        unownedExecutor = executor.asUnownedSerialExecutor()
    }

    /// The way in from a loop, which does not await: runs `body` on the worker, then `completion` on `loop`.
    nonisolated func perform<Value: Sendable>(
        on loop: any Loop, _ body: @escaping @Sendable (isolated SnapshotStore) throws(LogError) -> Value,
        then completion: @escaping @Sendable (Result<Value, LogError>) -> Void
    ) {
        let outcome = Lock<Result<Value, LogError>?>(nil)
        executor.run(
            {
                let result = self.assumeIsolated { store -> Result<Value, LogError> in
                    do throws(LogError) { return .success(try body(store)) } catch { return .failure(error) }
                }
                outcome.withLock { $0 = result }
            },
            then: { if let result = outcome.withLock({ $0 }) { completion(result) } }, on: loop)
    }

    // MARK: Life

    /// Takes over what the directory holds, and removes what nobody needs any more. Once, first.
    /// - Returns: the state that each group of the log starts from.
    /// - Throws: `missing` if a snapshot that the log names is not there; `damaged`, `unknownVersion`, `ioFailed`.
    public func open(for log: RecoveredLog) throws(LogError) -> [GroupID: [UInt8]] {
        let named = log.groups.compactMap { group in group.snapshot.map { SnapshotID(group.replica, $0) } }
        let names = try io { () throws(FileError) in
            try files.createDirectory(directory)
            return try files.list(directory)
        }
        complete = Set(names.compactMap { SnapshotID(fileName: $0) })
        for id in named where !complete.contains(id) { throw .missing(path(id), "the log names it") }
        // A transfer to a replica that is not here any more is never gone on with; a new replica fetches anew.
        let unfinished = names.filter { name in
            if name.hasSuffix(Self.temporarySuffix) { return true }
            guard let part = SnapshotID(fileName: name, suffix: SnapshotID.partSuffix) else { return false }
            return !log.groups.contains {
                $0.replica.group == part.group && $0.replica.incarnation == part.incarnation
            }
        }
        try io { () throws(FileError) in
            for name in unfinished { try files.remove("\(directory)/\(name)") }
        }
        // What is newer than the log says may have been fetched just before a crash: it need not be fetched again.
        var states: [GroupID: [UInt8]] = [:]
        for id in named.sorted() {
            try compact(id)
            states[id.group] = try load(id)
        }
        return states
    }

    // MARK: Saving and reading

    /// Stores a state. Durable on return; until then nothing of it is to be seen under its name.
    public func save(_ bytes: [UInt8], as id: SnapshotID) throws(LogError) -> SaveReport {
        let start = executor.loop.now
        let header = SnapshotHeader(
            id: id, size: UInt64(bytes.count), checksum: CRC32C.checksum(bytes), chunkBytes: options.chunkBytes)
        var compressionTime = Duration.zero
        var end: UInt64 = 0
        let temporary = path(id) + Self.temporarySuffix
        do {
            try io { () throws(FileError) in
                let file = try files.open(mutated(.writesFilesInPlace) ? path(id) : temporary, create: true)
                try file.truncate(to: 0)
                try file.write(header.encoded, at: 0)
                var records: [SnapshotRecord] = []
                end = UInt64(SnapshotHeader.bytes)
                for number in 0..<header.chunkCount {
                    let chunk = Array(bytes[header.range(of: number)])
                    let began = executor.loop.now
                    let compressed = options.isCompressed ? Zstandard.compress(chunk) : nil
                    compressionTime += began.duration(to: executor.loop.now)
                    let record = SnapshotRecord(
                        offset: end, storedBytes: compressed?.count ?? chunk.count,
                        encoding: compressed == nil ? .plain : .zstd, checksum: header.checksum(ofChunk: number, chunk))
                    try file.write(record, (compressed ?? chunk).cut(into: SnapshotRecord.writeBytes))
                    // A large state all at once would hold up the log's own writes.
                    if number % SnapshotRecord.chunksPerSync == SnapshotRecord.chunksPerSync - 1 { try file.sync() }
                    end = record.end
                    records.append(record)
                }
                let footer = SnapshotFooter.encode(records)
                try file.write(footer, at: end)
                end += UInt64(footer.count)
                try file.sync()
                if !mutated(.writesFilesInPlace) { try files.rename(temporary, to: path(id)) }
                if !mutated(.skipsDirectorySync) { try files.syncDirectory(directory) }
            }
        } catch {
            // Nothing names it yet, so that nothing is lost; what is left of it takes space that others may use.
            if error.code == .diskFull { try? files.remove(temporary) }
            throw error
        }
        readers[id] = nil
        complete.insert(id)
        return SaveReport(
            sizeBytes: header.size, storedBytes: end, duration: start.duration(to: executor.loop.now),
            compressionTime: compressionTime)
    }

    /// - Throws: `missing`, `damaged`, `unknownVersion`, `ioFailed`; the store goes on.
    public func metadata(_ id: SnapshotID) throws(LogError) -> Metadata {
        let reader = try reader(id)
        return Metadata(
            id: id, sizeBytes: reader.header.size, checksum: reader.header.checksum,
            chunkBytes: reader.header.chunkBytes, storedBytes: reader.fileSize)
    }

    /// Hands out the state from byte `offset` on, piece by piece, each verified.
    public func stream(_ id: SnapshotID, from offset: UInt64 = 0, _ body: ([UInt8]) -> Void) throws(LogError) {
        try reader(id).stream(from: offset, body)
    }

    /// All of the state, verified piece by piece and as a whole.
    public func load(_ id: SnapshotID) throws(LogError) -> [UInt8] { try reader(id).load() }

    /// A chunk of a snapshot, verified, in pieces as they travel.
    /// - Throws: `missing` also where the state is another one, or is cut into other chunks.
    func pieces(for request: SnapshotRequest) throws(LogError) -> [SnapshotPiece] {
        let reader = try reader(request.id)
        let header = reader.header
        let number = Int(clamping: request.offset / UInt64(header.chunkBytes))
        guard header.checksum == request.checksum, request.offset.isMultiple(of: UInt64(header.chunkBytes)),
            number < header.chunkCount
        else { throw LogError(.missing, "\(path(request.id)) is not cut so, or is another state") }
        let chunk = try reader.chunk(number)
        let size = min(max(request.pieceBytes, SnapshotRequest.pieceBytesMin), header.chunkBytes)
        var offset = request.offset
        return chunk.bytes.cut(into: size).map { bytes in
            defer { offset += UInt64(bytes.count) }
            return SnapshotPiece(
                offset: offset, bytes: bytes, checksum: chunk.checksum,
                isFinal: offset + UInt64(bytes.count) == header.size)
        }
    }

    // MARK: Removing

    /// Removes what `id`, which the log names durably, makes superfluous: of the same group and life all that is older,
    /// except for the newest `keep - 1` of them, which followers may be fetching.
    public func compact(_ id: SnapshotID, keep: Int = 2) throws(LogError) {
        let older = complete.filter { $0.isOlder(than: id) }.sorted().dropLast(keep - 1)
        let stale = complete.filter { $0.group == id.group && $0.incarnation < id.incarnation }
        // Not synced: what comes back after a crash is removed again.
        for old in older + stale.sorted() {
            readers[old] = nil
            try io { () throws(FileError) in try files.remove(path(old)) }
            complete.remove(old)
        }
        let names = try io { () throws(FileError) in try files.list(directory) }
        for name in names {
            guard let part = SnapshotID(fileName: name, suffix: SnapshotID.partSuffix), part.group == id.group,
                part.isOlder(than: id) || part == id || part.incarnation < id.incarnation
            else { continue }
            parts[part.group] = nil
            try io { () throws(FileError) in try files.remove("\(directory)/\(name)") }
        }
    }

    /// Removes all that is kept of a group that has left this node.
    /// - Parameter incarnation: only of lives before this one.
    public func removeAll(of group: GroupID, before incarnation: UInt64 = .max) throws(LogError) {
        for id in complete where id.group == group && id.incarnation < incarnation { forget(id) }
        parts[group] = nil
        try io { () throws(FileError) in
            for name in try files.list(directory) {
                let id = SnapshotID(fileName: name) ?? SnapshotID(fileName: name, suffix: SnapshotID.partSuffix)
                if let id, id.group == group, id.incarnation < incarnation { try files.remove("\(directory)/\(name)") }
            }
        }
    }

    // MARK: Helpers

    func path(_ id: SnapshotID) -> String { "\(directory)/\(id.fileName)" }

    func reader(_ id: SnapshotID) throws(LogError) -> SnapshotReader {
        if let known = readers[id] { return known }
        guard complete.contains(id) else {
            throw LogError(
                .missing, "\(path(id)) does not exist: no such snapshot was saved, or newer ones replaced it")
        }
        let reader = try SnapshotReader(id, path: path(id), files: files)
        if readers.count >= Self.readersMax { readers = [:] }
        readers[id] = reader
        return reader
    }

    func didComplete(_ id: SnapshotID) { complete.insert(id) }
    func forget(_ id: SnapshotID) {
        readers[id] = nil
        complete.remove(id)
    }

    /// Runs file calls and names their failure as the store's.
    func io<R>(_ body: () throws(FileError) -> R) throws(LogError) -> R {
        do { return try body() } catch { throw .growing(error) }
    }
}
