import FlotillaIO
import FlotillaRaft

// A snapshot's file. Data directories outlive the code that wrote them: change nothing here without a new version.
//
//   G-I-X-T.snap   complete: of group G, incarnation I, at index X, term T
//   G-I-X-T.part   being fetched: the header, and whichever records have arrived
//   *.tmp          unfinished, removed at the next open
//
// Numbers are little-endian. Checksums are CRC-32C.
//
// FILE = header of 64 bytes, a record for each chunk, footer.
//   header: magic "FLOTSNAP", version u32, bytes of a chunk u32, group u64, incarnation u64, index u64, term u64,
//           bytes of the state u64, checksum of the state u32, checksum u32 of the 60 bytes before.
//   record: bytes that follow u32, encoding u32 (0 plain, 1 zstd), checksum of the chunk u32, the chunk.
//   footer: for each chunk its record's offset u64, the bytes that follow u32, encoding u32, checksum u32;
//           then the number of chunks u32, checksum u32 of the footer so far, magic "FLOTINDX".
//
// The state is cut into chunks of equal size, the last one shorter; an empty state has none. A chunk's checksum is that
// of its plain bytes, seeded with the snapshot's name and the chunk's number: a chunk that stands in a wrong place, or
// in another file, does not verify, and two members that hold the same snapshot agree on all checksums, compressed or
// not. A part holds plain records, each at the place that it would have if all were there, so chunks can arrive in any
// order, and what stands there after a crash is told from what does not by its checksum alone.

/// The first bytes of a snapshot's file.
struct SnapshotHeader: Hashable {
    static let bytes = 64
    static let recordHeaderBytes = 12
    private static let magic = Array("FLOTSNAP".utf8)
    private static let version: UInt32 = 2

    var id: SnapshotID
    /// Of the state, in bytes.
    var size: UInt64
    /// Of the state.
    var checksum: UInt32
    var chunkBytes: Int

    var chunkCount: Int { Int((size + UInt64(chunkBytes) - 1) / UInt64(chunkBytes)) }

    /// The bytes of the state that are in a chunk.
    func range(of chunk: Int) -> Range<Int> {
        chunk * chunkBytes..<min((chunk + 1) * chunkBytes, Int(size))
    }

    /// Where a record stands if all before it are plain.
    func plainOffset(of chunk: Int) -> UInt64 {
        UInt64(Self.bytes + chunk * (Self.recordHeaderBytes + chunkBytes))
    }

    func checksum(ofChunk number: Int, _ bytes: [UInt8]) -> UInt32 {
        id.checksum(ofChunk: number, bytes)
    }

    var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.append(littleEndian: Self.version)
        bytes.append(littleEndian: UInt32(chunkBytes))
        bytes.append(littleEndian: id.group.rawValue)
        bytes.append(littleEndian: id.incarnation)
        bytes.append(littleEndian: id.index.rawValue)
        bytes.append(littleEndian: id.term.rawValue)
        bytes.append(littleEndian: size)
        bytes.append(littleEndian: checksum)
        bytes.append(littleEndian: CRC32C.checksum(bytes))
        return bytes
    }

    init(id: SnapshotID, size: UInt64, checksum: UInt32, chunkBytes: Int) {
        self.id = id
        self.size = size
        self.checksum = checksum
        self.chunkBytes = chunkBytes
    }

    init(_ bytes: [UInt8], path: String) throws(LogError) {
        guard bytes.count == Self.bytes, bytes.starts(with: Self.magic) else {
            throw .damaged(path, at: 0, "it is not a snapshot")
        }
        let version = bytes.littleEndian32(at: 8)
        guard version == Self.version else {
            throw LogError(
                .unknownVersion,
                "\(path) has format version \(version); this version reads \(Self.version): "
                    + "run the version of Flotilla that wrote it, or a newer one")
        }
        guard bytes.littleEndian32(at: 60) == CRC32C.checksum(bytes[..<60]) else {
            throw .damaged(path, at: 0, "its header does not match its checksum")
        }
        self.init(
            id: SnapshotID(
                group: GroupID(bytes.littleEndian64(at: 16)), incarnation: bytes.littleEndian64(at: 24),
                index: LogIndex(bytes.littleEndian64(at: 32)), term: Term(bytes.littleEndian64(at: 40))),
            size: bytes.littleEndian64(at: 48), checksum: bytes.littleEndian32(at: 56),
            chunkBytes: Int(bytes.littleEndian32(at: 12)))
        guard chunkBytes > 0 else { throw .damaged(path, at: 12, "its chunks are empty") }
    }
}

extension SnapshotID {
    func checksum(ofChunk number: Int, _ bytes: [UInt8]) -> UInt32 { checksum(ofChunk: number, [bytes]) }

    /// - Parameter pieces: of the chunk, in order.
    func checksum(ofChunk number: Int, _ pieces: [[UInt8]]) -> UInt32 {
        let seed = CRC32C.checksum(Array(description.utf8)) &+ UInt32(truncatingIfNeeded: number)
        return pieces.reduce(seed) { CRC32C.checksum($1, seed: $0) }
    }
}

/// Where one chunk is, and what it must be.
struct SnapshotRecord: Hashable {
    enum Encoding: UInt32 {
        case plain = 0
        case zstd = 1
    }

    /// Of the record, whose header comes first.
    var offset: UInt64
    var storedBytes: Int
    var encoding: Encoding
    var checksum: UInt32

    static let footerBytes = 20

    var end: UInt64 { offset + UInt64(SnapshotHeader.recordHeaderBytes + storedBytes) }

    /// What stands before the chunk.
    var header: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(storedBytes))
        bytes.append(littleEndian: encoding.rawValue)
        bytes.append(littleEndian: checksum)
        return bytes
    }
}

/// The index of a file's chunks, at its end.
enum SnapshotFooter {
    static let trailerBytes = 16
    private static let magic = Array("FLOTINDX".utf8)

    static func encode(_ records: [SnapshotRecord]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(records.count * SnapshotRecord.footerBytes + trailerBytes)
        for record in records {
            bytes.append(littleEndian: record.offset)
            bytes += record.header
        }
        bytes.append(littleEndian: UInt32(records.count))
        bytes.append(littleEndian: CRC32C.checksum(bytes))
        return bytes + magic
    }

    /// - Parameter fileSize: in bytes.
    static func read(from file: any File, fileSize: UInt64, _ header: SnapshotHeader, path: String)
        throws(LogError) -> [SnapshotRecord]
    {
        let size = header.chunkCount * SnapshotRecord.footerBytes + trailerBytes
        guard fileSize >= UInt64(SnapshotHeader.bytes + size) else {
            throw .damaged(path, at: fileSize, "it ends before its index")
        }
        let start = fileSize - UInt64(size)
        let bytes: [UInt8]
        do { bytes = try file.read(at: start, count: size) } catch { throw .io(error) }
        guard bytes.count == size, bytes.suffix(magic.count) == magic[...],
            bytes.littleEndian32(at: size - 12) == CRC32C.checksum(bytes[..<(size - 12)]),
            bytes.littleEndian32(at: size - 16) == UInt32(header.chunkCount)
        else { throw .damaged(path, at: start, "its index does not match its checksum") }
        var records: [SnapshotRecord] = []
        for position in stride(from: 0, to: size - trailerBytes, by: SnapshotRecord.footerBytes) {
            guard let encoding = SnapshotRecord.Encoding(rawValue: bytes.littleEndian32(at: position + 12)) else {
                throw .damaged(path, at: start + UInt64(position), "a chunk has an unknown encoding")
            }
            records.append(
                SnapshotRecord(
                    offset: bytes.littleEndian64(at: position),
                    storedBytes: Int(bytes.littleEndian32(at: position + 8)), encoding: encoding,
                    checksum: bytes.littleEndian32(at: position + 16)))
        }
        return records
    }
}
