import FlotillaIO

/// Reads the batches of one segment, one after the other, and says what stands where none can be read.
struct SegmentReader {
    struct Batch {
        var kind: BatchHeader.Kind
        var offset: UInt64
        var heads: [UInt8]
        var body: [UInt8]
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
        var heads: [UInt8] = []
        /// Whether `heads` match their checksum: then only the body does not.
        var headsVerify = false
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
        return verify(head, kind)
    }

    /// The bytes behind the end of the file count as zeros.
    private var stepWithoutHeader: Step {
        let end = min(bytes.count, position + LogFormat.batchHeaderBytes)
        if bytes[position..<end].allSatisfy({ $0 == 0 }), !mutated(.zerosAreDamage) { return .end }
        guard end < bytes.count, bytes[end] != 0 else { return .torn(bytes: end - position) }
        return .damaged(Damage(what: "a batch's header does not match its checksum"))
    }

    private mutating func verify(_ head: BatchHeader, _ kind: BatchHeader.Kind) -> Step {
        let parts = head.parts(in: bytes, at: position)
        let heads = Array(bytes[parts.heads])
        guard parts.headsVerify else {
            return failure(of: head, "a batch's heads do not match their checksum", heads: heads)
        }
        guard parts.bodyVerifies else {
            return failure(
                of: head, "a batch's entries do not match their checksum", heads: heads, headsVerify: true)
        }
        let batch = Batch(kind: kind, offset: offset, heads: heads, body: Array(bytes[parts.body]))
        position += head.batchBytes
        return kind == .seal ? .seal : .batch(batch)
    }

    private func failure(
        of head: BatchHeader, _ what: String, heads: [UInt8], headsVerify: Bool = false
    ) -> Step {
        let endMark = bytes.littleEndian32(at: position + head.batchBytes - LogFormat.checksumBytes)
        guard endMark == head.checksum else { return .torn(bytes: head.batchBytes) }
        return .damaged(Damage(what: what, header: head, heads: heads, headsVerify: headsVerify))
    }

    /// Whether a write came after what stands at the position: then that had been acknowledged.
    var hasBatchBehind: Bool {
        var candidate = position + 1
        while let found = bytes.firstOffset(of: BatchHeader.magic, from: candidate) {
            if BatchHeader(bytes, at: found, segment: header.id) != nil { return true }
            candidate = found + 1
        }
        return false
    }
}
