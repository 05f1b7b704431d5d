import FlotillaIO
import FlotillaRaft

/// All that a database holds, read and checked: every block against its checksum, every key and value against what may
/// stand there, and all of them against each other.
struct RocksDBLogContents {
    static let version: UInt64 = 1

    private(set) var identity: NodeIdentity?
    private(set) var boot: UInt64 = 0
    private(set) var table = LogTable()
    /// Nothing was ever written here.
    private(set) var isNew = true

    private let path: String
    /// By the replica's key. Others begin behind their snapshot.
    private var bases: [LogKey: LogPosition] = [:]

    /// Entries that are checked at once, in bytes.
    private static let pageBytes = 1 << 20

    init(of database: RocksDatabase, path: String) throws(LogError) {
        self.path = path
        var replicas: [(key: LogKey, identity: ReplicaIdentity)] = []
        try readMetadata(database, &replicas)
        for (key, replica) in replicas { try readReplica(replica, key, database) }
        try checkNothingElse(database)
    }

    private mutating func readMetadata(
        _ database: RocksDatabase, _ replicas: inout [(key: LogKey, identity: ReplicaIdentity)]
    ) throws(LogError) {
        let cursor = database.cursor(in: RocksFamily.nodeMetadata.rawValue)
        while let (key, value) = try next(cursor) {
            isNew = false
            switch key {
            case RocksKey.version:
                let found = try number(value, "version")
                guard found == Self.version else {
                    throw LogError(
                        .unknownVersion,
                        "\(path) has format version \(found); this version reads \(Self.version): "
                            + "run the version of Flotilla that wrote it, or a newer one")
                }
            case RocksKey.identity:
                do { identity = try NodeIdentity(value) } catch { throw damaged("identity", error) }
            case RocksKey.boot: boot = try number(value, "boot")
            case _ where key.starts(with: RocksKey.replicaPrefix):
                let replica = try replica(value)
                guard key == RocksKey.replica(replica.key) else {
                    throw damaged("\(replica.key) stands under another's key")
                }
                replicas.append((replica.key, replica))
            case _ where key.starts(with: RocksKey.basePrefix):
                guard let numbers = RocksKey.numbers(key.dropFirst(RocksKey.basePrefix.count), count: 2) else {
                    throw damaged("node_metadata has a member of unknown meaning")
                }
                var reader = ProtobufReader(value)
                do {
                    bases[LogKey(group: GroupID(numbers[0]), incarnation: numbers[1])] = try LogPosition(from: &reader)
                } catch {
                    throw damaged("where a log begins", error)
                }
            case _ where key.starts(with: RocksKey.removedPrefix):
                table.removed.append(try replica(value))
            default: throw damaged("node_metadata has a member of unknown meaning")
            }
        }
    }

    private mutating func readReplica(
        _ identity: ReplicaIdentity, _ key: LogKey, _ database: RocksDatabase
    ) throws(LogError) {
        var replica = LogTable.Replica(identity: identity)
        let name = RocksKey.group(key)
        if let value = try value(of: name, in: .hardState, database) {
            var reader = ProtobufReader(value)
            do { replica.hardState = try HardState(from: &reader, unknownFields: .reject) } catch {
                throw damaged("the hard state of \(key)", error)
            }
        }
        var snapshot: SnapshotMetadata?
        if let value = try value(of: name, in: .confState, database) {
            var reader = ProtobufReader(value)
            do { snapshot = try SnapshotMetadata(from: &reader, unknownFields: .reject) } catch {
                throw damaged("the configuration of \(key)", error)
            }
        }
        replica.base = bases[key] ?? snapshot?.position ?? .zero
        table.replicas[key] = replica
        try readEntries(of: key, database)
        // Only now: a table takes no entries that a snapshot covers.
        guard let snapshot else { return }
        guard table.replicas[key]?.term(at: snapshot.index) == snapshot.term else {
            throw damaged("\(key) lacks entries before the end of its snapshot at \(snapshot.index)")
        }
        table.replicas[key]?.snapshot = snapshot
    }

    /// Page by page, so that no more than one is in memory.
    private mutating func readEntries(of key: LogKey, _ database: RocksDatabase) throws(LogError) {
        var write = LogBatch.Write(group: key.group, incarnation: key.incarnation)
        var bytes = 0
        let cursor = database.cursor(
            in: RocksFamily.entries.rawValue, from: RocksKey.group(key), before: RocksKey.entriesEnd(key))
        while let (name, value) = try next(cursor) {
            let entry = try Entry(name: name, value: value, of: key, path: path)
            write.entries.append(entry)
            bytes += value.count
            if bytes >= Self.pageBytes {
                try add(write)
                write.entries = []
                bytes = 0
            }
        }
        try add(write)
    }

    private mutating func add(_ write: LogBatch.Write) throws(LogError) {
        let head = table.head(of: write)
        if let problem = table.problem(with: head) ?? LogTable.problem(with: write.entries) { throw damaged(problem) }
        table.apply(head, LoggedEntries(write.entries), place: RocksDBLog.onlyPlace)
    }

    /// What belongs to no replica is a replica whose identity is lost.
    private func checkNothingElse(_ database: RocksDatabase) throws(LogError) {
        for family in [RocksFamily.entries, .hardState, .confState] {
            var start: [UInt8] = []
            while true {
                let cursor = database.cursor(in: family.rawValue, from: start)
                guard let (name, _) = try next(cursor) else { break }
                guard let numbers = RocksKey.numbers(name.prefix(16), count: 2) else {
                    throw damaged("\(family.name) has a member of unknown meaning")
                }
                let key = LogKey(group: GroupID(numbers[0]), incarnation: numbers[1])
                guard table.replicas[key] != nil else {
                    throw damaged("\(family.name) has members of \(key), of which node_metadata has no replica")
                }
                start = RocksKey.entriesEnd(key)
            }
        }
    }

    // MARK: Reading

    private func next(_ cursor: RocksCursor) throws(LogError) -> (key: [UInt8], value: [UInt8])? {
        do { return try cursor.next() } catch { throw .database(error, path: path) }
    }

    private func value(
        of key: [UInt8], in family: RocksFamily, _ database: RocksDatabase
    ) throws(LogError) -> [UInt8]? {
        do { return try database.value(of: key, in: family.rawValue) } catch { throw .database(error, path: path) }
    }

    private func number(_ value: [UInt8], _ what: String) throws(LogError) -> UInt64 {
        do throws(WireError) {
            var reader = ProtobufReader(value)
            guard try reader.next() == 1 else { throw WireError(.invalidValue, "it holds no number") }
            return try reader.varint()
        } catch {
            throw damaged(what, error)
        }
    }

    private func replica(_ value: [UInt8]) throws(LogError) -> ReplicaIdentity {
        var reader = ProtobufReader(value)
        do { return try ReplicaIdentity(from: &reader) } catch { throw damaged("a replica's identity", error) }
    }

    private func damaged(_ what: String, _ error: WireError) -> LogError {
        damaged("\(what) cannot be decoded (\(error))")
    }

    private func damaged(_ what: String) -> LogError { .damagedDatabase(path, what) }
}

extension LogError {
    static func database(_ error: RocksDBError, path: String) -> LogError {
        switch error.code {
        case .damaged: .damagedDatabase(path, error.message)
        // A write may have left a part behind, so that it is not tried again.
        case .diskFull, .ioFailed, .noLibrary: LogError(.ioFailed, "\(path): \(error.message)")
        }
    }

    static func damagedDatabase(_ path: String, _ what: String) -> LogError {
        LogError(.damaged, "\(path) is damaged: \(what). \(remedy)")
    }
}
