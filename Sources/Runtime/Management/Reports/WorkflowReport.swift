import FlotillaRaft

/// What a cluster's leader tells management of the runs that began and ended there: hearsay for everybody else, and
/// never what decides.
///
/// A report follows from a stretch of the cluster's log and names it, so that one that is repeated, late or from a
/// former leader changes nothing, and one that was lost is noticed.
struct WorkflowReport: Hashable, Sendable {
    struct Started: Hashable, Sendable {
        var key: RunKey
        var run: LocatedRun
    }

    struct Ended: Hashable, Sendable {
        var key: RunKey
        var runID: RunID
        /// The group that it has moved to; nil where it ended.
        var movedTo: GroupID?
    }

    var cluster: ClusterID
    /// Management must have heard of everything up to here, and of nothing behind.
    var after: LogIndex
    var through: LogIndex
    /// `started` is all that runs at `through`, whatever was told before.
    var isWhole = false
    var started: [Started] = []
    var ended: [Ended] = []
    /// How many runs began and ended in between, and are not named.
    var endedWithin: UInt64 = 0
    /// The epoch of the seal in the cluster's log, from the moment that it is there; zero before.
    var sealEpoch: UInt64 = 0

    var count: Int { started.count + ended.count }
}

/// Reports of any number of clusters on their way to the management group: collected for a moment, so that management
/// commits a few entries a second whatever the number of runs.
struct WorkflowReportBatch: Sendable {
    /// So many named runs are not held back any longer.
    static let countLimit = 1_000
    /// In nanoseconds. Together with a commit it keeps what a list shows younger than a second.
    static let delay: Int64 = 500_000_000

    private var reports: [ClusterID: WorkflowReport] = [:]
    private var openedAt: Int64?
    private(set) var count = 0

    var isEmpty: Bool { reports.isEmpty }

    /// When to take what is here, in the time that is given to `add`; nil if nothing is.
    var dueAt: Int64? { openedAt.map { count >= Self.countLimit ? $0 : $0 + Self.delay } }

    /// Adds what a cluster says. What does not follow on what is here replaces it: it comes from a new leader.
    mutating func add(_ report: WorkflowReport, at now: Int64) {
        openedAt = openedAt ?? now
        let previous = reports[report.cluster]
        count -= previous?.count ?? 0
        var next = report
        if let previous, !report.isWhole, report.after == previous.through { next = previous.followed(by: report) }
        reports[report.cluster] = next
        count += next.count
    }

    /// Empties the batch: what is to be proposed together, by cluster. A command names no more than `countLimit` runs,
    /// unless one report does.
    mutating func take() -> [[WorkflowReport]] {
        defer { self = WorkflowReportBatch() }
        var commands: [[WorkflowReport]] = []
        var named = 0
        for report in reports.values.sorted(by: { $0.cluster < $1.cluster }) {
            // One that names nothing still takes room.
            let size = max(1, report.count)
            if commands.isEmpty || named + size > Self.countLimit {
                commands.append([])
                named = 0
            }
            commands[commands.count - 1].append(report)
            named += size
        }
        return commands
    }
}

extension WorkflowReport {
    /// Both as one. A run that began in the first and ended in the second is only counted.
    fileprivate func followed(by next: WorkflowReport) -> WorkflowReport {
        var both = self
        both.through = next.through
        both.endedWithin += next.endedWithin
        both.sealEpoch = max(sealEpoch, next.sealEpoch)
        for ended in next.ended {
            if let begun = both.started.firstIndex(where: { $0.key == ended.key && $0.run.runID == ended.runID }) {
                both.started.remove(at: begun)
                both.endedWithin += 1
            } else {
                both.ended.append(ended)
            }
        }
        both.started += next.started
        return both
    }
}
