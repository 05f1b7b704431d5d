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
    /// takes about twice its live entries and a few segments at most. The segment that was left just now is not looked at:
    /// a group that moves fast needs its end for a moment only.
    func copyOutOldSegments() throws(LogError) {
        for _ in 0..<Self.maximumCopiedSegments {
            guard segments.count > 2, let usage = table.usage[segments[0].number] else { return }
            let size = segments.reduce(0) { $0 + $1.end }
            let isSparse = UInt64(usage.bytes) <= segmentSizeLimit / Self.sparsePart
            let isOversized = size > 2 * UInt64(table.liveBytes) + 4 * segmentSizeLimit
            guard isSparse || isOversized else { return }
            try emptyOldestSegment()
        }
    }

    /// Moves what is live out of the oldest segment, and gives it back.
    func emptyOldestSegment() throws(LogError) {
        try copy(try liveEntries(of: segments[0]))
        try removeDeadSegments()
    }

    private func liveEntries(of segment: LogSegment) throws(LogError) -> [(LogKey, [Entry])] {
        let path = "\(logDirectory)/\(LogFormat.segmentName(segment.number))"
        let bytes = try io { () throws(FileError) in try files.readWhole(path) }
        let header = try SegmentHeader(bytes, path: path)
        var reader = SegmentReader(bytes, header: header, path: path)
        var sequence = header.firstSequence
        var found: [LogKey: [LogIndex: Entry]] = [:]
        // Once: it is behind a lock, and nothing changes it here.
        let table = table
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

    /// Writes live entries again, of many replicas in one batch. Payloads in files stay where they are.
    private func copy(_ live: [(key: LogKey, entries: [Entry])]) throws(LogError) {
        var batch = CopyBatch()
        for (key, entries) in live {
            var rest = entries[...]
            while let first = rest.first {
                var next = first.index
                var bytes = batch.bytes
                let piece = rest.prefix { entry in
                    defer {
                        next = entry.index.next
                        bytes += entry.payload.count + LogTable.entryOverheadBytes
                    }
                    return entry.index == next && bytes < Self.copyBatchBytes
                }
                rest = rest.dropFirst(piece.count)
                var logged = LoggedEntries(Array(piece))
                logged.payloads = table.payloads(of: key, in: first.index...first.index + (piece.count - 1))
                batch.add(logged, of: key)
                if bytes >= Self.copyBatchBytes { try write(&batch) }
            }
        }
        try write(&batch)
    }

    private func write(_ batch: inout CopyBatch) throws(LogError) {
        guard !batch.copies.isEmpty else { return }
        try makeRoom(for: batch.heads.bytes.count + batch.body.bytes.count + LogFormat.sealBytes)
        let segment = segments[segments.count - 1]
        let place = LogTable.Place(segment: segment.number, offset: segment.end)
        try append(.copies, heads: batch.heads.bytes, body: batch.body.bytes)
        for (key, logged) in batch.copies {
            let problem = index.withContents { $0.table.apply(copy: key, logged, place: place) }
            precondition(problem == nil, problem ?? "")
        }
        batch = CopyBatch()
    }
}

/// Live entries on their way to another segment.
private struct CopyBatch {
    private(set) var copies: [(key: LogKey, entries: LoggedEntries)] = []
    private(set) var heads = ProtobufWriter()
    private(set) var body = ProtobufWriter()
    /// Of the entries, about.
    private(set) var bytes = 0

    mutating func add(_ logged: LoggedEntries, of key: LogKey) {
        guard let claim = LogHeads.encode(logged, into: &body) else { return }
        LogHeads.encode(LogHeads.Copy(key: key, claim: claim), into: &heads)
        copies.append((key, logged))
        bytes += logged.entries.reduce(0) { $0 + $1.payload.count + LogTable.entryOverheadBytes }
    }
}
