import FlotillaIO
public import FlotillaRaft

/// A log that lasts as long as this object: for nodes that were given no path. A node that restarts with it is a new
/// one. It checks what it is given as the one on disk does. Any thread.
public final class MemoryLogStore: LogStore {
    private struct State {
        var isOpen = false
        var isClosed = false
        var identity: NodeIdentity?
        var table = LogTable(keeping: .entries)
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
            for write in batch.writes { state.table.checkAndApply(write, place: .init(segment: 1, offset: 0)) }
        }
    }

    public func read(
        _ group: GroupID, incarnation: UInt64, from first: LogIndex, bytesMax: Int
    ) throws(LogError) -> [Entry] {
        try whileOpen { state in
            guard let replica = state.table.replicas[LogKey(group: group, incarnation: incarnation)],
                first > replica.base.index, first <= replica.last
            else { return [] }
            var bytes = 0
            let rest = replica.entries[(replica.base.index.distance(to: first) - 1)...]
            let page = rest.prefix { entry in
                defer { bytes += entry.payload.count + LogTable.entryOverheadBytes }
                return entry.index == first || bytes + entry.payload.count + LogTable.entryOverheadBytes <= bytesMax
            }
            return Array(page)
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
