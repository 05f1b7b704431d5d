import FlotillaIO
import FlotillaRaft

/// A run on its way to another group, with the history of its checkpoints: `TransferredRun` in workflow.proto. It
/// travels in parts, so that it may be larger than a command.
struct TransferredRun: Sendable {
    /// How much of it one command carries, in bytes.
    static let partBytes = 1 << 20
    /// How much of the values of checkpoints comes along, in bytes, the newest first; the target holds all that comes in
    /// memory until the last part has come.
    static let historyBytesMax = 32 << 20

    /// A value that a checkpoint's key had before its last one, or a step of the run's archives.
    struct Record: Hashable, Sendable {
        var name: ByteText
        var record: CheckpointRecord
    }

    let key: RunKey
    var run: Run
    /// By key, and in the order of the values in each.
    var history: [Record] = []

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.message(1) { run.write(key, to: &$0) }
        for record in history {
            writer.message(2) { writer in
                writer.string(1, record.name.text)
                writer.varint(2, record.record.sequence)
                writer.bytes(3, record.record.value)
                writer.signed(5, record.record.recordedAt)
            }
        }
        return writer.bytes
    }

    init(key: RunKey, run: Run, history: [Record] = []) { (self.key, self.run, self.history) = (key, run, history) }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var found: (key: RunKey, run: Run)?
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            guard field == 1 || field == 2 else { throw reader.unknownField(in: "a run that moves") }
            var inner = try reader.message()
            if field == 1 { found = try Run.read(from: &inner) } else { history.append(try Record(from: &inner)) }
        }
        guard let found else { throw WireError(.invalidValue, "a transfer without a run") }
        (key, run) = (found.key, found.run)
    }

    /// The commands that bring it to another group, in their order.
    func parts(from source: GroupID, number: UInt64, acknowledgedBelow: UInt64, partBytes: Int = partBytes)
        -> [TransferOperation.ImportPart]
    {
        let bytes = encoded
        let checksum = CRC32C.checksum(bytes)
        return stride(from: 0, to: bytes.count, by: partBytes).map { start in
            let end = min(start + partBytes, bytes.count)
            return TransferOperation.ImportPart(
                source: source, number: number, acknowledgedBelow: acknowledgedBelow, offset: UInt64(start),
                checksum: checksum, isLast: end == bytes.count, bytes: Array(bytes[start..<end]))
        }
    }
}

extension TransferredRun.Record {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var name = ""
        var record = CheckpointRecord(sequence: 0, value: [], recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: record.sequence = try reader.varint()
            case 3: record.value = try reader.bytes()
            case 5: record.recordedAt = try reader.signed()
            default: throw reader.unknownField(in: "a value of a checkpoint")
            }
        }
        self.init(name: ByteText(name), record: record)
    }
}
