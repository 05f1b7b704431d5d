import FlotillaIO

/// A complete snapshot's open file.
struct SnapshotReader {
    let header: SnapshotHeader
    /// What the file takes on disk.
    let fileSize: UInt64
    private let file: any File
    private let path: String
    private let records: [SnapshotRecord]

    init(_ id: SnapshotID, path: String, files: any FileSystem) throws(LogError) {
        self.path = path
        let start: [UInt8]
        do {
            file = try files.open(path, create: false)
            fileSize = try file.size
            start = try file.read(at: 0, count: SnapshotHeader.bytes)
        } catch {
            throw .io(error)
        }
        header = try SnapshotHeader(start, path: path)
        guard header.id == id else { throw .damaged(path, at: 16, "it is snapshot \(header.id)") }
        records = try SnapshotFooter.read(from: file, fileSize: fileSize, header, path: path)
    }

    /// The plain bytes of a chunk, verified, and their checksum.
    func chunk(_ number: Int) throws(LogError) -> (bytes: [UInt8], checksum: UInt32) {
        let record = records[number]
        let (header, stored): ([UInt8], [UInt8])
        do {
            header = try file.read(at: record.offset, count: SnapshotHeader.recordHeaderBytes)
            stored = try file.read(
                at: record.offset + UInt64(SnapshotHeader.recordHeaderBytes), count: record.storedBytes)
        } catch {
            throw .io(error)
        }
        guard header == record.header else {
            throw .damaged(path, at: record.offset, "chunk \(number) is not what the index says")
        }
        let plain =
            switch record.encoding {
            case .plain: stored
            case .zstd: Zstandard.decompress(stored, sizeLimit: self.header.chunkBytes) ?? []
            }
        guard plain.count == self.header.range(of: number).count,
            self.header.checksum(ofChunk: number, plain) == record.checksum
        else { throw .damaged(path, at: record.offset, "chunk \(number) does not match its checksum") }
        return (plain, record.checksum)
    }

    /// Hands out the state from `offset` on, chunk by chunk, each verified; and if all of it was asked for, the whole.
    func stream(from offset: UInt64 = 0, _ body: ([UInt8]) -> Void) throws(LogError) {
        guard offset < header.size || offset == 0 else { return }
        let first = Int(offset / UInt64(header.chunkBytes))
        var checksum: UInt32 = 0
        for number in first..<header.chunkCount {
            let bytes = try chunk(number).bytes
            let skipped = number == first ? Int(offset % UInt64(header.chunkBytes)) : 0
            checksum = CRC32C.checksum(bytes, seed: checksum)
            body(skipped == 0 ? bytes : Array(bytes[skipped...]))
        }
        guard first > 0 || checksum == header.checksum else {
            throw .damaged(path, at: 56, "the whole state does not match its checksum")
        }
    }

    func load() throws(LogError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(header.size))
        try stream { bytes += $0 }
        return bytes
    }
}
