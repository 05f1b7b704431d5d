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
        case end
        /// The rest is too short for what it begins, or nothing but zeros: a write that never completed.
        case torn
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

    /// Reads on. The position moves only over a batch and over a seal.
    mutating func next(sequence: UInt64) throws(LogError) -> Step {
        if remainingBytes == 0 { return .end }
        guard remainingBytes >= LogFormat.batchHeaderBytes else { return .torn }
        guard let head = BatchHeader(bytes, at: position, segment: header.id) else {
            if bytes[position...].allSatisfy({ $0 == 0 }), !mutated(.zerosAreDamage) { return .torn }
            return .damaged(Damage(what: "a batch's header does not match its checksum"))
        }
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
        guard head.batchBytes <= remainingBytes else { return .torn }
        return verify(head, kind)
    }

    private mutating func verify(_ head: BatchHeader, _ kind: BatchHeader.Kind) -> Step {
        let headsStart = position + LogFormat.batchHeaderBytes
        let headsEnd = headsStart + head.headsBytes
        let bodyStart = headsEnd + LogFormat.checksumBytes
        let bodyEnd = bodyStart + head.bodyBytes
        let headsChecksum = CRC32C.checksum(bytes[headsStart..<headsEnd], seed: head.checksum)
        let heads = Array(bytes[headsStart..<headsEnd])
        guard bytes.littleEndian32(at: headsEnd) == headsChecksum else {
            return .damaged(
                Damage(
                    what: "a batch's heads do not match their checksum", header: head, heads: heads)
            )
        }
        let bodyChecksum = CRC32C.checksum(bytes[bodyStart..<bodyEnd], seed: headsChecksum)
        guard bytes.littleEndian32(at: bodyEnd) == bodyChecksum else {
            return .damaged(
                Damage(
                    what: "a batch's entries do not match their checksum", header: head,
                    heads: heads,
                    headsVerify: true))
        }
        let batch = Batch(
            kind: kind, offset: offset, heads: heads, body: Array(bytes[bodyStart..<bodyEnd]))
        position += head.batchBytes
        return kind == .seal ? .seal : .batch(batch)
    }

    /// Whether a write came after the one at the position: then that one had been acknowledged.
    func hasBatchBehind(_ damage: Damage) -> Bool {
        if let header = damage.header { return header.batchBytes < remainingBytes }
        let magic = UInt8(truncatingIfNeeded: BatchHeader.magic)
        let last = bytes.count - LogFormat.batchHeaderBytes
        var candidate = position + 1
        while candidate <= last {
            if bytes[candidate] == magic,
                BatchHeader(bytes, at: candidate, segment: header.id) != nil
            {
                return true
            }
            candidate += 1
        }
        return false
    }
}
