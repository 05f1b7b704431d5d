public import FlotillaIO
public import FlotillaRaft

/// What a data directory holds, and what is wrong with it.
public struct StorageReport: Sendable {
    public var directory: String
    public var format: StorageFormat
    /// Nil where it cannot be read, or was never given.
    public var identity: NodeIdentity?
    /// How often the data was opened.
    public var boots: UInt64 = 0
    public var groups: [RecoveredLog.Group] = []
    public var removedReplicas: [ReplicaIdentity] = []
    public var snapshots = 0
    /// What a start of the node repairs by itself, in words.
    public var notes: [String] = []
    /// What it does not: file, place, group and what can be done.
    public var problems: [LogError] = []

    public var entries: Int { groups.reduce(0) { $0 + $1.outline.count } }
}

/// Reads entries of a replica from one on, some at a time, while its directory is looked at; none behind the last.
public typealias StoredEntries = (ReplicaIdentity, LogIndex) throws(LogError) -> [Entry]

/// Reads all of a data directory and checks every checksum. Changes nothing but the lock, which it holds meanwhile.
public enum StorageVerification {
    private static let pageBytes = 1 << 20

    /// Blocks.
    /// - Parameter check: reads what else is in the directory, while no node can start on it.
    /// - Throws: `missing` where no node's data is, `inUse`, `ioFailed`. What is wrong with the data itself is in the
    ///   report.
    public static func run(
        on directory: String, files: any FileSystem,
        andThen check: (inout StorageReport, StoredEntries) throws(LogError) -> Void = { (_, _) throws(LogError) in }
    ) throws(LogError) -> StorageReport {
        let format = try DataDirectory.existingFormat(of: directory, files: files)
        let lock = try DataDirectory.lockExisting(directory, files: files)
        defer { lock.unlock() }
        var report = StorageReport(directory: directory, format: format)
        if let place = try DataDirectory.movedTo(directory, files: files) {
            report.notes.append("the data was moved to \(place); no node starts on this copy, and it can be deleted")
        }
        do throws(LogError) {
            switch format {
            case .log:
                let log = DiskLog(reading: directory, files: files, lock: lock)
                try readLog(log, &report)
                try readSnapshots(files, &report)
                let reader = DiskLogReader(
                    files: files, directory: log.logDirectory, index: log.index, payloads: log.payloads)
                try check(&report) { (replica, first) throws(LogError) in
                    try reader.read(replica.key, from: first, bytesMax: pageBytes)
                }
            case .rocksDB:
                let path = "\(directory)/\(RocksDBLog.directoryName)"
                let database = try open(path)
                defer { database.close() }
                let contents = try RocksDBLogContents(of: database, path: path)
                report.fill(contents.identity, contents.boot, contents.table)
                try readSnapshots(files, &report)
                let reader = RocksDBLogReader(database: database, path: path)
                try check(&report) { (replica, first) throws(LogError) in
                    try reader.read(replica.key, from: first, bytesMax: pageBytes)
                }
            }
        } catch {
            report.problems.append(error)
        }
        return report
    }

    private static func readLog(_ log: DiskLog, _ report: inout StorageReport) throws(LogError) {
        let (recovery, boot, marker) = try log.read()
        report.fill(log.identity, boot, log.table)
        let groups = report.groups.filter { $0.recoveringUntil != nil }.map { "\($0.replica.group)" }
        for damage in recovery.damages {
            let outcome =
                damage.isNeeded
                ? "the next start gives them up, and \(damage.group) has no vote here until a leader has given them back"
                : "they are needed no more"
            report.notes.append("\(damage); \(outcome)")
        }
        if recovery.isAmbiguous {
            report.notes.append(
                "the log ends in a batch of \(recovery.tornBytes) bytes that does not match its checksum: a write that "
                    + "never completed, or one that was acknowledged and rotted. The node starts without a vote in "
                    + "\(groups.joined(separator: ", ")) until a leader has brought it past")
        } else if recovery.tornBytes > 0 {
            report.notes.append(
                "the log ends in \(recovery.tornBytes) bytes of a write that never completed and was never "
                    + "acknowledged; the next start cuts them off")
        }
        if marker == nil, !report.groups.isEmpty { report.notes.append("the node did not end in order") }
        let unnamed = try log.io { () throws(FileError) in try log.unnamedPayloads() }
        if !unnamed.isEmpty {
            report.notes.append("\(unnamed.count) files of payloads belong to no entry; the next start removes them")
        }
    }

    private static func open(_ path: String) throws(LogError) -> RocksDatabase {
        do {
            return try RocksDBLog.openDatabase(path, isReadOnly: true)
        } catch {
            throw .database(error, path: path)
        }
    }

    /// Also those that the log does not name: followers may be fetching them.
    private static func readSnapshots(_ files: any FileSystem, _ report: inout StorageReport) throws(LogError) {
        let directory = DataDirectory.snapshotDirectory(of: report.directory)
        let names: [String]
        do {
            names = files.exists(directory) ? try files.list(directory) : []
        } catch {
            throw .io(error)
        }
        let found = names.compactMap { SnapshotID(fileName: $0) }.sorted()
        for id in found {
            do {
                _ = try SnapshotReader(id, path: "\(directory)/\(id.fileName)", files: files).load()
                report.snapshots += 1
            } catch {
                report.problems.append(error)
            }
        }
        for group in report.groups {
            guard let id = group.snapshot.map({ SnapshotID(group.replica, $0) }), !found.contains(id) else { continue }
            report.problems.append(.missing("\(directory)/\(id.fileName)", "the log names it"))
        }
    }
}

extension StorageReport {
    /// The state of the snapshot that a group's log names, and the version of its format.
    package func state(
        of group: RecoveredLog.Group, files: any FileSystem
    ) throws(LogError) -> (bytes: [UInt8], formatVersion: UInt32)? {
        guard let id = group.snapshot.map({ SnapshotID(group.replica, $0) }) else { return nil }
        let path = "\(DataDirectory.snapshotDirectory(of: directory))/\(id.fileName)"
        let bytes = try SnapshotReader(id, path: path, files: files).load()
        do {
            let snapshot = try GroupSnapshot(bytes)
            return (snapshot.state, snapshot.formatVersion)
        } catch {
            throw LogError(.damaged, "\(path) cannot be decoded (\(error)). \(LogError.remedy)")
        }
    }

    fileprivate mutating func fill(_ identity: NodeIdentity?, _ boot: UInt64, _ table: LogTable) {
        self.identity = identity
        boots = boot
        groups = table.recoveredGroups
        removedReplicas = table.removed
    }
}
