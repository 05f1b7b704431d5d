import FlotillaIO
import FlotillaRaft

/// An open database: what `RocksDBLogStore` keeps behind its lock. Not thread-safe.
final class RocksDBLog {
    static let directoryName = "rocksdb"
    /// The table knows where entries lie; here that is one place that lasts for ever.
    static let onlyPlace = LogTable.Place(segment: 1, offset: 0)

    let path: String
    private let database: RocksDatabase
    private let lock: any FileLock
    private var identity: NodeIdentity?
    private var table = LogTable()
    /// Reads beside a write.
    var reader: RocksDBLogReader { RocksDBLogReader(database: database, path: path) }
    /// After a write failed nobody knows what is on the disk.
    private(set) var failure: LogError?

    /// Creates the directory and the database if need be.
    init(directory: String, files: any FileSystem) throws(LogError) {
        lock = try DataDirectory.lock(directory, for: .rocksDB, files: files)
        path = "\(directory)/\(Self.directoryName)"
        do {
            database = try Self.openDatabase(path)
        } catch {
            lock.unlock()
            throw .database(error, path: path)
        }
    }

    static func openDatabase(_ path: String, isReadOnly: Bool = false) throws(RocksDBError) -> RocksDatabase {
        try RocksDatabase(path: path, columnFamilies: RocksFamily.allCases.map(\.name), isReadOnly: isReadOnly)
    }

    /// Reads and checks everything, and counts the boot.
    func recover(firstBoot: UInt64) throws(LogError) -> RecoveredLog {
        let contents = try RocksDBLogContents(of: database, path: path)
        identity = contents.identity
        table = contents.table
        let boot = contents.isNew ? firstBoot : contents.boot + 1
        let batch = RocksBatch(for: database)
        batch.put(.varint(RocksDBLogContents.version), for: RocksKey.version, in: .nodeMetadata)
        batch.put(.varint(boot), for: RocksKey.boot, in: .nodeMetadata)
        try commit(batch)
        return RecoveredLog(
            identity: identity, bootCounter: boot, groups: table.recoveredGroups, removedReplicas: table.removed)
    }

    func close() {
        database.close()
        lock.unlock()
    }

    // MARK: Writing

    func persist(_ identity: NodeIdentity) throws(LogError) {
        if let known = self.identity {
            precondition(known.canBecome(identity), "\(path) belongs to \(known); it cannot become \(identity)")
            if known == identity { return }
        }
        let batch = RocksBatch(for: database)
        batch.put(identity.encoded, for: RocksKey.identity, in: .nodeMetadata)
        try commit(batch)
        self.identity = identity
    }

    func write(_ writes: LogBatch) throws(LogError) {
        guard !writes.isEmpty else { return }
        precondition(identity != nil, "\(path) has no identity yet; persist one before writing")
        let batch = RocksBatch(for: database)
        for write in writes.writes {
            let last = table.replicas[LogKey(group: write.group, incarnation: write.incarnation)]?.last
            let head = table.checkAndApply(write, place: Self.onlyPlace)
            add(write, head, previousLast: last ?? .zero, to: batch)
        }
        try commit(batch)
    }

    private func add(
        _ write: LogBatch.Write, _ head: LogHeads.Write, previousLast: LogIndex, to batch: borrowing RocksBatch
    ) {
        let key = head.key
        let name = RocksKey.group(key)
        let end = RocksKey.entriesEnd(key)
        guard let replica = table.replicas[key] else {
            batch.remove(from: name, before: end, in: .entries)
            batch.remove(name, in: .hardState)
            batch.remove(name, in: .confState)
            batch.remove(RocksKey.replica(key), in: .nodeMetadata)
            batch.remove(RocksKey.base(key), in: .nodeMetadata)
            let removed = table.removed.count - 1
            batch.put(table.removed[removed].encoded, for: RocksKey.removed(removed), in: .nodeMetadata)
            return
        }
        if write.created != nil { batch.put(replica.identity.encoded, for: RocksKey.replica(key), in: .nodeMetadata) }
        if let hardState = write.hardState {
            batch.put(.message { hardState.encode(into: &$0) }, for: name, in: .hardState)
        }
        if let snapshot = write.snapshot {
            batch.put(.message { snapshot.encode(into: &$0) }, for: name, in: .confState)
            let passed = head.keepsTail ? RocksKey.entry(key, replica.base.index.next) : end
            batch.remove(from: name, before: passed, in: .entries)
            batch.put(.message { replica.base.encode(into: &$0) }, for: RocksKey.base(key), in: .nodeMetadata)
        }
        let entries = write.entries.drop { $0.index <= replica.snapshotIndex }
        if let first = entries.first, first.index <= previousLast {
            batch.remove(from: RocksKey.entry(key, first.index), before: end, in: .entries)
        }
        for entry in entries {
            batch.put(.message { entry.encode(into: &$0) }, for: RocksKey.entry(key, entry.index), in: .entries)
        }
    }

    /// One write and one fsync.
    private func commit(_ batch: borrowing RocksBatch) throws(LogError) {
        do {
            try database.write(batch, isSynced: true)
        } catch {
            let error = LogError.database(error, path: path)
            failure = error
            throw error
        }
    }
}

extension RocksBatch {
    fileprivate borrowing func put(_ value: [UInt8], for key: [UInt8], in family: RocksFamily) {
        put(value, for: key, in: family.rawValue)
    }
    fileprivate borrowing func remove(_ key: [UInt8], in family: RocksFamily) { remove(key, in: family.rawValue) }
    fileprivate borrowing func remove(from start: [UInt8], before end: [UInt8], in family: RocksFamily) {
        remove(from: start, before: end, in: family.rawValue)
    }
}

extension [UInt8] {
    fileprivate static func message(_ write: (inout ProtobufWriter) -> Void) -> [UInt8] {
        var writer = ProtobufWriter()
        write(&writer)
        return writer.bytes
    }

    fileprivate static func varint(_ number: UInt64) -> [UInt8] { message { $0.varintAlways(1, number) } }
}

extension ReplicaIdentity {
    fileprivate var encoded: [UInt8] { .message { encode(into: &$0) } }
}

extension LogPosition {
    fileprivate func encode(into writer: inout ProtobufWriter) {
        writer.varintAlways(1, index.rawValue)
        writer.varint(2, term.rawValue)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self = .zero
        while let field = try reader.next() {
            switch field {
            case 1: index = LogIndex(try reader.varint())
            case 2: term = Term(try reader.varint())
            default: throw reader.unknownField(in: "LogPosition")
            }
        }
    }
}
