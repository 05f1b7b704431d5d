import FlotillaIO
import FlotillaRaft

/// What of a step's name is in the history beside the state, where checkpoints are: a run that takes the same step again
/// and again needs no more memory with each time.
struct StepArchive: Hashable, Sendable {
    /// The occurrence behind the last one that is there.
    private(set) var end: UInt64 = 0
    /// Those before the end that are not there, in ascending order: they have no result, or had one only after later
    /// ones, and are in the state then. So the history is in the order of time.
    private(set) var absent: [Range<UInt64>] = []
    /// The first occurrence that may come to be there; not before the end. Each is looked at once, or a body that tried
    /// for a year before its step had a result would cost a look at all of its attempts with each step behind that.
    private(set) var next: UInt64 = 0
    /// When the last one was recorded.
    private(set) var lastAt: Int64 = 0

    /// How many are there.
    var count: UInt64 { absent.reduce(end) { $0 - UInt64($1.count) } }

    func holds(_ occurrence: UInt64) -> Bool {
        guard occurrence < end else { return false }
        var (low, high) = (0, absent.count)
        while low < high {
            let middle = (low + high) / 2
            if absent[middle].upperBound <= occurrence { low = middle + 1 } else { high = middle }
        }
        return low == absent.count || !absent[low].contains(occurrence)
    }

    /// The first that is there, of a number on; nil if there is none.
    func first(from occurrence: UInt64) -> UInt64? {
        let found = absent.first { $0.contains(occurrence) }?.upperBound ?? occurrence
        return found < end ? found : nil
    }

    func takes(_ occurrence: UInt64, recordedAt: Int64) -> Bool { occurrence >= next && recordedAt >= lastAt }

    mutating func add(_ occurrence: UInt64, recordedAt: Int64) {
        precondition(
            takes(occurrence, recordedAt: recordedAt), "occurrence \(occurrence) of a step comes behind \(end)")
        if occurrence > end { absent.append(end..<occurrence) }
        (end, next, lastAt) = (occurrence + 1, occurrence + 1, recordedAt)
    }

    /// What was not added of the occurrences before this one is not any more.
    mutating func pass(to occurrence: UInt64) { next = max(next, occurrence) }
}

// MARK: Where it is

extension StepArchive {
    /// What the names of such series begin with; no checkpoint's does.
    private static let prefix = "$step/"

    /// Under which name the history has a step's records, numbered by occurrence.
    static func series(of name: ByteText) -> ByteText { ByteText(prefix + name.text) }

    static func isSeries(_ name: ByteText) -> Bool { name.text.hasPrefix(prefix) }
}

/// One of the series of records that the history has of a run.
struct HistorySeries {
    var name: ByteText
    /// The number behind the last record.
    var end: UInt64
}

extension Run {
    var hasHistory: Bool { checkpoints.count > 0 || archives != nil }

    /// By name.
    var historySeries: [HistorySeries] {
        let steps = archives?.members.map { HistorySeries(name: StepArchive.series(of: $0.key), end: $0.value.end) }
        let values = checkpoints.members.map { HistorySeries(name: $0.key, end: $0.value.count) }
        return (values + (steps ?? [])).sorted { $0.name < $1.name }
    }

    /// How many steps have a result.
    var stepCount: UInt64 { archivedStepCount + UInt64(steps.count) }

    /// How many of them are in the history alone.
    var archivedStepCount: UInt64 {
        var count: UInt64 = 0
        archives?.visit { count += $1.count }
        return count
    }

    func isArchived(_ step: StepKey) -> Bool { archives?[step.name]?.holds(step.occurrence) ?? false }

    /// Takes the older steps of a name out of the state, a quarter of `keeping` at a time: what they cost beside the
    /// state, a thread that wakes up and a write, they share.
    /// - Parameters:
    ///   - step: the one that was recorded just now.
    ///   - keeping: how many occurrences stay at least, up to that one; 0 for all.
    /// - Returns: what the history is to hold, in its order.
    mutating func archive(before step: StepKey, keeping: UInt64) -> [CheckpointRecord] {
        guard keeping > 0, step.occurrence >= keeping else { return [] }
        let bound = step.occurrence - keeping + 1
        var archive = archives?[step.name] ?? StepArchive()
        guard bound >= archive.next + max(1, keeping / 4) else { return [] }
        var records: [CheckpointRecord] = []
        for occurrence in recordedOccurrences(of: step.name, in: archive.next..<bound) {
            let key = StepKey(step.name.text, occurrence)
            guard let old = steps[key], archive.takes(occurrence, recordedAt: old.recordedAt) else { continue }
            steps.remove(key)
            archive.add(occurrence, recordedAt: old.recordedAt)
            records.append(CheckpointRecord(old, occurrence: occurrence))
        }
        archive.pass(to: bound)
        if archives == nil { archives = BucketedMap() }
        archives?.insert(archive, for: step.name)
        return records
    }

    /// Those that may have a result in the state, in their order. Of many most have none.
    private func recordedOccurrences(of name: ByteText, in range: Range<UInt64>) -> [UInt64] {
        guard range.upperBound - range.lowerBound > UInt64(steps.count) else { return Array(range) }
        return steps.members.map(\.key).filter { $0.name == name && range.contains($0.occurrence) }
            .map(\.occurrence).sorted()
    }
}

// MARK: Records

extension CheckpointRecord {
    /// A step as the history has it: `ArchivedStep` in workflow.proto.
    init(_ step: Run.Step, occurrence: UInt64) {
        var writer = ProtobufWriter()
        writer.bytes(1, step.value)
        writer.varint(2, step.epoch)
        writer.varint(3, step.owner.rawValue)
        writer.varint(4, UInt64(step.effort.attempt))
        writer.signed(5, step.effort.duration)
        self.init(sequence: occurrence, value: writer.bytes, recordedAt: step.recordedAt)
    }

    var step: Run.Step {
        get throws(WireError) {
            var step = Run.Step(
                value: [], epoch: 0, recordedAt: recordedAt, owner: NodeID(0),
                effort: StepEffort(attempt: 0, duration: 0))
            var reader = ProtobufReader(value)
            while let field = try reader.next() {
                switch field {
                case 1: step.value = try reader.bytes()
                case 2: step.epoch = try reader.varint()
                case 3: step.owner = NodeID(try reader.varint())
                case 4: step.effort.attempt = try reader.uint32()
                case 5: step.effort.duration = try reader.signed()
                default: throw reader.unknownField(in: "a step of the history")
                }
            }
            return step
        }
    }
}

// MARK: In a snapshot

extension StepArchive {
    func write(_ name: ByteText, to writer: inout ProtobufWriter) {
        writer.string(1, name.text)
        writer.varint(2, end)
        writer.signed(3, lastAt)
        writer.packed(4, absent.flatMap { [$0.lowerBound, $0.upperBound] })
        writer.varint(5, next - end)
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (ByteText, StepArchive) {
        var (name, archive, bounds) = ("", StepArchive(), [UInt64]())
        var passed: UInt64 = 0
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: archive.end = try reader.varint()
            case 3: archive.lastAt = try reader.signed()
            case 4: try reader.packed(into: &bounds)
            case 5: passed = try reader.varint()
            default: throw reader.unknownField(in: "the archive of a step")
            }
        }
        // Each range is not empty, and ends before the next one begins.
        var last: UInt64?
        for number in bounds {
            guard last.map({ $0 < number }) ?? true, number < archive.end else {
                throw WireError(.invalidValue, "the archive of step '\(name)' lacks what it cannot have")
            }
            last = number
        }
        let (next, isTooLarge) = archive.end.addingReportingOverflow(passed)
        guard bounds.count.isMultiple(of: 2), !isTooLarge else {
            throw WireError(.invalidValue, "the archive of step '\(name)' has half a range, or no end")
        }
        archive.next = next
        archive.absent = stride(from: 0, to: bounds.count, by: 2).map { bounds[$0]..<bounds[$0 + 1] }
        return (ByteText(name), archive)
    }
}
