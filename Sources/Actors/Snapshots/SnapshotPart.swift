import FlotillaIO

/// A snapshot that is being fetched: the file that its chunks are put into as they arrive.
struct SnapshotPart {
    let header: SnapshotHeader
    let file: any File
    let path: String
    private(set) var records: [SnapshotRecord?]
    /// Chunks that were written since the last sync.
    private var unsynced = 0

    /// Goes on with what an earlier attempt has left, and begins anew where that was another state.
    init(_ header: SnapshotHeader, path: String, files: any FileSystem) throws(FileError) {
        self.header = header
        self.path = path
        records = Array(repeating: nil, count: header.chunkCount)
        let start = header.encoded
        file = try files.open(path, create: true)
        if try file.read(at: 0, count: SnapshotHeader.bytes) == start {
            for number in records.indices { records[number] = try record(number) }
        } else {
            try file.truncate(to: 0)
            try file.write(start, at: 0)
        }
    }

    var present: [Bool] { records.map { $0 != nil } }

    /// What stands at a chunk's place, if it is that chunk.
    private func record(_ number: Int) throws(FileError) -> SnapshotRecord? {
        let offset = header.plainOffset(of: number)
        let size = header.range(of: number).count
        let found = try file.read(at: offset, count: SnapshotHeader.recordHeaderBytes + size)
        let chunk = Array(found.dropFirst(SnapshotHeader.recordHeaderBytes))
        let record = SnapshotRecord(
            offset: offset, storedBytes: size, encoding: .plain, checksum: header.checksum(ofChunk: number, chunk))
        return chunk.count == size && found.starts(with: record.header) ? record : nil
    }

    /// Durable once some more are written, or all: a chunk that a crash takes away again is fetched again.
    /// - Parameter pieces: of the chunk, in order.
    mutating func write(_ pieces: [[UInt8]], number: Int, checksum: UInt32) throws(FileError) {
        let record = SnapshotRecord(
            offset: header.plainOffset(of: number), storedBytes: header.range(of: number).count, encoding: .plain,
            checksum: checksum)
        try file.write(record, pieces)
        unsynced += 1
        if unsynced == SnapshotRecord.chunksPerSync {
            unsynced = 0
            try file.sync()
        }
        records[number] = record
    }

    /// Writes the index and makes all of it durable.
    func seal() throws(FileError) {
        let footer = SnapshotFooter.encode(records.map { $0! })
        let end = records.last?.map(\.end) ?? UInt64(SnapshotHeader.bytes)
        try file.truncate(to: end)
        try file.write(footer, at: end)
        try file.sync()
    }
}

extension SnapshotStore {
    /// Prepares to fetch a snapshot, in place of what was being fetched for its group before.
    /// - Returns: which chunks an earlier attempt has left.
    func beginFetch(_ id: SnapshotID, _ offer: SnapshotOffer) throws(LogError) -> [Bool] {
        let header = SnapshotHeader(
            id: id, size: offer.size, checksum: offer.checksum, chunkBytes: offer.chunkBytes)
        if complete.contains(id) {
            if try metadata(id).checksum == offer.checksum {
                return Array(repeating: true, count: header.chunkCount)
            }
            forget(id)
            try io { () throws(FileError) in try files.remove(path(id)) }
        }
        let partPath = partPath(id)
        let names = try io { () throws(FileError) in try files.list(directory) }
        parts[id.group] = nil
        let part = try io { () throws(FileError) in
            for name in names {
                let other = SnapshotID(fileName: name, suffix: SnapshotID.partSuffix)
                if other?.group == id.group, other != id { try files.remove("\(directory)/\(name)") }
            }
            return try SnapshotPart(header, path: partPath, files: files)
        }
        parts[id.group] = part
        return part.present
    }

    /// Takes a chunk that has arrived.
    /// - Returns: false if it is not what its checksum and the snapshot's name say.
    func write(_ chunk: ReceivedChunk, of id: SnapshotID) throws(LogError) -> Bool {
        guard var part = parts[id.group], part.header.id == id else { return false }
        let number = Int(clamping: chunk.offset / UInt64(part.header.chunkBytes))
        guard chunk.offset.isMultiple(of: UInt64(part.header.chunkBytes)), number < part.header.chunkCount,
            chunk.pieces.reduce(0, { $0 + $1.count }) == part.header.range(of: number).count,
            id.checksum(ofChunk: number, chunk.pieces) == chunk.checksum
        else { return false }
        // One owner: the records are not copied for a chunk.
        parts[id.group] = nil
        let result = Result { () throws(FileError) in
            try part.write(chunk.pieces, number: number, checksum: chunk.checksum)
        }
        parts[id.group] = part
        do { try result.get() } catch { throw .growing(error) }
        return true
    }

    /// Every chunk is here: the whole is verified, made durable and named.
    /// - Returns: the state; nil if the chunks do not make up what was offered, and it must be fetched anew.
    func finishFetch(_ id: SnapshotID) throws(LogError) -> [UInt8]? {
        guard !complete.contains(id) else {
            // A crash found it complete, and may have left it without a lasting name.
            try io { () throws(FileError) in try files.syncDirectory(directory) }
            return try load(id)
        }
        guard let part = parts.removeValue(forKey: id.group), part.header.id == id, !part.present.contains(false)
        else { return nil }
        try io { () throws(FileError) in try part.seal() }
        let bytes: [UInt8]
        do {
            // Read back: what gets the name is what the file holds.
            bytes = try SnapshotReader(id, path: part.path, files: files).load()
        } catch {
            guard error.code == .damaged else { throw error }
            try io { () throws(FileError) in try files.remove(part.path) }
            return nil
        }
        try io { () throws(FileError) in
            try files.rename(part.path, to: path(id))
            try files.syncDirectory(directory)
        }
        didComplete(id)
        return bytes
    }

    private func partPath(_ id: SnapshotID) -> String { "\(directory)/\(id)\(SnapshotID.partSuffix)" }
}
