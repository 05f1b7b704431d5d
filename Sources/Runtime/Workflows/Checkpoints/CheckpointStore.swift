import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// The history of the values that runs record by key. It may outgrow memory, so it stands beside the replicated state,
/// which holds each key's last value and their number only.
///
/// Every replica writes it as it applies commands, and again after a crash: changes can be repeated, in their order,
/// from any earlier point on. Calls block; any thread may make them, one at a time.
protocol CheckpointStore: AnyObject, Sendable {
    /// Makes the changes in their order. Durable after the next `sync`.
    /// - Throws: `diskFull` where the same changes may be made again once this store has been closed and another one
    ///   opened. After any other error nobody knows what is on the disk.
    func apply(_ changes: [CheckpointChange]) throws(LogError)
    /// The record with the highest sequence number; nil if the key has none.
    func latest(of key: CheckpointKey) throws(LogError) -> CheckpointRecord?
    /// The records of a key in their order.
    /// - Parameters:
    ///   - start: the first sequence number of interest.
    ///   - limit: how many at most.
    ///   - bytesMax: at least one record, and no more behind those that take so much together on disk.
    func history(
        of key: CheckpointKey, from start: UInt64, limit: Int, bytesMax: Int
    ) throws(LogError) -> [CheckpointRecord]
    /// Makes everything durable that was applied.
    /// - Throws: `diskFull` where it may be called again.
    func sync() throws(LogError)
    func close()
}

extension CheckpointStore {
    func append(_ record: CheckpointRecord, to key: CheckpointKey) throws(LogError) {
        try apply([.append(key, record)])
    }

    /// Removes all but the newest records of a key.
    func prune(_ key: CheckpointKey, keepLast count: Int) throws(LogError) {
        guard let last = try latest(of: key), last.sequence + 1 > UInt64(count) else { return }
        try apply([.prune(key, before: last.sequence + 1 - UInt64(count))])
    }
}

/// A run whose checkpoints are kept.
struct CheckpointRun: Hashable, Sendable {
    var group: GroupID
    var run: RunKey
    /// A workflow id whose run is gone may be used again, by another run.
    var runID: RunID
}

struct CheckpointKey: Hashable, Sendable {
    var run: CheckpointRun
    var name: ByteText
}

struct CheckpointRecord: Hashable, Sendable {
    /// Counts the key's records, from 0.
    var sequence: UInt64
    /// JSON.
    var value: [UInt8]
    /// The group's time, in nanoseconds since 1970.
    var recordedAt: Int64
}

enum CheckpointChange: Hashable, Sendable {
    case append(CheckpointKey, CheckpointRecord)
    /// Removes the key's records with lower sequence numbers.
    case prune(CheckpointKey, before: UInt64)
    case remove(CheckpointRun)

    /// What it takes in memory, about.
    var bytes: Int {
        switch self {
        case .append(let key, let record): record.value.count + key.name.text.utf8.count + 128
        case .prune, .remove: 128
        }
    }
}

// MARK: Keys as bytes

extension CheckpointRun {
    /// What the keys of all its records begin with. Every part is preceded by its length or has a fixed one, so no
    /// character in an id can make two keys one.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: group.rawValue)
        bytes.append(counted: run.namespace)
        bytes.append(counted: run.workflowID)
        bytes += runID.bytes
        return bytes
    }
}

extension CheckpointKey {
    var bytes: [UInt8] {
        var bytes = run.bytes
        bytes.append(counted: name)
        return bytes
    }

    /// Sorts by sequence number.
    func bytes(sequence: UInt64) -> [UInt8] {
        var bytes = bytes
        bytes.append(bigEndian: sequence)
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian number: UInt64) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func append(counted text: ByteText) {
        append(bigEndian: UInt64(text.text.utf8.count))
        append(contentsOf: text.text.utf8)
    }

    /// The first key behind all those that begin with this one, which has a byte below 0xFF.
    var prefixEnd: [UInt8] {
        var end = self
        while let last = end.popLast() {
            guard last == 0xFF else { return end + [last + 1] }
        }
        return end
    }
}

// MARK: Records as bytes

extension CheckpointRecord {
    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.bytes(1, value)
        writer.signed(2, recordedAt)
        return writer.bytes
    }

    init(sequence: UInt64, decoding bytes: [UInt8]) throws(WireError) {
        self.init(sequence: sequence, value: [], recordedAt: 0)
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: value = try reader.bytes()
            case 2: recordedAt = try reader.signed()
            default: throw reader.unknownField(in: "a checkpoint")
            }
        }
    }
}
