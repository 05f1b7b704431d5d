import FlotillaActors
import FlotillaIO

/// The history of checkpoints in memory: for nodes without a directory, and for simulations, whose disks RocksDB cannot
/// reach. With a file it outlives the process as the one in RocksDB does: what was synced is there again.
final class MemoryCheckpointStore: CheckpointStore {
    static let fileName = "checkpoints"

    fileprivate struct State {
        var records: [CheckpointRun: [ByteText: [CheckpointRecord]]] = [:]
        /// Not in the file yet.
        var unsynced: [CheckpointChange] = []
        var end: UInt64 = 0
    }

    private let state = Lock(State())
    private let file: (any File)?

    /// Without a file.
    init() { file = nil }

    /// - Parameter directory: the node's.
    init(directory: String, files: any FileSystem) throws(LogError) {
        let path = "\(directory)/\(Self.fileName)"
        do throws(FileError) {
            let file = try files.open(path, create: true)
            try files.syncDirectory(directory)
            self.file = file
            let bytes = try file.read(at: 0, count: Int(file.size))
            state.withLock { $0.load(bytes) }
        } catch {
            throw LogError(.ioFailed, error.description)
        }
    }

    func apply(_ changes: [CheckpointChange]) {
        state.withLock { state in
            for change in changes { state.apply(change) }
            if file != nil { state.unsynced += changes }
        }
    }

    func latest(of key: CheckpointKey) -> CheckpointRecord? { state.withLock { $0.records[key.run]?[key.name]?.last } }

    func history(of key: CheckpointKey, from start: UInt64, limit: Int, bytesMax: Int) -> [CheckpointRecord] {
        var bytes = 0
        let records = state.withLock { $0.records[key.run]?[key.name] ?? [] }
        return Array(
            records.drop { $0.sequence < start }.prefix(limit).prefix { record in
                defer { bytes += record.encoded.count }
                return bytes < bytesMax
            })
    }

    func sync() throws(LogError) {
        guard let file else { return }
        let (changes, end) = state.withLock { ($0.unsynced, $0.end) }
        guard !changes.isEmpty else { return }
        var bytes: [UInt8] = []
        for change in changes { bytes += Self.frame(change) }
        do throws(FileError) {
            try file.write(bytes, at: end)
            try file.sync()
        } catch {
            throw LogError(.ioFailed, error.description)
        }
        state.withLock { state in
            state.unsynced.removeFirst(changes.count)
            state.end += UInt64(bytes.count)
        }
    }

    func close() {}

    private static func frame(_ change: CheckpointChange) -> [UInt8] {
        let payload = change.encoded
        return word(UInt32(payload.count)) + word(CRC32C.checksum(payload)) + payload
    }

    private static func word(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.littleEndian) { Array($0) } }
}

extension MemoryCheckpointStore.State {
    fileprivate mutating func apply(_ change: CheckpointChange) {
        switch change {
        case .append(let key, let record):
            var known = records[key.run]?.removeValue(forKey: key.name) ?? []
            if known.last.map({ $0.sequence < record.sequence }) ?? true {
                known.append(record)
            } else {
                // Again, after a crash: the record is there already, and so are those behind it.
                known.removeAll { $0.sequence == record.sequence }
                let place = known.lastIndex { $0.sequence < record.sequence }.map { $0 + 1 } ?? 0
                known.insert(record, at: place)
            }
            records[key.run, default: [:]][key.name] = known
        case .prune(let key, let sequence): records[key.run]?[key.name]?.removeAll { $0.sequence < sequence }
        case .remove(let run): records[run] = nil
        }
    }

    /// Takes over a file: for each change its length and its checksum, 4 bytes each, and its bytes. What does not verify
    /// ends it: the write was not completed, so nothing counts on it.
    fileprivate mutating func load(_ bytes: [UInt8]) {
        var position = 0
        func word(_ offset: Int) -> UInt32 {
            bytes[position + offset..<position + offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
        while position + 8 <= bytes.count {
            let end = position + 8 + Int(word(0))
            guard end <= bytes.count, CRC32C.checksum(bytes[position + 8..<end]) == word(4),
                let change = try? CheckpointChange(decoding: Array(bytes[position + 8..<end]))
            else { break }
            apply(change)
            position = end
        }
        end = UInt64(position)
    }
}
