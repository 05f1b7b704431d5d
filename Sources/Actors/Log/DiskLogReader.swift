import FlotillaIO
import FlotillaRaft

/// Reads entries of one replica from the segments, beside the log's writer.
///
/// The writer may move the entries to another segment meanwhile, and delete the one that held them, or write another one
/// over it. Then the checksums, which are seeded with the segment's identity, do not match, and the read begins again
/// where the entries are now. If they are still in the same place, it is damaged.
struct DiskLogReader {
    let files: any FileSystem
    /// Where the segments are.
    let directory: String
    let index: DiskLogIndex
    let payloads: PayloadDirectory

    func read(_ key: LogKey, from first: LogIndex, bytesMax: Int) throws(LogError) -> [Entry] {
        var page = Page(next: first, bytesMax: bytesMax)
        var failedAt: DiskLogIndex.Place?
        while !page.isFull, let place = index.place(of: page.next, key) {
            let before = page.next
            do throws(LogError) {
                try read(key, at: place, into: &page)
            } catch {
                // An end that has moved only means that there is more.
                if let failedAt, failedAt.isSame(as: place) { throw error }
                failedAt = place
                continue
            }
            if page.next == before { break }
        }
        return page.entries
    }

    /// What has been read so far.
    private struct Page {
        var entries: [Entry] = []
        var next: LogIndex
        var bytes = 0
        let bytesMax: Int
        var isFull = false

        init(next: LogIndex, bytesMax: Int) {
            self.next = next
            self.bytesMax = bytesMax
        }

        /// Whether the page has room for an entry with so much payload; it is full otherwise.
        mutating func takes(bytes count: Int) -> Bool {
            bytes += count + LogTable.entryOverheadBytes
            isFull = bytes > bytesMax && !entries.isEmpty
            return !isFull
        }

        mutating func add(_ entry: Entry) {
            entries.append(entry)
            next = entry.index.next
        }
    }

    /// The entry with its payload, which is in a file of its own.
    private func whole(_ entry: Entry, _ payload: PayloadReference, _ key: LogKey) throws(LogError) -> Entry {
        var entry = entry
        entry.payload = try payloads.read(payload, of: "entry \(entry.index) of \(key)")
        return entry
    }

    /// Reads one batch after the other, from the marked one on, as far as the entries there go and are durable.
    private func read(_ key: LogKey, at place: DiskLogIndex.Place, into page: inout Page) throws(LogError) {
        let path = "\(directory)/\(LogFormat.segmentName(place.segment.number))"
        let end = mutated(.readsWhatIsNotDurable) ? place.segment.fileBytes : place.segment.end
        var batches: BatchReader
        do {
            batches = BatchReader(try files.open(path, create: false), path: path, segment: place.segment.id, end: end)
        } catch {
            throw .io(error)
        }
        let first = page.next
        var offset = place.marks[0].offset
        while offset < end, page.next <= place.last, !page.isFull {
            let batch = try batches.read(at: offset, of: key)
            // The batch may also hold what was replaced since, behind the last one.
            for entry in batch.logged.entries where entry.index == page.next && entry.term == place.term {
                guard entry.index <= place.last, !page.isFull else { continue }
                let payload = batch.logged.payloads.first { $0.index == entry.index }?.reference
                guard page.takes(bytes: payload?.byteCount ?? entry.payload.count) else { continue }
                if let payload {
                    page.add(try whole(entry, payload, key))
                } else {
                    page.add(entry)
                }
            }
            offset += UInt64(batch.bytes)
            // Nothing of this replica lies between the batches of others up to the mark.
            if let mark = place.marks.first(where: { $0.first == page.next }) { offset = max(offset, mark.offset) }
        }
        // In the last segment it may be part of a batch that is not durable yet.
        if page.next == first, !page.isFull, !place.isLast {
            throw .damaged(
                path, at: place.marks[0].offset, "entry \(first) of \(key) is not there, where it was written")
        }
    }
}

extension DiskLogIndex.Place {
    fileprivate func isSame(as other: Self) -> Bool {
        segment.id == other.segment.id && marks[0] == other.marks[0] && term == other.term
    }
}

/// Reads single batches of a segment, and checks of each what belongs to the replica.
private struct BatchReader {
    private let file: any File
    private let path: String
    private let segment: UInt64
    private let end: UInt64
    /// A part of the file, and where it begins there.
    private var bytes: [UInt8] = []
    private var start: UInt64 = 0

    /// How much is read at once: batches may be small.
    private static let chunkBytes: UInt64 = 256 << 10

    init(_ file: any File, path: String, segment: UInt64, end: UInt64) {
        self.file = file
        self.path = path
        self.segment = segment
        self.end = end
    }

    /// - Returns: the entries of one replica, and the size of the batch.
    mutating func read(at offset: UInt64, of key: LogKey) throws(LogError) -> (logged: LoggedEntries, bytes: Int) {
        try fetch(LogFormat.batchHeaderBytes, at: offset, of: key)
        guard let header = BatchHeader(bytes, at: Int(offset - start), behind: start, segment: segment) else {
            throw damaged(at: offset, "a batch's header does not match its checksum", key)
        }
        try fetch(header.batchBytes, at: offset, of: key)
        let heads = Int(offset - start) + LogFormat.batchHeaderBytes
        let body = heads + header.headsBytes + LogFormat.checksumBytes
        let checksum = CRC32C.checksum(bytes[heads..<heads + header.headsBytes], seed: header.checksum)
        guard bytes.littleEndian32(at: heads + header.headsBytes) == checksum else {
            throw damaged(at: offset, "a batch's heads do not match their checksum", key)
        }
        do throws(WireError) {
            let heads = try LogHeads(Array(bytes[heads..<heads + header.headsBytes]))
            guard let logged = try heads.entries(of: key, in: bytes[body..<body + header.bodyBytes]) else {
                throw WireError(.invalidValue, "its entries do not match their checksum")
            }
            return (logged, header.batchBytes)
        } catch {
            throw damaged(at: offset, "a batch cannot be decoded (\(error))", key)
        }
    }

    private mutating func fetch(_ count: Int, at offset: UInt64, of key: LogKey) throws(LogError) {
        let needed = offset + UInt64(count)
        if offset >= start, needed <= start + UInt64(bytes.count) { return }
        do {
            bytes = try file.read(at: offset, count: Int(max(UInt64(count), min(Self.chunkBytes, end - offset))))
        } catch {
            throw .io(error)
        }
        start = offset
        guard bytes.count >= count else { throw damaged(at: offset, "the file ends in the middle of a batch", key) }
    }

    private func damaged(at offset: UInt64, _ what: String, _ key: LogKey) -> LogError {
        .damaged(path, at: offset, "\(what) (\(key))")
    }
}
