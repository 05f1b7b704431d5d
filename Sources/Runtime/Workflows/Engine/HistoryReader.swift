import FlotillaActors

/// Puts a page of a run's history together from the state and the store of checkpoints. It looks at every step of the
/// run, but holds no more than two pages, and reads no more checkpoints than it must.
struct HistoryReader: Sendable {
    /// A copy that shares its pieces with the state.
    let run: Run
    let owner: CheckpointRun
    let after: EventPosition?
    let limit: Int

    /// A page with values ends behind so many bytes of them.
    private static let valueBytesMax = 4 << 20
    /// Checkpoints that are read at a time.
    private static let checkpointChunk = 64
    private static let checkpointChunkBytes = 1 << 20

    /// Blocks.
    /// - Parameter store: nil where the run has no checkpoints.
    /// - Returns: the events, and the position of the last one if others follow it.
    func page(
        _ store: (any CheckpointStore)?, withValues: Bool
    ) throws(LogError) -> (events: [WorkflowEvent], next: EventPosition?) {
        var page = SortedPage(after: after, limit: limit + 1)
        collectSteps(&page)
        collectMessages(&page)
        if let store { try collectCheckpoints(store, &page) }
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
            page.add(EventPosition(time: step.recordedAt, kind: .step, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: step.recordedAt,
                    bytes: step.value.count,
                    detail: .step(
                        owner: step.owner, epoch: step.epoch, attempt: Int(step.effort.attempt),
                        duration: .nanoseconds(step.effort.duration)))
            }
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

    private func collectCheckpoints(_ store: any CheckpointStore, _ page: inout SortedPage) throws(LogError) {
        for (name, latest) in run.checkpoints.sorted() {
            let key = CheckpointKey(run: owner, name: name)
            var next = try firstCheckpoint(of: key, latest, store)
            while next < latest.count {
                let records = try records(of: key, from: next, count: latest.count, store)
                for record in records {
                    let position = Self.position(of: record, name)
                    // Those behind it come later still.
                    guard page.admits(position) else { break }
                    page.add(position) {
                        WorkflowEvent(
                            name: name.text, occurrence: record.sequence, recordedAt: record.recordedAt,
                            bytes: record.value.count, detail: .checkpoint)
                    }
                }
                guard let last = records.last, page.admits(Self.position(of: last, name)) else { break }
                next = last.sequence + 1
            }
        }
    }

    private static func position(of record: CheckpointRecord, _ name: ByteText) -> EventPosition {
        EventPosition(time: record.recordedAt, kind: .checkpoint, key: StepKey(name.text, record.sequence))
    }

    /// The number of the first record behind `after`: binary search, since a key's records are in the order of time.
    private func firstCheckpoint(
        of key: CheckpointKey, _ latest: Run.Checkpoint, _ store: any CheckpointStore
    ) throws(LogError) -> UInt64 {
        guard let after else { return latest.first }
        var (low, high) = (latest.first, latest.count)
        while low < high {
            let middle = low + (high - low) / 2
            let record = try records(of: key, from: middle, count: latest.count, store, limit: 1)[0]
            if Self.position(of: record, key.name) <= after { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// One record at least: those that the state counts must be there.
    private func records(
        of key: CheckpointKey, from start: UInt64, count: UInt64, _ store: any CheckpointStore,
        limit: Int = checkpointChunk
    ) throws(LogError) -> [CheckpointRecord] {
        let records = try store.history(
            of: key, from: start, limit: min(limit, Int(clamping: count - start)),
            bytesMax: Self.checkpointChunkBytes)
        guard records.first?.sequence == start else { throw CheckpointJournal.missing(start, of: key, count) }
        return records
    }

    private func value(
        at position: EventPosition, _ store: (any CheckpointStore)?
    ) throws(LogError) -> [UInt8]? {
        switch position.kind {
        case .step: return run.steps[position.key]?.value
        case .sleep, .receipt, .awakeable: return nil
        case .message: return run.messages?.messages[position.key]?.content.value
        case .reply: return run.messages?.messages[position.key]?.reply?.content.value
        case .checkpoint:
            guard let store, let latest = run.checkpoints[position.key.name] else { return nil }
            let key = CheckpointKey(run: owner, name: position.key.name)
            return try records(of: key, from: position.key.occurrence, count: latest.count, store, limit: 1)[0].value
        }
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
