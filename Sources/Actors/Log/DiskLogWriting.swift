import FlotillaIO
import FlotillaRaft

/// Appending.
extension DiskLog {
    /// - Throws: `diskFull`, and then nothing has changed; anything else ends the use of this log.
    func write(_ batch: LogBatch) throws(LogError) {
        guard !batch.isEmpty else { return }
        precondition(
            identity != nil, "\(directory) has no identity yet; persist one before writing")
        if segments.last.map({ $0.end - preludeEnd >= segmentSizeLimit }) ?? true {
            try startSegment()
        }
        let logged = batch.writes.map { LoggedEntries($0.entries, payloadFileLimit: payloadFileLimit) }
        let sizeBound = batch.sizeBound(logged)
        try makeRoom(for: sizeBound)
        let missing = missingPayloads(of: batch, logged)
        if !mutated(.namesPayloadsBeforeTheyAreWritten) { try write(missing) }
        let segment = segments[segments.count - 1]
        let place = LogTable.Place(segment: segment.number, offset: segment.end)
        var heads = ProtobufWriter()
        var body = ProtobufWriter(reservingCapacity: sizeBound)
        var changesSpace = false
        for (write, entries) in zip(batch.writes, logged) {
            var head = index.withContents { $0.table.checkAndApply(write, entries, place: place) }
            head.claim = LogHeads.encode(entries, into: &body)
            LogHeads.encode(head, into: &heads)
            changesSpace = changesSpace || write.snapshot != nil || write.isRemoved
        }
        if mutated(.removesPayloadsBeforeTheBatch) { try removeUnusedPayloads() }
        try append(.writes, heads: heads.bytes, body: body.bytes)
        if mutated(.namesPayloadsBeforeTheyAreWritten) { try write(missing) }
        try removeUnusedPayloads()
        guard changesSpace else { return }
        try removeDeadSegments()
    }

    /// Makes the last segment's file long enough for so many bytes and what may have to follow them, before anything
    /// is decided: a disk that is full then costs nothing, and later writes change no metadata.
    func makeRoom(for count: Int) throws(LogError) {
        guard let file else { preconditionFailure("\(directory) has no segment") }
        let last = segments.count - 1
        let end = segments[last].end + UInt64(count + LogFormat.reservedBytes)
        segments[last].fileBytes = try lengthen(file, from: segments[last].fileBytes, toHold: end)
    }

    /// Writes zeros behind the end of a file; they become durable with its next sync.
    /// - Returns: the file's size.
    func lengthen(_ file: any File, from size: UInt64, toHold end: UInt64) throws(LogError) -> UInt64 {
        guard end > size else { return size }
        let target = grown(toHold: end)
        var position = size
        while position < target {
            let count = min(Self.zeros.count, Int(target - position))
            let zeros = count == Self.zeros.count ? Self.zeros : Array(Self.zeros[..<count])
            try growing { () throws(FileError) in try file.write(zeros, at: position) }
            position += UInt64(count)
        }
        return target
    }

    /// So many at a time: the page cache makes one folio of what is written at once, and every later write, however small,
    /// then costs it time in proportion to that.
    private static let zeros = [UInt8](repeating: 0, count: 16 << 10)

    /// The size of a file that is to hold so many bytes.
    func grown(toHold end: UInt64) -> UInt64 { (end + growth - 1) / growth * growth }

    /// One write and one fsync, into room that was made.
    func append(_ kind: BatchHeader.Kind, heads: [UInt8], body: [UInt8]) throws(LogError) {
        guard let file else { preconditionFailure("\(directory) has no segment") }
        let current = segments.count - 1
        let segment = segments[current]
        var bytes: [UInt8] = []
        BatchHeader.append(
            kind, sequence: nextSequence, heads: heads, body: body, segment: segment.id,
            offset: segment.end,
            to: &bytes)
        let end = segment.end + UInt64(bytes.count - LogFormat.terminatorBytes)
        precondition(
            end + UInt64(LogFormat.reservedBytes) <= segment.fileBytes,
            "a batch that ends at byte \(end) of a file of \(segment.fileBytes) bytes")
        if mutated(.leavesOldBytesBehindBatch) { bytes.removeLast(LogFormat.terminatorBytes) }
        try io { () throws(FileError) in
            try file.write(bytes, at: segment.end)
            do throws(FileError) {
                try file.sync()
            } catch {
                guard mutated(.retriesFailedSync) else { throw error }
                try file.sync()
            }
        }
        segments[current].end = end
        nextSequence += 1
    }
}

extension LogBatch {
    /// No fewer bytes than the batch takes in the log.
    /// - Parameter logged: the entries of each write.
    fileprivate func sizeBound(_ logged: [LoggedEntries]) -> Int {
        zip(writes, logged).reduce(LogFormat.sealBytes) { sum, item in
            let (write, logged) = item
            var size = sum + LogHeads.writeSizeBound + logged.payloads.count * LogHeads.payloadSizeBound
            if let snapshot = write.snapshot {
                var writer = ProtobufWriter()
                snapshot.encode(into: &writer)
                size += writer.bytes.count
            }
            return logged.entries.reduce(size) { $0 + $1.payload.count + LogHeads.entrySizeBound }
        }
    }
}

extension LogTable {
    /// Applies a write of this process; one that cannot stand in the log is a mistake of the caller.
    /// - Parameter logged: the write's entries, where some of their payloads are in files.
    @discardableResult
    mutating func checkAndApply(
        _ write: LogBatch.Write, _ logged: LoggedEntries? = nil, place: Place
    ) -> LogHeads.Write {
        let head = head(of: write)
        let problem = problem(with: head) ?? Self.problem(with: write.entries)
        precondition(problem == nil, "a write that cannot stand in the log: \(problem ?? "")")
        apply(head, logged ?? LoggedEntries(write.entries), place: place)
        return head
    }
}
