import FlotillaIO
import FlotillaRaft

/// Reads the batches of one segment, one after the other, and says what stands where none can be read.
struct SegmentReader {
    struct Batch {
        var kind: BatchHeader.Kind
        var offset: UInt64
        var bytes: Int
        var heads: LogHeads
        /// For each of the heads' claims; nil where they are damaged.
        var entries: [LoggedEntries?]
        /// Whether its end got to the disk.
        var hasEndMark: Bool

        var isWhole: Bool { entries.allSatisfy { $0 != nil } }
    }

    enum Step {
        case batch(Batch)
        /// The segment's last record: its successor exists.
        case seal
        /// Nothing was begun here.
        case end
        /// A write of about so many bytes that never completed.
        case torn(bytes: Int)
        case damaged(Damage)
    }

    struct Damage {
        var what: String
        /// Nil if the header is lost, and with it every length.
        var header: BatchHeader?
        /// They do not match their checksum.
        var heads: [UInt8] = []
    }

    let header: SegmentHeader
    let path: String
    private(set) var position = LogFormat.segmentHeaderBytes
    private let bytes: [UInt8]

    init(_ bytes: [UInt8], header: SegmentHeader, path: String) {
        self.bytes = bytes
        self.header = header
        self.path = path
    }

    var offset: UInt64 { UInt64(position) }
    var remainingBytes: Int { bytes.count - position }
    var fileBytes: UInt64 { UInt64(bytes.count) }

    /// Reads on. The position moves only over a batch and over a seal.
    mutating func next(sequence: UInt64) throws(LogError) -> Step {
        guard let head = BatchHeader(bytes, at: position, segment: header.id) else { return stepWithoutHeader }
        guard let kind = BatchHeader.Kind(rawValue: head.kind) else {
            throw LogError(
                .unknownVersion,
                "\(path) holds a record of kind \(head.kind) at byte \(position), unknown to this version: "
                    + "run the version of Flotilla that wrote it, or a newer one")
        }
        guard head.sequence == sequence else {
            throw .damaged(
                path, at: offset, "batch \(head.sequence) stands where batch \(sequence) belongs")
        }
        guard head.batchBytes <= remainingBytes else { return .torn(bytes: remainingBytes) }
        return try verify(head, kind)
    }

    /// The bytes behind the end of the file count as zeros.
    private var stepWithoutHeader: Step {
        let end = min(bytes.count, position + LogFormat.batchHeaderBytes)
        if bytes[position..<end].allSatisfy({ $0 == 0 }), !mutated(.zerosAreDamage) { return .end }
        guard end < bytes.count, bytes[end] != 0 else { return .torn(bytes: end - position) }
        return .damaged(Damage(what: "a batch's header does not match its checksum"))
    }

    private mutating func verify(_ head: BatchHeader, _ kind: BatchHeader.Kind) throws(LogError) -> Step {
        let headsStart = position + LogFormat.batchHeaderBytes
        let headsEnd = headsStart + head.headsBytes
        let bodyStart = headsEnd + LogFormat.checksumBytes
        let heads = Array(bytes[headsStart..<headsEnd])
        let endMark = bytes.littleEndian32(at: position + head.batchBytes - LogFormat.checksumBytes)
        guard bytes.littleEndian32(at: headsEnd) == CRC32C.checksum(heads, seed: head.checksum) else {
            guard endMark == head.checksum else { return .torn(bytes: head.batchBytes) }
            return .damaged(Damage(what: "a batch's heads do not match their checksum", header: head, heads: heads))
        }
        let batch: Batch
        do {
            let heads = try LogHeads(heads)
            batch = Batch(
                kind: kind, offset: offset, bytes: head.batchBytes, heads: heads,
                entries: try heads.entries(in: bytes[bodyStart..<bodyStart + head.bodyBytes]),
                hasEndMark: endMark == head.checksum)
        } catch {
            throw undecodable(error)
        }
        position += head.batchBytes
        return kind == .seal ? .seal : .batch(batch)
    }

    private func undecodable(_ error: WireError) -> LogError {
        guard error.code == .unknownField else {
            return .damaged(path, at: offset, "a batch cannot be decoded (\(error))")
        }
        return LogError(
            .unknownVersion,
            "\(path) at byte \(position): \(error.message); run the version of Flotilla that wrote it, or a newer one")
    }

    /// Whether a write came after what stands at an offset: then that had been acknowledged.
    func hasBatch(behind offset: UInt64) -> Bool {
        var candidate = Int(offset) + 1
        while let found = bytes.firstOffset(of: BatchHeader.magic, from: candidate) {
            if BatchHeader(bytes, at: found, segment: header.id) != nil { return true }
            candidate = found + 1
        }
        return false
    }
}
