import FlotillaIO
import FlotillaRaft

/// A segment, as far as its batches are valid.
struct LogSegment: Hashable {
    var number: UInt64
    var id: UInt64
    /// Where the next batch goes.
    var end: UInt64
    /// How long the file is. Behind the zeros at `end` may stand what is left of its use as another segment.
    var fileBytes: UInt64
}

/// Reads a log from its first segment to its last. It changes nothing on disk: the store acts on what it found.
struct LogRecovery {
    private let files: any FileSystem
    private let directory: String
    private let instance: UInt64
    private let marker: CleanMarker?

    private(set) var table = LogTable(keepingEntries: false)
    private(set) var segments: [LogSegment] = []
    private(set) var nextSequence: UInt64 = 1
    /// What was given up at the end of the last segment, about.
    private(set) var tornBytes: UInt64 = 0
    /// What is given up may have been acknowledged. Some replicas are recovering, which must be recorded first.
    private(set) var isAmbiguous = false
    /// The process ended between creating the last segment and sealing the one before it.
    private(set) var lacksSeal = false

    /// - Parameter directory: where the segments are.
    init(files: any FileSystem, directory: String, instance: UInt64, marker: CleanMarker?) {
        self.files = files
        self.directory = directory
        self.instance = instance
        self.marker = marker
    }

    static func segmentNumbers(in directory: String, files: any FileSystem) throws(LogError)
        -> [UInt64]
    {
        do {
            return try files.list(directory).compactMap(LogFormat.segmentNumber).sorted()
        } catch {
            throw .io(error)
        }
    }

    mutating func run() throws(LogError) {
        let numbers = try Self.segmentNumbers(in: directory, files: files)
        var headers: [SegmentHeader] = []
        for (position, number) in numbers.enumerated() {
            guard number == numbers[0] + UInt64(position) else {
                throw .missing(
                    path(numbers[0] + UInt64(position)), "later segments of the log exist")
            }
            headers.append(try readHeader(number))
        }
        nextSequence = headers.first?.firstSequence ?? 1
        for position in headers.indices {
            let isLast = position == headers.count - 1
            try readSegment(headers[position], successor: isLast ? nil : headers[position + 1])
        }
        try checkEnd()
    }

    private func path(_ number: UInt64) -> String {
        "\(directory)/\(LogFormat.segmentName(number))"
    }

    private func readHeader(_ number: UInt64) throws(LogError) -> SegmentHeader {
        let path = path(number)
        let bytes: [UInt8]
        do {
            bytes = try files.open(path, create: false).read(
                at: 0, count: LogFormat.segmentHeaderBytes)
        } catch {
            throw .io(error)
        }
        let header = try SegmentHeader(bytes, path: path)
        guard header.instance == instance else {
            throw .damaged(
                path, at: 32,
                "it was copied from another node's directory, or from an earlier life of this one")
        }
        guard header.number == number else {
            throw .damaged(path, at: 16, "it is segment \(header.number) under another name")
        }
        return header
    }

    private mutating func readSegment(_ header: SegmentHeader, successor: SegmentHeader?)
        throws(LogError)
    {
        let path = path(header.number)
        guard header.firstSequence == nextSequence else {
            throw .damaged(
                path, at: 48,
                "it begins with batch \(header.firstSequence), and batch \(nextSequence) is not found"
            )
        }
        var reader: SegmentReader
        do {
            reader = SegmentReader(try files.readWhole(path), header: header, path: path)
        } catch {
            if mutated(.readErrorEndsLog) { return }
            throw .io(error)
        }
        try readFirstBatch(&reader)
        // Nothing is written behind a segment's first batch before its predecessor is sealed.
        guard !lacksSeal || (successor == nil && isAtEnd(reader)) else {
            throw .damaged(
                self.path(header.number - 1), at: header.previousEnd,
                "the segment's seal is missing")
        }
        if let successor {
            try readSealed(&reader, until: successor.previousEnd)
        } else {
            try readTail(&reader)
        }
    }

    /// A segment gets its name only when its first batch is durable, so damage there is never a torn write.
    private mutating func readFirstBatch(_ reader: inout SegmentReader) throws(LogError) {
        guard case .batch(let batch) = try reader.next(sequence: nextSequence),
            batch.kind == .checkpoint
        else {
            throw .damaged(
                reader.path, at: reader.offset, "the checkpoint that it begins with cannot be read")
        }
        try apply(batch, of: reader)
    }

    private mutating func readSealed(_ reader: inout SegmentReader, until end: UInt64)
        throws(LogError)
    {
        while reader.offset < end {
            switch try reader.next(sequence: nextSequence) {
            case .batch(let batch): try apply(batch, of: reader)
            case .damaged(let damage): throw damaged(reader, damage)
            case .seal, .end, .torn:
                throw .damaged(
                    reader.path, at: reader.offset,
                    "it ends before byte \(end), where its successor begins")
            }
        }
        guard reader.offset == end else {
            throw .damaged(
                reader.path, at: reader.offset,
                "a batch reaches over byte \(end), where it should end")
        }
        lacksSeal = !hasSeal(reader)
        append(reader.header, end: end, fileBytes: reader.fileBytes)
    }

    /// What was given up before the segment was left, or a torn seal, may stand where the seal belongs.
    private func hasSeal(_ reader: SegmentReader) -> Bool {
        var reader = reader
        guard case .seal? = try? reader.next(sequence: nextSequence) else { return false }
        return true
    }

    private func isAtEnd(_ reader: SegmentReader) -> Bool {
        var reader = reader
        guard case .end? = try? reader.next(sequence: nextSequence) else { return false }
        return true
    }

    private mutating func append(_ header: SegmentHeader, end: UInt64, fileBytes: UInt64) {
        segments.append(LogSegment(number: header.number, id: header.id, end: end, fileBytes: fileBytes))
    }

    private mutating func readTail(_ reader: inout SegmentReader) throws(LogError) {
        reading: while true {
            switch try reader.next(sequence: nextSequence) {
            case .batch(let batch): try apply(batch, of: reader)
            case .end:
                try refuseBatchBehind(reader, "zeros stand where a batch belongs")
                break reading
            case .seal:
                throw .missing(
                    path(reader.header.number + 1), "the segment before it says that it was written"
                )
            case .torn(let bytes):
                try refuseBatchBehind(reader, "a batch is not complete")
                tornBytes = UInt64(bytes)
                break reading
            case .damaged(let damage):
                try judge(damage, reader)
                break reading
            }
        }
        append(reader.header, end: reader.offset, fileBytes: reader.fileBytes)
    }

    private func refuseBatchBehind(_ reader: SegmentReader, _ what: String) throws(LogError) {
        guard reader.hasBatchBehind, !mutated(.cutsDamageInTheMiddle) else { return }
        throw .damaged(reader.path, at: reader.offset, what + ", and later ones stand behind it")
    }

    /// Damage in what may be the last batch.
    private mutating func judge(_ damage: SegmentReader.Damage, _ reader: SegmentReader)
        throws(LogError)
    {
        if reader.hasBatchBehind, !mutated(.cutsDamageInTheMiddle) { throw damaged(reader, damage) }
        if marker?.covers(segment: reader.header.number, from: reader.offset) == true {
            throw damaged(reader, damage)
        }
        tornBytes = UInt64(damage.header?.batchBytes ?? LogFormat.batchHeaderBytes)
        if mutated(.forgetsAmbiguousTail) { return }
        isAmbiguous = true
        // A copy stands for entries that are still where they were, or found missing at the end.
        if let kind = damage.header?.kind, kind != BatchHeader.Kind.writes.rawValue { return }
        // Unverified heads may name a wrong group, so the others are in doubt as well.
        let heads = try? LogHeads(damage.heads)
        if damage.headsVerify, let heads, applyWithoutEntries(heads) { return }
        var claims: [LogKey: LogIndex] = [:]
        for head in heads?.writes ?? [] {
            guard let claim = head.claim, table.problem(with: head) == nil else { continue }
            claims[head.key] = claim.last
        }
        table.markAllRecovering(claims: claims)
    }

    /// - Returns: false, with nothing changed, if the heads do not fit the log.
    private mutating func applyWithoutEntries(_ heads: LogHeads) -> Bool {
        var next = table
        for head in heads.writes {
            guard next.problem(with: head) == nil else { return false }
            next.applyWithoutEntries(head)
        }
        table = next
        return true
    }

    private mutating func apply(_ batch: SegmentReader.Batch, of reader: SegmentReader)
        throws(LogError)
    {
        let heads: LogHeads
        let entries: [LoggedEntries]
        do {
            heads = try LogHeads(batch.heads)
            entries = try heads.entries(in: batch.body)
        } catch {
            guard error.code == .unknownField else {
                throw .damaged(
                    reader.path, at: batch.offset, "a batch cannot be decoded (\(error))")
            }
            throw LogError(
                .unknownVersion,
                "\(reader.path) at byte \(batch.offset): \(error.message); "
                    + "run the version of Flotilla that wrote it, or a newer one")
        }
        if let problem = table.apply(
            heads, entries: entries, kind: batch.kind,
            place: .init(segment: reader.header.number, offset: batch.offset))
        {
            throw .damaged(reader.path, at: batch.offset, problem)
        }
        nextSequence += 1
    }

    private func damaged(_ reader: SegmentReader, _ damage: SegmentReader.Damage) -> LogError {
        let heads = damage.headsVerify ? try? LogHeads(damage.heads) : nil
        let groups = heads.map { " (\($0.groupNames))" } ?? ""
        return .damaged(reader.path, at: reader.offset, damage.what + groups)
    }

    private func checkEnd() throws(LogError) {
        let last = segments.last ?? LogSegment(number: 0, id: 0, end: 0, fileBytes: 0)
        if let marker, marker.covers(segment: last.number, from: last.end) {
            if marker.segment > last.number {
                throw .missing(path(last.number + 1), "the log was longer when it was closed")
            }
            throw .damaged(
                path(last.number), at: last.end,
                "the log was \(marker.end) bytes long when it was closed")
        }
        if let absent = table.absent, let first = segments.first {
            throw .missing(
                path(first.number - 1),
                "entries \(absent.first) to \(absent.last) of \(absent.key) are needed and in no other segment"
            )
        }
    }
}

extension LogTable {
    /// Applies one batch of a log.
    /// - Returns: what is wrong, or nil.
    fileprivate mutating func apply(
        _ heads: LogHeads, entries: [LoggedEntries], kind: BatchHeader.Kind, place: Place
    ) -> String? {
        if kind == .checkpoint {
            if let problem = apply(checkpoint: heads) { return problem }
        } else if !heads.replicas.isEmpty || !heads.removed.isEmpty {
            return "a checkpoint stands in a batch of another kind"
        }
        var position = 0
        for head in heads.writes {
            var own = LoggedEntries()
            if head.claim != nil {
                own = entries[position]
                position += 1
            }
            if let problem = problem(with: head) ?? Self.problem(with: own.entries) { return problem }
            apply(head, own, place: place)
        }
        for copy in heads.copies {
            if let problem = apply(copy: copy.key, entries[position], place: place) {
                return problem
            }
            position += 1
        }
        return nil
    }
}
