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
    private let acceptsLoss: Bool

    private(set) var table = LogTable(keeping: .changes)
    private(set) var segments: [LogSegment] = []
    private(set) var nextSequence: UInt64 = 1
    /// What was given up at the end of the last segment, about.
    private(set) var tornBytes: UInt64 = 0
    /// What is given up may have been acknowledged, and nobody knows whose it was: all replicas are recovering.
    private(set) var isAmbiguous = false
    /// Entries that cannot be read, in the order in which they were written.
    private(set) var damages: [LogDamage] = []
    /// The segments that hold them.
    private(set) var damagedSegments: Set<UInt64> = []
    /// Replicas whose losses the operator accepts, because they have no other voter to recover from.
    private(set) var accepted: [LogKey] = []
    /// The process ended between creating the last segment and sealing the one before it.
    private(set) var lacksSeal = false

    /// - Parameters:
    ///   - directory: where the segments are.
    ///   - acceptsLoss: whether groups without other voters go on without what they lost.
    init(
        files: any FileSystem, directory: String, instance: UInt64, marker: CleanMarker?, acceptsLoss: Bool = false
    ) {
        self.acceptsLoss = acceptsLoss
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

    /// What is found must be recorded before the node takes part in anything.
    var needsCheckpoint: Bool { isAmbiguous || damages.contains(where: \.isNeeded) || !accepted.isEmpty }

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
            case .damaged(let damage): throw damaged(reader, damage.what)
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
            let start = reader
            switch try reader.next(sequence: nextSequence) {
            case .batch(let batch):
                guard batch.isWhole || mayCount(batch, reader) else {
                    reader = start
                    tornBytes = UInt64(batch.bytes)
                    break reading
                }
                try apply(batch, of: reader)
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

    /// Whether a batch with damaged entries, of the last segment, was or may have been acknowledged.
    private func mayCount(_ batch: SegmentReader.Batch, _ reader: SegmentReader) -> Bool {
        wasAcknowledged(batch.offset, reader) || (batch.hasEndMark && !mutated(.forgetsAmbiguousTail))
    }

    private func wasAcknowledged(_ offset: UInt64, _ reader: SegmentReader) -> Bool {
        if marker?.covers(segment: reader.header.number, from: offset) == true { return true }
        return reader.hasBatch(behind: offset) && !mutated(.cutsDamageInTheMiddle)
    }

    private func refuseBatchBehind(_ reader: SegmentReader, _ what: String) throws(LogError) {
        guard reader.hasBatch(behind: reader.offset), !mutated(.cutsDamageInTheMiddle) else { return }
        throw damaged(reader, what + ", and later ones stand behind it")
    }

    /// Damage in the header or the heads of what may be the last batch.
    private mutating func judge(_ damage: SegmentReader.Damage, _ reader: SegmentReader)
        throws(LogError)
    {
        if wasAcknowledged(reader.offset, reader) { throw damaged(reader, damage.what) }
        tornBytes = UInt64(damage.header?.batchBytes ?? LogFormat.batchHeaderBytes)
        if mutated(.forgetsAmbiguousTail) { return }
        isAmbiguous = true
        // A copy stands for entries that are still where they were, or found missing at the end.
        if let kind = damage.header?.kind, kind != BatchHeader.Kind.writes.rawValue { return }
        // Unverified heads may name a wrong group, so the others are in doubt as well.
        var claims: [LogKey: LogIndex] = [:]
        for head in (try? LogHeads(damage.heads))?.writes ?? [] {
            guard let claim = head.claim, table.problem(with: head) == nil else { continue }
            claims[head.key] = claim.last
        }
        table.markAllRecovering(claims: claims)
    }

    private mutating func apply(_ batch: SegmentReader.Batch, of reader: SegmentReader)
        throws(LogError)
    {
        let place = LogTable.Place(segment: reader.header.number, offset: batch.offset)
        if let problem = table.apply(batch, place: place) {
            throw .damaged(reader.path, at: batch.offset, problem)
        }
        nextSequence += 1
        for (claimed, entries) in zip(batch.heads.claims, batch.entries) where entries == nil {
            damages.append(
                LogDamage(
                    path: reader.path, offset: batch.offset, group: claimed.key.group,
                    incarnation: claimed.key.incarnation, first: claimed.claim.first, last: claimed.claim.last,
                    isNeeded: false))
            damagedSegments.insert(reader.header.number)
        }
    }

    /// What is damaged besides entries may be a term or a vote of any group, which no peer can give back.
    private func damaged(_ reader: SegmentReader, _ what: String) -> LogError {
        let named = table.replicas.sortedKeys.prefix(Self.namedGroups).map { "\($0.group)" }
        let more = table.replicas.count - named.count
        let groups = named.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
        let whose = groups.isEmpty ? "" : "; it may concern any of \(groups)"
        return .damaged(reader.path, at: reader.offset, what + whose)
    }

    /// How many groups a message names at most.
    private static let namedGroups = 8

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

// MARK: What is lost

extension LogRecovery {
    /// Reads the payloads that are in files, one after the other; an entry without its payload is lost.
    mutating func checkPayloads(in directory: PayloadDirectory) throws(LogError) {
        for replica in table.replicas.sorted {
            let key = replica.identity.key
            for payload in replica.payloads {
                do throws(LogError) {
                    _ = try directory.read(payload.reference, of: "entry \(payload.index) of \(key)")
                } catch {
                    guard error.code == .damaged || error.code == .missing else { throw error }
                    table.lose(payload.index...payload.index, of: key)
                    damages.append(
                        LogDamage(
                            path: directory.path(of: payload.reference), offset: 0, group: key.group,
                            incarnation: key.incarnation, first: payload.index, last: payload.index, isNeeded: true,
                            isPayload: true))
                }
            }
        }
    }

    /// Decides about everything that is lost: see LogDamage.swift.
    /// - Throws: `damaged` where nobody can give it back.
    mutating func cutLosses() throws(LogError) {
        table.forgetLossesBehindSnapshots()
        for position in damages.indices { damages[position].isNeeded = table.needs(damages[position]) }
        let alone = table.recoveringAlone
        if let key = alone.first, !acceptsLoss { throw unrepairable(key) }
        table.cutLosses()
        table.acceptLosses(of: alone)
        table.space.forgetChanges()
        accepted = alone
    }

    private func unrepairable(_ key: LogKey) -> LogError {
        guard let damage = damages.first(where: { $0.key == key && $0.isNeeded }) else {
            let last = segments.last ?? LogSegment(number: 1, id: 0, end: 0, fileBytes: 0)
            return .unrepairable(
                "\(path(last.number)) is damaged at byte \(last.end): what stands there may have been acknowledged, by "
                    + "\(key) as well")
        }
        return .unrepairable(damage.description)
    }
}

extension LogTable {
    /// Applies one batch of a log.
    /// - Returns: what is wrong, or nil.
    fileprivate mutating func apply(_ batch: SegmentReader.Batch, place: Place) -> String? {
        let heads = batch.heads
        if batch.kind == .checkpoint {
            if let problem = apply(checkpoint: heads) { return problem }
        } else if !heads.replicas.isEmpty || !heads.removed.isEmpty {
            return "a checkpoint stands in a batch of another kind"
        }
        var rest = batch.entries[...]
        for head in heads.writes {
            if let problem = problem(with: head) { return problem }
            guard let claim = head.claim else {
                apply(head, LoggedEntries(), place: place)
                continue
            }
            guard let logged = rest.removeFirst() else {
                apply(head, losing: claim)
                continue
            }
            if let problem = Self.problem(with: logged.entries) { return problem }
            apply(head, logged, place: place)
        }
        for copy in heads.copies {
            guard let logged = rest.removeFirst() else {
                loseCopy(copy.claim, of: copy.key)
                continue
            }
            if let problem = apply(copy: copy.key, logged, place: place) { return problem }
        }
        return nil
    }
}
