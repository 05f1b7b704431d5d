import FlotillaIO
import FlotillaRaft

/// Appending, changing segments, and giving space back.
extension DiskLog {
    /// Entries that are copied out of an old segment go in batches of about this size.
    private static let copyBatchBytes = 4 << 20
    /// An old segment of which less than this part of the limit is live is emptied by copying.
    private static let sparsePart: UInt64 = 16
    /// How many old segments one change of segments empties at most, so that it takes a bounded time.
    private static let maximumCopiedSegments = 2

    func write(_ batch: LogBatch) throws(LogError) {
        guard !batch.isEmpty else { return }
        precondition(
            identity != nil, "\(directory) has no identity yet; persist one before writing")
        if segments.last.map({ $0.end - preludeEnd >= segmentSizeLimit }) ?? true {
            try startSegment()
        }
        let segment = segments[segments.count - 1].number
        var heads = ProtobufWriter()
        var body = ProtobufWriter(reservingCapacity: batch.bodyCapacity)
        var changesSpace = false
        for write in batch.writes {
            let head = table.checkAndApply(write, segment: segment)
            LogHeads.encode(head, into: &heads)
            LogHeads.encode(write.entries, into: &body)
            changesSpace = changesSpace || write.snapshot != nil || write.isRemoved
        }
        try append(.writes, heads: heads.bytes, body: body.bytes)
        guard changesSpace else { return }
        try removeDeadSegments()
    }

    /// One write and one fsync.
    private func append(_ kind: BatchHeader.Kind, heads: [UInt8], body: [UInt8]) throws(LogError) {
        guard let file else { preconditionFailure("\(directory) has no segment") }
        let current = segments.count - 1
        let segment = segments[current]
        var bytes: [UInt8] = []
        BatchHeader.append(
            kind, sequence: nextSequence, heads: heads, body: body, segment: segment.id,
            offset: segment.end,
            to: &bytes)
        try io { () throws(FileError) in
            try file.write(bytes, at: segment.end)
            do throws(FileError) {
                try file.sync()
            } catch {
                guard mutated(.retriesFailedSync) else { throw error }
                try file.sync()
            }
        }
        segments[current].end += UInt64(bytes.count)
        nextSequence += 1
    }

    // MARK: Changing segments

    /// Begins a new segment with a checkpoint, seals the one before, and gives back what has become obsolete.
    func startSegment() throws(LogError) {
        guard let identity else { preconditionFailure("\(directory) has no identity") }
        let previous = segments.last
        let header = SegmentHeader(
            number: (previous?.number ?? 0) + 1, id: makeSegmentID(), instance: identity.instance,
            previousEnd: previous?.end ?? 0, firstSequence: nextSequence)
        let checkpoint = table.checkpoint
        var heads = ProtobufWriter()
        for replica in checkpoint.replicas { LogHeads.encode(replica, into: &heads) }
        for removed in checkpoint.removed { LogHeads.encode(removed: removed, into: &heads) }
        var bytes = header.encoded
        BatchHeader.append(
            .checkpoint, sequence: nextSequence, heads: heads.bytes, body: [], segment: header.id,
            offset: UInt64(bytes.count), to: &bytes)
        let name = LogFormat.segmentName(header.number)
        try io { () throws(FileError) in
            try files.writeWhole(bytes, to: name, in: logDirectory)
            if let previous { try seal(previous, sequence: nextSequence) }
            file = try files.open("\(logDirectory)/\(name)", create: false)
        }
        segments.append(LogSegment(number: header.number, id: header.id, end: UInt64(bytes.count)))
        nextSequence += 1
        try removeDeadSegments()
        try copyOutOldSegments()
        preludeEnd = segments[segments.count - 1].end
    }

    /// Cuts off what stands behind the segment's end and writes its last record: from now on its successor must exist.
    func seal(_ segment: LogSegment, sequence: UInt64) throws(FileError) {
        var bytes: [UInt8] = []
        BatchHeader.append(
            .seal, sequence: sequence, heads: [], body: [], segment: segment.id,
            offset: segment.end, to: &bytes)
        let file = try files.open(
            "\(logDirectory)/\(LogFormat.segmentName(segment.number))", create: false)
        try file.truncate(to: segment.end)
        try file.write(bytes, at: segment.end)
        try file.sync()
    }

    // MARK: Giving space back

    /// Deletes the oldest segments as long as nothing in them is live.
    private func removeDeadSegments() throws(LogError) {
        while segments.count > 1, table.usage[segments[0].number] == nil || mutated(.deletesSegmentInUse) {
            let name = LogFormat.segmentName(segments[0].number)
            try io { () throws(FileError) in
                try files.remove("\(logDirectory)/\(name)")
                // Before the next one goes: a gap would look like a loss.
                if !mutated(.deletesSegmentsWithoutSync) { try files.syncDirectory(logDirectory) }
            }
            segments.removeFirst()
        }
    }

    /// Keeps a group that moves slowly from holding back all segments since: where little of the oldest one is live,
    /// or the log takes more than twice what is live in it, the live entries move to the newest segment. So the log
    /// takes about twice its live entries and a few segments at most.
    private func copyOutOldSegments() throws(LogError) {
        for _ in 0..<Self.maximumCopiedSegments {
            guard segments.count > 1, let usage = table.usage[segments[0].number] else { return }
            let size = segments.reduce(0) { $0 + $1.end }
            let isSparse = UInt64(usage.bytes) <= segmentSizeLimit / Self.sparsePart
            let isOversized = size > 2 * UInt64(table.liveBytes) + 4 * segmentSizeLimit
            guard isSparse || isOversized else { return }
            for (key, entries) in try liveEntries(of: segments[0]) { try copy(entries, of: key) }
            try removeDeadSegments()
        }
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
            guard case .batch(let batch) = try reader.next(sequence: sequence),
                let heads = try? LogHeads(batch.heads),
                let lists = try? heads.entries(in: batch.body)
            else {
                throw .damaged(path, at: offset, "a batch that was valid before cannot be read")
            }
            sequence += 1
            for (key, entries) in zip(heads.claimants, lists) {
                for entry in entries where table.isLive(entry, of: key, in: segment.number) {
                    found[key, default: [:]][entry.index] = entry
                }
            }
        }
        return found.sorted { $0.key < $1.key }.map {
            ($0.key, $0.value.values.sorted { $0.index < $1.index })
        }
    }

    /// Writes live entries of one replica again, in batches.
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
            let claim = LogHeads.Claim(first: first.index, count: piece.count)
            LogHeads.encode(LogHeads.Copy(key: key, claim: claim), into: &heads)
            LogHeads.encode(Array(piece), into: &body)
            try append(.copies, heads: heads.bytes, body: body.bytes)
            let segment = segments[segments.count - 1].number
            let problem = table.apply(copy: key, entries: Array(piece), segment: segment)
            precondition(problem == nil, problem ?? "")
        }
    }
}

extension LogHeads {
    /// Whose entries the body holds, in its order.
    fileprivate var claimants: [LogKey] {
        writes.filter { $0.claim != nil }.map {
            LogKey(group: $0.write.group, incarnation: $0.write.incarnation)
        }
            + copies.map(\.key)
    }
}

extension LogBatch {
    /// What the entries take when they are encoded, about.
    fileprivate var bodyCapacity: Int {
        writes.reduce(0) { sum, write in
            write.entries.reduce(sum) { $0 + $1.payload.count + 2 * LogTable.entryOverheadBytes }
        }
    }
}

extension LogTable {
    /// Applies a write of this process; one that cannot stand in the log is a mistake of the caller.
    @discardableResult
    mutating func checkAndApply(_ write: LogBatch.Write, segment: UInt64) -> LogHeads.Write {
        let head = head(of: write)
        let problem = problem(with: head) ?? Self.problem(with: write.entries)
        precondition(problem == nil, "a write that cannot stand in the log: \(problem ?? "")")
        apply(head, entries: write.entries, segment: segment)
        return head
    }
}
