import FlotillaRaft

/// Which runs of a group changed at which entries, so that its leader can report what happened since it was heard last
/// without looking at all runs. Every replica keeps it, and none has it in its state.
struct RunActivity: Sendable {
    /// Changes that are kept; whoever needs older ones looks at all runs.
    static let limit = 4_096

    private var changes: [(index: LogIndex, key: RunKey)] = []
    /// Runs that have moved to other groups, when that was certain.
    private var moves: [(index: LogIndex, run: RunID, group: GroupID)] = []
    /// What happened up to here is not known any more; nil if nothing before the first change is.
    private var floor: LogIndex?

    /// - Parameter isWhole: the group begins here; else with a state whose making was not seen.
    init(isWhole: Bool) { floor = isWhole ? .zero : nil }

    mutating func note(_ key: RunKey, at index: LogIndex) {
        floor = floor ?? LogIndex(index.rawValue - 1)
        changes.append((index, key))
        guard changes.count >= 2 * Self.limit else { return }
        forget(through: changes[Self.limit - 1].index)
    }

    mutating func noteMove(of run: RunID, to group: GroupID, at index: LogIndex) {
        moves.append((index, run, group))
        if moves.count >= 2 * Self.limit { moves.removeFirst(Self.limit) }
    }

    /// Where a run has gone, of those that left not long ago.
    func target(of run: RunID) -> GroupID? { moves.last { $0.run == run }?.group }

    /// Forgets what nobody asks for any more.
    mutating func forget(through index: LogIndex) {
        if let first = moves.first, first.index <= index { moves.removeAll { $0.index <= index } }
        guard let first = changes.first, first.index <= index else { return }
        changes.removeAll { $0.index <= index }
        if changes.isEmpty { changes = [] }
        floor = index
    }

    /// What changed behind `index`, each once; nil if that is not known any more.
    func changed(after index: LogIndex) -> Set<RunKey>? {
        guard let floor, index >= floor else { return nil }
        return Set(changes.lazy.filter { $0.index > index }.map(\.key))
    }
}

extension WorkflowStateMachine {
    /// What management has not heard yet of the runs here, by what it says of the cluster; nil where it knows all.
    /// - Parameter appliedIndex: up to where the state goes.
    func report(to cluster: ExecutionCluster, appliedIndex: LogIndex) -> WorkflowReport? {
        let heard = cluster.reportedThrough
        let sealEpoch = state.transfers.sealEpoch ?? 0
        activity.forget(through: heard)
        guard appliedIndex > heard else { return nil }
        guard let changed = activity.changed(after: heard) else {
            return WorkflowReport(
                cluster: cluster.id, incarnation: cluster.incarnation, after: .zero, through: appliedIndex,
                isWhole: true, started: locatedRuns,
                sealEpoch: sealEpoch)
        }
        var report = WorkflowReport(
            cluster: cluster.id, incarnation: cluster.incarnation, after: heard, through: appliedIndex,
            sealEpoch: sealEpoch)
        for key in changed.sorted() {
            let known = cluster.runs[key]
            let here = state.runs[key].flatMap { $0.status.isFinished ? nil : LocatedRun($0) }
            if let here {
                if here != known { report.started.append(.init(key: key, run: here)) }
            } else if let known {
                // Not yet where it is on its way: it may come back.
                guard state.transfers.frozenRun(key)?.runID != known.runID else { continue }
                report.ended.append(.init(key: key, runID: known.runID, movedTo: activity.target(of: known.runID)))
            } else {
                report.endedWithin += 1
            }
        }
        let isSealHeard = if case .sealed = cluster.phase { true } else { sealEpoch == 0 }
        let isNews = report.count > 0 || report.endedWithin > 0 || !isSealHeard
        return isNews ? report : nil
    }

    private var locatedRuns: [WorkflowReport.Started] {
        state.startOrder.elements.compactMap { _, key in
            guard let run = state.runs[key], !run.status.isFinished else { return nil }
            return WorkflowReport.Started(key: key, run: LocatedRun(run))
        }
    }
}

extension LocatedRun {
    init(_ run: Run) { self.init(runID: run.runID, type: run.type, startedAt: run.startedAt, epoch: run.epoch) }
}
