import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Changes of the history as bytes: as they travel to a member that lags, and in the file of a store in memory. See
// `CheckpointChange` in workflow.proto.

extension CheckpointChange {
    private enum Kind: UInt64 {
        case append = 0
        case prune, remove
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        switch self {
        case .append(let key, let record):
            key.write(to: &writer)
            writer.varint(7, record.sequence)
            writer.bytes(8, record.value)
            writer.signed(9, record.recordedAt)
        case .prune(let key, let sequence):
            key.write(to: &writer)
            writer.varint(6, Kind.prune.rawValue)
            writer.varint(7, sequence)
        case .remove(let run):
            run.write(to: &writer)
            writer.varint(6, Kind.remove.rawValue)
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        try self.init(from: &reader)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var parts = CheckpointKeyParts()
        var kind = Kind.append
        var record = CheckpointRecord(sequence: 0, value: [], recordedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 6:
                guard let known = Kind(rawValue: try reader.varint()) else {
                    throw WireError(.invalidValue, "a change of checkpoints of unknown kind")
                }
                kind = known
            case 7: record.sequence = try reader.varint()
            case 8: record.value = try reader.bytes()
            case 9: record.recordedAt = try reader.signed()
            default: try parts.read(field, from: &reader)
            }
        }
        let key = try parts.key
        switch kind {
        case .append: self = .append(key, record)
        case .prune: self = .prune(key, before: record.sequence)
        case .remove: self = .remove(key.run)
        }
    }
}

extension CheckpointRun {
    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, group.rawValue)
        writer.string(2, run.namespace.text)
        writer.string(3, run.workflowID.text)
        writer.bytes(4, runID.bytes)
    }
}

extension CheckpointKey {
    func write(to writer: inout ProtobufWriter) {
        run.write(to: &writer)
        writer.string(5, name.text)
    }
}

/// The fields 1 to 5 of a message about a key.
struct CheckpointKeyParts {
    private var group: UInt64 = 0
    private var namespace = ""
    private var workflowID = ""
    private var runID: RunID?
    private var name = ""

    mutating func read(_ field: Int, from reader: inout ProtobufReader) throws(WireError) {
        switch field {
        case 1: group = try reader.varint()
        case 2: namespace = try reader.string()
        case 3: workflowID = try reader.string()
        case 4: runID = RunID(bytes: try reader.bytes())
        case 5: name = try reader.string()
        default: throw reader.unknownField(in: "a checkpoint's key")
        }
    }

    var key: CheckpointKey {
        get throws(WireError) {
            guard let runID else { throw WireError(.invalidValue, "a checkpoint without a run id") }
            return CheckpointKey(
                run: CheckpointRun(group: GroupID(group), run: RunKey(namespace, workflowID), runID: runID),
                name: ByteText(name))
        }
    }
}
