import FlotillaIO

// The log on disk. Data directories outlive the code that wrote them: change nothing here without a new version.
//
//   LOCK                        locked (flock) while a process uses the directory; empty
//   identity                    who this node is                      } one checksummed container each (SealedFile):
//   boot                        how often the directory was opened    } written aside, synced, renamed, and the
//   clean                       where the log ended at a clean close  } directory synced
//   log/00000001.seg ...        segments, numbered without gaps; the oldest go, or become:
//   log/00000001.free ...       files that wait to be a segment again; what they hold means nothing
//   log/00000001.damaged ...    segments with rotten entries, kept to be looked at; the log reads them no more
//   payloads/SHA-256            payloads above a limit, one file each, under the hash of what it holds and nothing else.
//                               Durable before the batch that names it is written; removed after the batch is durable
//                               that makes its last entry obsolete, or at open if no live entry names it
//   snapshots/                  SnapshotLayout.swift describes them
//   *.tmp                       unfinished, removed at the next open
//
// Numbers are little-endian. Checksums are CRC-32C.
//
// SEGMENT = header of 64 bytes, then batches.
//   header: magic "FLOTSEGM", version u32, flags u32 (0), number u64, id u64 (random), node instance u64,
//           previousEnd u64, firstSequence u64, 0 u32, checksum u32 of the 60 bytes before.
//   A segment appears under its name (by rename) only once its header and its first batch, a checkpoint, are durable;
//   so damage in them is never a torn write. `previousEnd` is where the batches of the segment before it end: what
//   stands there after that offset was given up.
//   Its file is longer than that: it was written ahead with zeros, or was a segment before, so that an fdatasync has no
//   metadata to write. Behind the last batch stand at least 32 zeros, which are part of that batch's write, and then
//   anything. The id is drawn anew for each use, and no record verifies under another one.
//
// BATCH = header of 28 bytes, heads, checksum u32, body, padding, end mark u32. One write and one fdatasync.
//   header: magic "FBAT", kind u32, sequence u64, bytes of the heads u32, bytes of the body u32, checksum u32.
//   The header's checksum is seeded with the segment's id and the batch's offset, and the heads' with the header's: a
//   record from another place or another life of the file does not verify.
//   The end mark is the header's checksum again. It shares a sector of 512 bytes with the zeros behind it, so that both
//   get to the disk or neither: for that there may be padding, of zeros, before it. Heads begin with a byte that is not zero, but for those of a seal.
//   Sequence numbers rise by one from batch to batch, over all segments.
//   heads: what each group's write says, in protobuf (LogRecord.swift), everything but the entries themselves, and of
//          these how many bytes of the body they take and the checksum of those.
//          With a snapshot it may name a place before the snapshot's end behind which entries stay. Where there is none,
//          they stay from behind the snapshot on, and a version that does not know such places says that it does not.
//   body: the entries, in the order of the heads; field 1 of a message, once for each, or field 2 where the payload is
//         in a file: then without it, and with its SHA-256 and length.
//   kinds: 1 writes    what `LogStore.write` was given
//          2 checkpoint the state of all replicas and the removed ones; it replaces what was known, except entries
//          3 copies    live entries of the oldest segment, repeated so that it can be deleted
//          4 seal      the last record of a segment whose successor is durable; empty; carries the sequence number
//                      that the successor begins with
//   Heads are apart from the body so that damage in entries, the bulk, still tells which groups lost what, and costs
//   no vote; the other groups of the batch keep theirs. LogDamage.swift says what becomes of such a group.
//
// WHAT THE END OF THE LOG MEANS. Only one write is ever outstanding, and it starts after the fsync of the one before.
//  - Whatever has a valid batch of this segment behind it, or is covered by the clean marker, was acknowledged. If its
//    header or heads cannot be read, that is an error, and nothing is given up: terms and votes may be among them. If
//    only entries cannot be read, their groups are *recovering*.
//  - A header of zeros where a batch would begin is the end.
//  - A batch that does not verify and has no end mark, or reaches behind the end of the file, is a write that never
//    completed, so its fsync never returned. So is a header that does not verify with a zero behind it, where heads
//    begin. Given up. (A disk that loses blocks could show the same; the clean marker catches that where there is one.)
//  - A last batch with its end mark that does not verify is ambiguous: blocks of a write that never completed reached
//    the disk out of order, or a batch that was acknowledged has rotted. It is taken for the latter: where only entries
//    cannot be read, their groups are recovering; else it is given up, and all groups are.
//  - That groups are recovering is recorded at once, in the checkpoint of a new segment, so that a second crash does not
//    forget it.
//  - A log that ends before the place that the clean marker names: an error.

enum LogFormat {
    /// 4: entries have a checksum per group in the heads, instead of one per batch behind them.
    static let version: UInt32 = 4
    static let segmentHeaderBytes = 64
    static let batchHeaderBytes = 28
    static let checksumBytes = 4
    /// Zeros that are part of every write, behind its batch: what stood there before is not taken for a damaged header.
    static let terminatorBytes = 32
    static let sectorBytes = 512
    /// At most.
    static let sealBytes = batchHeaderBytes + 2 * checksumBytes + maximumPadding
    /// Of an end mark and the zeros behind it.
    static let maximumPadding = checksumBytes + terminatorBytes - 1
    /// What is kept free behind a batch, so that a segment can be left when no more fits on the disk.
    static let reservedBytes = sealBytes + terminatorBytes
    /// What one batch may hold; the callers' own limits are far below, and more is a broken precondition.
    static let maximumBatchBytes = 1 << 30

    static let spareSuffix = ".free"
    static let damagedSuffix = ".damaged"

    static func segmentName(_ number: UInt64) -> String { digits(number) + ".seg" }

    /// - Parameter number: of the segment that the file was.
    static func spareName(_ number: UInt64) -> String { digits(number) + spareSuffix }

    /// - Parameter number: of the segment that the file was.
    static func damagedName(_ number: UInt64) -> String { digits(number) + damagedSuffix }

    private static func digits(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    static func segmentNumber(_ name: String) -> UInt64? {
        guard name.hasSuffix(".seg"), let number = UInt64(name.dropLast(4)), number > 0,
            segmentName(number) == name
        else { return nil }
        return number
    }
}

/// The first 64 bytes of a segment.
struct SegmentHeader: Hashable {
    private static let magic = Array("FLOTSEGM".utf8)

    var number: UInt64
    var id: UInt64
    var instance: UInt64
    var previousEnd: UInt64
    var firstSequence: UInt64

    init(number: UInt64, id: UInt64, instance: UInt64, previousEnd: UInt64, firstSequence: UInt64) {
        self.number = number
        self.id = id
        self.instance = instance
        self.previousEnd = previousEnd
        self.firstSequence = firstSequence
    }

    var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.reserveCapacity(LogFormat.segmentHeaderBytes)
        bytes.append(littleEndian: LogFormat.version)
        bytes.append(littleEndian: UInt32(0))
        for number in [number, id, instance, previousEnd, firstSequence] {
            bytes.append(littleEndian: number)
        }
        bytes.append(littleEndian: UInt32(0))
        bytes.append(littleEndian: CRC32C.checksum(bytes))
        return bytes
    }

    init(_ bytes: [UInt8], path: String) throws(LogError) {
        guard bytes.count >= LogFormat.segmentHeaderBytes, bytes.starts(with: Self.magic) else {
            throw .damaged(path, at: 0, "it has no segment header")
        }
        let version = bytes.littleEndian32(at: 8)
        let flags = bytes.littleEndian32(at: 12)
        guard version == LogFormat.version, flags == 0 else {
            throw LogError(
                .unknownVersion,
                "\(path) has format version \(version), flags \(flags); this version reads "
                    + "\(LogFormat.version), flags 0: run the version of Flotilla that wrote it, or a newer one"
            )
        }
        guard bytes.littleEndian32(at: 60) == CRC32C.checksum(bytes[0..<60]) else {
            throw .damaged(path, at: 0, "the segment header does not match its checksum")
        }
        number = bytes.littleEndian64(at: 16)
        id = bytes.littleEndian64(at: 24)
        instance = bytes.littleEndian64(at: 32)
        previousEnd = bytes.littleEndian64(at: 40)
        firstSequence = bytes.littleEndian64(at: 48)
    }
}

/// The first 28 bytes of a batch.
struct BatchHeader: Hashable {
    static let magic: UInt32 = 0x5441_4246

    enum Kind: UInt32 {
        case writes = 1
        case checkpoint = 2
        case copies = 3
        case seal = 4
    }

    /// Where it stands in its segment.
    var offset: Int
    /// A `Kind`, or one of a newer version.
    var kind: UInt32
    var sequence: UInt64
    var headsBytes: Int
    var bodyBytes: Int
    var checksum: UInt32

    /// Nil if these bytes are no header that was written to this place.
    /// - Parameter start: where the bytes begin in the segment.
    init?(_ bytes: [UInt8], at position: Int, behind start: UInt64 = 0, segment id: UInt64) {
        guard bytes.count - position >= LogFormat.batchHeaderBytes,
            bytes.littleEndian32(at: position) == Self.magic
        else { return nil }
        offset = Int(start) + position
        checksum = bytes.littleEndian32(at: position + 24)
        let seed = Self.seed(segment: id, offset: UInt64(offset))
        guard checksum == CRC32C.checksum(bytes[position..<position + 24], seed: seed) else {
            return nil
        }
        kind = bytes.littleEndian32(at: position + 4)
        sequence = bytes.littleEndian64(at: position + 8)
        headsBytes = Int(bytes.littleEndian32(at: position + 16))
        bodyBytes = Int(bytes.littleEndian32(at: position + 20))
    }

    /// The whole batch's size, header, checksums, padding and end mark included.
    var batchBytes: Int {
        let size = LogFormat.batchHeaderBytes + headsBytes + LogFormat.checksumBytes + bodyBytes
        return size + Self.padding(at: offset + size) + LogFormat.checksumBytes
    }

    /// What brings an end mark at this offset, and the zeros behind it, into one sector.
    private static func padding(at offset: Int) -> Int {
        let used = offset % LogFormat.sectorBytes
        let room = LogFormat.sectorBytes - used
        return room > LogFormat.maximumPadding ? 0 : room
    }

    /// Appends a batch as it stands on disk, and the zeros behind it.
    static func append(
        _ kind: Kind, sequence: UInt64, heads: [UInt8], body: [UInt8], segment id: UInt64,
        offset: UInt64,
        to bytes: inout [UInt8]
    ) {
        precondition(
            heads.count + body.count <= LogFormat.maximumBatchBytes,
            "a batch of \(heads.count) + \(body.count) bytes; at most \(LogFormat.maximumBatchBytes) are written"
        )
        let start = bytes.count
        bytes.reserveCapacity(start + heads.count + body.count + 128)
        bytes.append(littleEndian: magic)
        bytes.append(littleEndian: kind.rawValue)
        bytes.append(littleEndian: sequence)
        bytes.append(littleEndian: UInt32(heads.count))
        bytes.append(littleEndian: UInt32(body.count))
        let checksum = CRC32C.checksum(
            bytes[start..<bytes.count], seed: seed(segment: id, offset: offset))
        bytes.append(littleEndian: checksum)
        bytes.append(contentsOf: heads)
        bytes.append(littleEndian: CRC32C.checksum(heads, seed: checksum))
        bytes.append(contentsOf: body)
        let padding = padding(at: Int(offset) + bytes.count - start)
        bytes.append(contentsOf: repeatElement(0, count: padding))
        bytes.append(littleEndian: checksum)
        bytes.append(contentsOf: repeatElement(0, count: LogFormat.terminatorBytes))
    }

    private static func seed(segment id: UInt64, offset: UInt64) -> UInt32 {
        if mutated(.checksumsWithoutPlace) { return 0 }
        return withUnsafeBytes(of: (id.littleEndian, offset.littleEndian)) { CRC32C.checksum($0) }
    }
}

extension [UInt8] {
    mutating func append<Number: FixedWidthInteger>(littleEndian number: Number) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }

    func littleEndian32(at offset: Int) -> UInt32 {
        withUnsafeBytes {
            UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
    }

    func littleEndian64(at offset: Int) -> UInt64 {
        withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
    }
}

extension LogError {
    /// What can be done about acknowledged data that is gone.
    static let remedy =
        "Restore the whole data directory from this node's disk as it was, or remove this node from the cluster "
        + "(flotilla node remove ID), empty the directory and start it with --join"

    /// What can be done about what a group without other voters has lost.
    static let remedyOfLastVoter =
        "No other voter is known that could give it back. Restore the whole data directory from this node's disk as it "
        + "was, or go on without it and everything behind it by 'flotilla storage repair DIR --accept-loss'"

    static func unrepairable(_ what: String) -> LogError { LogError(.damaged, "\(what). \(remedyOfLastVoter)") }

    static func damaged(_ path: String, at offset: UInt64, _ what: String) -> LogError {
        LogError(.damaged, "\(path) is damaged at byte \(offset): \(what). \(remedy)")
    }

    static func missing(_ path: String, _ what: String) -> LogError {
        LogError(.missing, "\(path) is missing: \(what). \(remedy)")
    }

    static func io(_ error: FileError) -> LogError {
        guard error.isDenied else { return LogError(.ioFailed, error.description) }
        return LogError(.ioFailed, "\(error): the user that runs the node must be able to read and write there")
    }

    /// A file could not be made or made longer.
    static func growing(_ error: FileError) -> LogError {
        guard error.isOutOfSpace else { return .io(error) }
        return LogError(
            .diskFull, "\(error): make room on that disk; the node goes on by itself as soon as there is some")
    }
}
