public import FlotillaIO

/// How a node keeps its log on disk.
public enum StorageFormat: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    /// One log of Flotilla's own for all groups.
    case log
    /// A RocksDB database.
    case rocksDB = "rocksdb"

    public var description: String { rawValue }

    /// A store of this format, not opened yet.
    /// - Parameters:
    ///   - files: RocksDB takes the machine's own in any case.
    ///   - segmentSizeLimit: of the log, in bytes.
    ///   - payloadFileLimit: of the log, in bytes: longer payloads go to files of their own. RocksDB keeps all of them.
    ///   - firstBoot: what the count of boots begins with in a new directory.
    public func store(
        in directory: String, files: any FileSystem, segmentSizeLimit: UInt64 = DiskLogStore.defaultSegmentSizeLimit,
        payloadFileLimit: Int = DiskLogStore.defaultPayloadFileLimit, firstBoot: UInt64 = 1
    ) -> any LogStore {
        switch self {
        case .log:
            DiskLogStore(
                directory: directory, fileSystem: files, segmentSizeLimit: segmentSizeLimit,
                payloadFileLimit: payloadFileLimit, firstBoot: firstBoot)
        case .rocksDB: RocksDBLogStore(directory: directory, firstBoot: firstBoot)
        }
    }

    /// What a data directory of this format contains, and one of another format does not.
    fileprivate var mark: String {
        switch self {
        case .log: DiskLog.segmentDirectoryName
        case .rocksDB: RocksDBLog.directoryName
        }
    }
}

/// What the data directories of all formats have in common: one process at a time, one format, and no second life of
/// data that was moved elsewhere.
public enum DataDirectory {
    static let lockName = "LOCK"
    /// Where the data went, written by `StorageMigration`.
    static let movedName = "moved-to"

    /// Where the snapshots of all formats are.
    public static func snapshotDirectory(of directory: String) -> String { "\(directory)/snapshots" }

    /// Where the history of checkpoints is, which the runtime keeps beside the log.
    public static func historyDirectory(of directory: String) -> String { "\(directory)/checkpoints" }

    /// The format of the data in a directory; nil if there is none.
    public static func format(of directory: String, files: any FileSystem) -> StorageFormat? {
        StorageFormat.allCases.first { files.exists("\(directory)/\($0.mark)") }
    }

    static func existingFormat(of directory: String, files: any FileSystem) throws(LogError) -> StorageFormat {
        guard let format = format(of: directory, files: files) else {
            throw LogError(.missing, "\(directory) holds no node's data: name a directory that a node was run with")
        }
        return format
    }

    /// Creates the directory if need be, and locks it for a node that keeps its data in `format`.
    static func lock(
        _ directory: String, for format: StorageFormat, files: any FileSystem
    ) throws(LogError) -> any FileLock {
        do { try files.createDirectory(directory) } catch { throw .io(error) }
        let lock = try lockExisting(directory, files: files)
        do throws(LogError) {
            try checkNotMoved(directory, files: files)
            for other in StorageFormat.allCases where other != format && files.exists("\(directory)/\(other.mark)") {
                throw LogError(
                    .otherFormat,
                    "\(directory) holds data in the format \(other), not \(format): run the node with that one, or "
                        + "convert it by 'flotilla storage migrate --from \(directory) --to DIR --format \(format)'")
            }
        } catch {
            lock.unlock()
            throw error
        }
        return lock
    }

    /// Locks a directory whatever it holds.
    static func lockExisting(_ directory: String, files: any FileSystem) throws(LogError) -> any FileLock {
        do {
            return try files.lock("\(directory)/\(lockName)")
        } catch {
            guard error.isLockConflict else { throw .io(error) }
            throw LogError(
                .inUse,
                "\(directory) is in use by a running node: stop that one first, or name a directory of its own"
            )
        }
    }

    private static func checkNotMoved(_ directory: String, files: any FileSystem) throws(LogError) {
        guard let place = try movedTo(directory, files: files) else { return }
        throw LogError(
            .moved,
            "the data of \(directory) was moved to \(place): use that, and delete this. A node that ran on both would "
                + "break promises that it made from the other")
    }

    /// Where the data went; nil if it is here.
    static func movedTo(_ directory: String, files: any FileSystem) throws(LogError) -> String? {
        let path = "\(directory)/\(movedName)"
        guard files.exists(path) else { return nil }
        return String(decoding: try SealedFile.moved.read(path, files: files), as: UTF8.self)
    }
}
