import FlotillaIO
public import FlotillaRaft

/// A log that lasts as long as this object: for nodes that were given no path. A node that restarts with it is a new
/// one. It checks what it is given as the one on disk does. Any thread.
public final class MemoryLogStore: LogStore {
    private struct State {
        var isOpen = false
        var isClosed = false
        var identity: NodeIdentity?
        var table = LogTable(keepingEntries: true)
        var snapshots: [SnapshotName: [UInt8]] = [:]
    }

    private let state = Lock(State())

    public init() {}

    /// What the store holds: as the one on disk would return it from its next `open()`.
    var contents: RecoveredLog {
        state.withLock { state in
            RecoveredLog(
                identity: state.identity,
                groups: state.table.recoveredGroups, removedReplicas: state.table.removed)
        }
    }

    public func open() throws(LogError) -> RecoveredLog {
        try locked { state throws(LogError) in
            guard !state.isOpen, !state.isClosed else {
                throw LogError(.closed, "the log was opened before")
            }
            state.isOpen = true
            return RecoveredLog()
        }
    }

    public func persistIdentity(_ identity: NodeIdentity) throws(LogError) {
        try whileOpen { state in
            precondition(
                state.identity.map { $0.canBecome(identity) } ?? true,
                "the log belongs to \(state.identity!); it cannot become \(identity)")
            state.identity = identity
        }
    }

    public func write(_ batch: LogBatch) throws(LogError) {
        guard !batch.isEmpty else { return }
        try whileOpen { state in
            precondition(
                state.identity != nil, "the log has no identity yet; persist one before writing")
            let saved = Set(state.snapshots.keys)
            for write in batch.writes {
                state.table.checkAndApply(write, segment: 1, savedSnapshots: saved)
                guard write.isRemoved || write.snapshot != nil else { continue }
                state.snapshots = state.snapshots.filter { !$0.key.isObsolete(after: write) }
            }
        }
    }

    public func saveSnapshot(
        _ bytes: [UInt8], of group: GroupID, incarnation: UInt64, at index: LogIndex, term: Term
    ) throws(LogError) {
        let name = SnapshotName(group: group, incarnation: incarnation, index: index, term: term)
        try whileOpen { state in state.snapshots[name] = bytes }
    }

    public func loadSnapshot(
        of group: GroupID, incarnation: UInt64, at index: LogIndex, term: Term
    ) throws(LogError) -> [UInt8] {
        let name = SnapshotName(group: group, incarnation: incarnation, index: index, term: term)
        return try whileOpen { state throws(LogError) in
            guard let bytes = state.snapshots[name] else {
                throw LogError(
                    .missing,
                    "\(name.fileName) does not exist: no such snapshot was saved, or a newer one replaced it"
                )
            }
            return bytes
        }
    }

    public func close() throws(LogError) {
        state.withLock { state in
            state.isOpen = false
            state.isClosed = true
        }
    }

    private func whileOpen<R>(_ body: (inout State) throws(LogError) -> R) throws(LogError) -> R {
        try locked { state throws(LogError) in
            guard state.isOpen else { throw LogError(.closed, "the log is not open") }
            return try body(&state)
        }
    }

    private func locked<R>(_ body: (inout State) throws(LogError) -> R) throws(LogError) -> R {
        let result: Result<R, LogError> = state.withLock { state in
            do throws(LogError) { return .success(try body(&state)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
