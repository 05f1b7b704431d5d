import FlotillaActors
import FlotillaIO

/// The history of checkpoints in RocksDB.
///
/// Writes reach the write-ahead log at once and the disk with `sync`. One log for all of it: what is found after a
/// crash is a prefix of what was applied.
final class RocksDBCheckpointStore: CheckpointStore {
    private static let family = 0

    private let database: RocksDatabase
    private let path: String

    /// - Parameters:
    ///   - directory: the node's.
    ///   - isReadOnly: changes nothing, and fails if there is no database.
    init(directory: String, isReadOnly: Bool = false) throws(LogError) {
        path = DataDirectory.historyDirectory(of: directory)
        var options = RocksDatabase.Options()
        options.writeBufferBytes = 4 << 20
        options.cacheBytes = 4 << 20
        options.writeAheadLogBytes = 16 << 20
        do throws(RocksDBError) {
            database = try RocksDatabase(
                path: path, columnFamilies: ["checkpoints"], options: options, isReadOnly: isReadOnly)
        } catch {
            throw LogError(checkpoints: path, error)
        }
    }

    func apply(_ changes: [CheckpointChange]) throws(LogError) {
        let batch = RocksBatch(for: database)
        for change in changes {
            switch change {
            case .append(let key, let record):
                batch.put(record.encoded, for: key.bytes(sequence: record.sequence), in: Self.family)
            case .prune(let key, let sequence):
                batch.remove(
                    from: key.bytes(sequence: 0), before: key.bytes(sequence: sequence), in: Self.family)
            case .remove(let run):
                batch.remove(from: run.bytes, before: run.bytes.prefixEnd, in: Self.family)
            }
        }
        do throws(RocksDBError) {
            try database.write(batch, isSynced: false)
        } catch {
            throw LogError(checkpoints: path, error)
        }
    }

    func latest(of key: CheckpointKey) throws(LogError) -> CheckpointRecord? {
        let start = key.bytes(sequence: 0)
        let found: (key: [UInt8], value: [UInt8])?
        do throws(RocksDBError) {
            found = try database.last(in: Self.family, from: start, before: key.bytes.prefixEnd)
        } catch {
            throw LogError(checkpoints: path, error)
        }
        guard let found else { return nil }
        return try record(found.key, found.value)
    }

    func history(
        of key: CheckpointKey, from start: UInt64, limit: Int, bytesMax: Int
    ) throws(LogError) -> [CheckpointRecord] {
        var records: [CheckpointRecord] = []
        var bytes = 0
        let cursor = database.cursor(
            in: Self.family, from: key.bytes(sequence: start), before: key.bytes.prefixEnd)
        while records.count < limit, bytes < bytesMax {
            let found: (key: [UInt8], value: [UInt8])?
            do throws(RocksDBError) {
                found = try cursor.next()
            } catch {
                throw LogError(checkpoints: path, error)
            }
            guard let found else { break }
            bytes += found.value.count
            records.append(try record(found.key, found.value))
        }
        return records
    }

    /// A full disk is a failure here: what the system dropped then is not known.
    func sync() throws(LogError) {
        do throws(RocksDBError) {
            try database.syncWriteAheadLog()
        } catch {
            guard error.code == .diskFull else { throw LogError(checkpoints: path, error) }
            throw LogError(.ioFailed, "\(path): \(error.message)")
        }
    }

    func close() { database.close() }

    /// Reads everything, in the order of the keys.
    /// - Parameter body: gets a key of the database and its value.
    /// - Throws: `damaged`, `ioFailed`; what is behind the place cannot be read.
    func visit(_ body: ([UInt8], [UInt8]) -> Void) throws(LogError) {
        let cursor = database.cursor(in: Self.family)
        do throws(RocksDBError) {
            while let (key, value) = try cursor.next() { body(key, value) }
        } catch {
            throw LogError(checkpoints: path, error)
        }
    }

    private func record(_ key: [UInt8], _ value: [UInt8]) throws(LogError) -> CheckpointRecord {
        let sequence = key.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        do {
            return try CheckpointRecord(sequence: sequence, decoding: value)
        } catch {
            throw .damagedCheckpoints(path, "record \(sequence) cannot be decoded (\(error))")
        }
    }
}

extension LogError {
    init(checkpoints path: String, _ error: RocksDBError) {
        switch error.code {
        case .damaged: self = .damagedCheckpoints(path, error.message)
        case .diskFull:
            self.init(.diskFull, "\(path): \(error.message): make room on that disk; the node goes on by itself")
        case .ioFailed, .noLibrary: self.init(.ioFailed, "\(path): \(error.message)")
        }
    }

    static func damagedCheckpoints(_ path: String, _ what: String) -> LogError {
        LogError(
            .damaged,
            "\(path) is damaged: \(what). Remove this node from the cluster, empty its data directory, and add it again"
        )
    }
}
