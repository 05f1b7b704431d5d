import FlotillaIO
import FlotillaRaft

/// What a fork brings along of its source's steps that are in the history: whoever applies the command reads no history.
/// It holds where the source's state says that nothing of it is missing.
struct ForkArchive: Hashable, Sendable {
    struct Series: Hashable, Sendable {
        /// The step's.
        var name: ByteText
        /// Where the source's archive ended when it was read.
        var end: UInt64
        /// There were later ones than those that come along.
        var isCut = false
        var records: [CheckpointRecord] = []
    }

    /// How much may come along, in bytes.
    static let bytesMax = WorkflowLimits.payloadBytesMax - (512 << 10)

    /// By name.
    var series: [Series] = []
    /// What was recorded before this time comes along.
    var before: Int64
    /// At that time the step was recorded that the fork does again.
    var isRecorded = false

    /// Whether nothing is missing that a run has recorded before a moment.
    func covers(_ run: Run, before moment: Int64) -> Bool {
        guard moment <= before else { return false }
        let known = Dictionary(uniqueKeysWithValues: series.map { ($0.name, $0) })
        return run.archives?.members.allSatisfy { name, archive in
            known[name].map { $0.isCut || $0.end == archive.end } ?? false
        } ?? true
    }
}

extension ForkArchive {
    func write(to writer: inout ProtobufWriter) {
        for series in series {
            writer.message(1) { writer in
                writer.string(1, series.name.text)
                writer.varint(2, series.end)
                writer.bool(3, series.isCut)
                for record in series.records {
                    writer.message(4) { writer in
                        writer.varint(1, record.sequence)
                        writer.bytes(2, record.encoded)
                    }
                }
            }
        }
        writer.varintAlways(2, UInt64(bitPattern: before))
        writer.bool(3, isRecorded)
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(before: 0)
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                series.append(try Series(from: &inner))
            case 2: before = Int64(bitPattern: try reader.varint())
            case 3: isRecorded = try reader.bool()
            default: throw reader.unknownField(in: "what a fork brings along")
            }
        }
        guard Set(series.map(\.name)).count == series.count else {
            throw WireError(.invalidValue, "a fork brings a step along twice")
        }
    }
}

extension ForkArchive.Series {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(name: "", end: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = ByteText(try reader.string())
            case 2: end = try reader.varint()
            case 3: isCut = try reader.bool()
            case 4:
                var inner = try reader.message()
                records.append(try Self.record(from: &inner))
            default: throw reader.unknownField(in: "what a fork brings along of a step")
            }
        }
        var archive = StepArchive()
        for record in records {
            guard archive.takes(record.sequence, recordedAt: record.recordedAt) else {
                throw WireError(.invalidValue, "a fork brings records of step '\(name)' along that are out of order")
            }
            archive.add(record.sequence, recordedAt: record.recordedAt)
        }
    }

    private static func record(from reader: inout ProtobufReader) throws(WireError) -> CheckpointRecord {
        var (sequence, bytes) = (UInt64(0), [UInt8]())
        while let field = try reader.next() {
            switch field {
            case 1: sequence = try reader.varint()
            case 2: bytes = try reader.bytes()
            default: throw reader.unknownField(in: "a step that a fork brings along")
            }
        }
        return try CheckpointRecord(sequence: sequence, decoding: bytes)
    }
}
