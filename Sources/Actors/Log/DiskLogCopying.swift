import FlotillaIO
import FlotillaRaft

/// Moving what is live out of old segments.
extension DiskLog {
    /// Entries that are copied out of an old segment go in batches of about this size.
    private static let copyBatchBytes = 4 << 20
    /// An old segment of which less than this part of the limit is live is emptied by copying.
    private static let sparsePart: UInt64 = 16
    /// How many old segments one change of segments empties at most, so that it takes a bounded time.
    private static let maximumCopiedSegments = 2

    /// Keeps a group that moves slowly from holding back all segments since: where little of the oldest one is live,
    /// or the log takes more than twice what is live in it, the live entries move to the newest segment. So the log
    /// takes about twice its live entries and a few segments at most.
    func copyOutOldSegments() throws(LogError) {
        for _ in 0..<Self.maximumCopiedSegments {
            guard segments.count > 1, let usage = table.usage[segments[0].number] else { return }
            let size = segments.reduce(0) { $0 + $1.end }
            let isSparse = UInt64(usage.bytes) <= segmentSizeLimit / Self.sparsePart
            let isOversized = size > 2 * UInt64(table.liveBytes) + 4 * segmentSizeLimit
            guard isSparse || isOversized else { return }
            try emptyOldestSegment()
        }
    }

    /// Moves what is live out of the oldest segment, and gives it back.
    func emptyOldestSegment() throws(LogError) {
        for (key, entries) in try liveEntries(of: segments[0]) { try copy(entries, of: key) }
        try removeDeadSegments()
    }

    private func liveEntries(of segment: LogSegment) throws(LogError) -> [(LogKey, [Entry])] {
        let path = "\(logDirectory)/\(LogFormat.segmentName(segment.number))"
        let bytes = try io { () throws(FileError) in try files.readWhole(path) }
        let header = try SegmentHeader(bytes, path: path)
        var reader = SegmentReader(bytes, header: header, path: path)
        var sequence = header.firstSequence
        var found: [LogKey: [LogIndex: Entry]] = [:]
        while reader.offset < segment.end {
            let offset = reader.offset
            guard case .batch(let batch) = try reader.next(sequence: sequence) else {
                throw .damaged(path, at: offset, "a batch that was valid before cannot be read")
            }
            sequence += 1
            for (claimed, logged) in zip(batch.heads.claims, batch.entries) {
                for entry in logged?.entries ?? [] where table.isLive(entry, of: claimed.key, in: segment.number) {
                    found[claimed.key, default: [:]][entry.index] = entry
                }
            }
        }
        let count = found.values.reduce(0) { $0 + $1.count }
        let expected = table.usage[segment.number]?.entries ?? 0
        guard count == expected else {
            throw .damaged(path, at: 0, "of \(expected) entries that were valid before, \(expected - count) are not")
        }
        return found.sorted { $0.key < $1.key }.map {
            ($0.key, $0.value.values.sorted { $0.index < $1.index })
        }
    }

    /// Writes live entries of one replica again, in batches. Payloads in files stay where they are.
    private func copy(_ entries: [Entry], of key: LogKey) throws(LogError) {
        var rest = entries[...]
        while let first = rest.first {
            var bytes = 0
            var next = first.index
            let piece = rest.prefix { entry in
                defer {
                    next = entry.index.next
                    bytes += entry.payload.count + LogTable.entryOverheadBytes
                }
                return entry.index == next && bytes < Self.copyBatchBytes
            }
            rest = rest.dropFirst(piece.count)
            var heads = ProtobufWriter()
            var body = ProtobufWriter(reservingCapacity: bytes)
            var logged = LoggedEntries(Array(piece))
            logged.payloads = table.payloads(of: key, in: first.index...first.index + (piece.count - 1))
            guard let claim = LogHeads.encode(logged, into: &body) else { return }
            LogHeads.encode(LogHeads.Copy(key: key, claim: claim), into: &heads)
            try makeRoom(for: heads.bytes.count + body.bytes.count + LogFormat.sealBytes)
            let segment = segments[segments.count - 1]
            let place = LogTable.Place(segment: segment.number, offset: segment.end)
            try append(.copies, heads: heads.bytes, body: body.bytes)
            let problem = index.withContents { $0.table.apply(copy: key, logged, place: place) }
            precondition(problem == nil, problem ?? "")
        }
    }
}
