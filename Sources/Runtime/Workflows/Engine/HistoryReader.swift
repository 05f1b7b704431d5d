import FlotillaActors
import FlotillaIO

/// Puts a page of a run's history together from the state and the store of checkpoints. It looks at every step of the
/// run in memory, but holds no more than two pages, and reads no more of the history than it must.
struct HistoryReader: Sendable {
    /// A copy that shares its pieces with the state.
    let run: Run
    let owner: CheckpointRun
    let after: EventPosition?
    let limit: Int

    /// A page with values ends behind so many bytes of them.
    private static let valueBytesMax = 4 << 20
    /// Records that are read at a time.
    private static let recordChunk = 64
    private static let recordChunkBytes = 1 << 20

    /// Blocks.
    /// - Parameter store: nil where the run has nothing in the history.
    /// - Returns: the events, and the position of the last one if others follow it.
    func page(
        _ store: (any CheckpointStore)?, withValues: Bool
    ) throws(LogError) -> (events: [WorkflowEvent], next: EventPosition?) {
        var page = SortedPage(after: after, limit: limit + 1)
        collectSteps(&page)
        collectMessages(&page)
        if let store { try collectHistory(store, &page) }
        var found = page.finished()
        let isCut = found.count > limit
        if isCut { found.removeLast() }
        guard withValues else { return (found.map(\.event), isCut ? found.last?.position : nil) }
        var bytes = 0
        for (number, (position, event)) in found.enumerated() {
            guard number == 0 || bytes + event.bytes <= Self.valueBytesMax else {
                return (found[..<number].map(\.event), found[number - 1].position)
            }
            bytes += event.bytes
            found[number].event.value = try value(at: position, store)
        }
        return (found.map(\.event), isCut ? found.last?.position : nil)
    }

    private func collectSteps(_ page: inout SortedPage) {
        run.steps.visit { key, step in
            page.add(EventPosition(time: step.recordedAt, kind: .step, key: key)) { WorkflowEvent(key, step) }
        }
        run.attempts.visit { key, attempts in
            guard attempts.nextAt == nil else { return }
            page.add(EventPosition(time: attempts.failedAt, kind: .step, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: attempts.failedAt, bytes: 0,
                    detail: .failedStep(
                        owner: attempts.owner, epoch: attempts.epoch, attempt: Int(attempts.effort.attempt),
                        duration: .nanoseconds(attempts.effort.duration), failure: attempts.failure))
            }
        }
        run.timers.visit { key, timer in
            page.add(EventPosition(time: timer.startedAt, kind: .sleep, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: timer.startedAt, bytes: 0,
                    detail: .sleep(deadline: timer.deadline, firedAt: timer.firedAt))
            }
        }
    }

    /// A series of the history whose records are events.
    fileprivate struct Source {
        /// The step's, or the checkpoint's.
        var name: ByteText
        var kind: EventPosition.Kind
        var series: HistorySeries
        /// The number of the first record, or less.
        var first: UInt64
    }

    private var sources: [Source] {
        let checkpoints = run.checkpoints.members.map { name, latest in
            Source(
                name: name, kind: .checkpoint, series: HistorySeries(name: name, end: latest.count), first: latest.first
            )
        }
        let steps = run.archives?.members.map { name, archive in
            Source(
                name: name, kind: .step,
                series: HistorySeries(name: StepArchive.series(of: name), end: archive.end), first: 0)
        }
        return (checkpoints + (steps ?? [])).sorted { $0.series.name < $1.series.name }
    }

    private func collectHistory(_ store: any CheckpointStore, _ page: inout SortedPage) throws(LogError) {
        for source in sources {
            var next = try firstRecord(of: source, store)
            while next < source.series.end {
                let records = try records(of: source.series, from: next, store)
                for record in records {
                    let position = source.position(of: record)
                    // Those behind it come later still.
                    guard page.admits(position) else { break }
                    let event = try source.event(of: record)
                    page.add(position) { event }
                }
                guard let last = records.last, page.admits(source.position(of: last)) else { break }
                next = last.sequence + 1
            }
        }
    }

    /// The number of the first record behind `after`, or less: binary search, since a series is in the order of time.
    private func firstRecord(of source: Source, _ store: any CheckpointStore) throws(LogError) -> UInt64 {
        guard let after else { return source.first }
        var (low, high) = (source.first, source.series.end)
        while low < high {
            let middle = low + (high - low) / 2
            let record = try records(of: source.series, from: middle, store, limit: 1)[0]
            if source.position(of: record) <= after { low = record.sequence + 1 } else { high = middle }
        }
        return low
    }

    /// One record at least: those that the state counts must be there.
    private func records(
        of series: HistorySeries, from start: UInt64, _ store: any CheckpointStore, limit: Int = recordChunk
    ) throws(LogError) -> [CheckpointRecord] {
        let key = CheckpointKey(run: owner, name: series.name)
        let records = try store.history(
            of: key, from: start, limit: min(limit, Int(clamping: series.end - start)),
            bytesMax: Self.recordChunkBytes)
        // A step may have no result.
        guard let first = records.first, first.sequence == start || StepArchive.isSeries(series.name),
            first.sequence < series.end
        else { throw CheckpointJournal.missing(start, of: key, series.end) }
        return records.filter { $0.sequence < series.end }
    }

    private func value(
        at position: EventPosition, _ store: (any CheckpointStore)?
    ) throws(LogError) -> [UInt8]? {
        switch position.kind {
        case .step:
            if let step = run.steps[position.key] { return step.value }
            guard let store, let archive = run.archives?[position.key.name], archive.holds(position.key.occurrence)
            else { return nil }
            let series = HistorySeries(name: StepArchive.series(of: position.key.name), end: archive.end)
            let record = try records(of: series, from: position.key.occurrence, store, limit: 1)[0]
            return try Self.step(of: record, series).value
        case .sleep, .receipt, .awakeable: return nil
        case .message: return run.messages?.messages[position.key]?.content.value
        case .reply: return run.messages?.messages[position.key]?.reply?.content.value
        case .checkpoint:
            guard let store, let latest = run.checkpoints[position.key.name] else { return nil }
            let series = HistorySeries(name: position.key.name, end: latest.count)
            return try records(of: series, from: position.key.occurrence, store, limit: 1)[0].value
        }
    }

    fileprivate static func step(of record: CheckpointRecord, _ series: HistorySeries) throws(LogError) -> Run.Step {
        do throws(WireError) {
            return try record.step
        } catch {
            throw LogError(.damaged, "record \(record.sequence) of '\(series.name)' cannot be decoded (\(error))")
        }
    }
}

extension HistoryReader.Source {
    func position(of record: CheckpointRecord) -> EventPosition {
        EventPosition(time: record.recordedAt, kind: kind, key: StepKey(name.text, record.sequence))
    }

    func event(of record: CheckpointRecord) throws(LogError) -> WorkflowEvent {
        let key = StepKey(name.text, record.sequence)
        if kind == .step { return WorkflowEvent(key, try HistoryReader.step(of: record, series)) }
        return WorkflowEvent(
            name: name.text, occurrence: record.sequence, recordedAt: record.recordedAt, bytes: record.value.count,
            detail: .checkpoint)
    }
}

extension WorkflowEvent {
    fileprivate init(_ key: StepKey, _ step: Run.Step) {
        self.init(
            name: key.name.text, occurrence: key.occurrence, recordedAt: step.recordedAt, bytes: step.value.count,
            detail: .step(
                owner: step.owner, epoch: step.epoch, attempt: Int(step.effort.attempt),
                duration: .nanoseconds(step.effort.duration)))
    }
}

/// The first events behind a position, of any number that come in any order.
struct SortedPage {
    typealias Member = (position: EventPosition, event: WorkflowEvent)

    let after: EventPosition?
    let limit: Int
    private var members: [Member] = []
    /// Whatever is not before this has no place any more.
    private var bound: EventPosition?

    init(after: EventPosition?, limit: Int) {
        self.after = after
        self.limit = limit
    }

    func admits(_ position: EventPosition) -> Bool {
        after.map { $0 < position } ?? true && bound.map { position < $0 } ?? true
    }

    mutating func add(_ position: EventPosition, _ event: () -> WorkflowEvent) {
        guard admits(position) else { return }
        members.append((position, event()))
        if members.count >= 2 * limit { trim() }
    }

    /// In their order.
    mutating func finished() -> [Member] {
        trim()
        return members
    }

    private mutating func trim() {
        members.sort { $0.position < $1.position }
        guard members.count >= limit else { return }
        members.removeLast(members.count - limit)
        bound = members.last?.position
    }
}
