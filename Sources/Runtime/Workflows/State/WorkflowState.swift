import FlotillaRaft

/// What a workflow group replicates: its runs, and the nodes that can run them.
///
/// Every member below "Computed" follows from the others and is rebuilt on restore.
struct WorkflowState: Sendable {
    private(set) var runs: RunMap
    var executors = ExecutorTable()
    /// Every type that was ever registered: a start of another one is a mistake, not a run to park.
    var knownTypes: Set<WorkflowType> = []
    /// How many runs were ever started: the last one's sequence number.
    var startCount: UInt64 = 0
    /// Runs on their way to other groups and from there, addresses of runs that are elsewhere, and the seal.
    var transfers = Transfers()

    // MARK: Computed

    /// All runs by their sequence numbers: in the order of their starts.
    private(set) var startOrder = OrderedMap<UInt64, RunKey>()
    /// The runs that have ended, the first first.
    private(set) var finished = OrderedMap<FinishPosition, RunKey>()
    /// The sequence numbers of each node's running runs.
    private(set) var owned: [NodeID: Set<UInt64>] = [:]
    private(set) var parked: Set<UInt64> = []
    /// Runs that have something to tell others.
    private(set) var debtors = OrderedMap<UInt64, RunKey>()
    private(set) var counts: [WorkflowStatus: Int] = [:]
    /// Of runs that have not ended, by type.
    private(set) var unfinishedCounts: [WorkflowType: [WorkflowStatus: Int]] = [:]

    /// Runs that have not ended and are not in `runs`; of an excerpt alone.
    private var unfinishedBesides = 0
    private var unfinishedTypesBesides: [WorkflowType: Int] = [:]

    /// What happened since the observer was told last. Not part of the state.
    var changes = WorkflowChanges()

    /// - Parameter runBuckets: by default enough that the first write after a snapshot copies a thousandth of the
    ///   runs.
    init(runBuckets: Int = 1024) { runs = RunMap(minimumBuckets: runBuckets) }

    /// A node that runs workflows, alive or lost.
    struct Executor: Hashable, Sendable {
        /// Rises with each start of its process.
        var boot: UInt64
        /// Counts the node's registrations, so that a loss that was noticed late does not hit a later one.
        var registration: UInt64
        var isAlive: Bool
        var capabilities: Set<WorkflowType>
    }
}

/// Where a run that has ended stands in the order of the ends.
struct FinishPosition: Hashable, Comparable, Sendable {
    var finishedAt: Int64
    var sequence: UInt64

    static func < (a: FinishPosition, b: FinishPosition) -> Bool {
        (a.finishedAt, a.sequence) < (b.finishedAt, b.sequence)
    }
}

extension FinishPosition {
    /// Nil unless the run has ended, and owes others nothing.
    init?(_ run: Run) {
        guard let finishedAt = run.finishedAt, !run.owes else { return nil }
        self.init(finishedAt: finishedAt, sequence: run.sequence)
    }
}

/// What commands changed, for those who wait for it.
struct WorkflowChanges: Sendable {
    /// Runs that got an owner, lost one, ended, or were removed.
    var runs: [RunKey] = []
    /// Runs that were told something, or answered.
    var told: [RunKey] = []
    var executors = false
    /// The state was replaced.
    var everything = false
    /// Of `runs`, those that have left for another group.
    var moved: [RunKey] = []
    /// Runs that another group has taken.
    var departures: [(run: RunID, group: GroupID)] = []
    /// The group has something to tell other groups, or less than before.
    var deliveries = false
    /// A run has something to tell others.
    var posts = false
    /// What the history of checkpoints is to hold besides, in order.
    var checkpoints: [CheckpointChange] = []

    /// Whether nobody waits for any of it.
    var isEmpty: Bool { runs.isEmpty && told.isEmpty && !executors && !everything }
}

// MARK: Runs

extension WorkflowState {
    /// How many runs have not ended.
    var unfinishedCount: Int {
        [WorkflowStatus.running, .parked, .paused].reduce(unfinishedBesides) { $0 + (counts[$1] ?? 0) }
    }

    /// How many runs have not ended, by type.
    var unfinishedByType: [WorkflowType: Int] {
        unfinishedCounts.mapValues { $0.values.reduce(0, +) }.merging(unfinishedTypesBesides) { $0 + $1 }
    }

    /// Adds a new run, parked; `assign` finds its owner.
    mutating func addRun(_ start: WorkflowOperation.StartRun, key: RunKey, time: Int64) {
        startCount += 1
        // All runs of a type share its name.
        let type = knownTypes.firstIndex(of: start.type).map { knownTypes[$0] } ?? start.type
        var run = Run(
            sequence: startCount, runID: start.runID, type: type,
            contentType: start.contentType, input: start.input, startedAt: time, status: .parked)
        if case .reserved = start.placement { run.isListed = true }
        run.attributes = start.attributes
        run.trace = start.trace
        if let parent = start.parent { run.withTies { $0.parent = parent } }
        restore(run, for: key)
        assign(run.sequence)
    }

    /// Adds a run as it is.
    mutating func restore(_ run: Run, for key: RunKey) {
        runs.insert(run, for: key)
        startOrder.insert(key, for: run.sequence)
        count(run, key)
        if run.owes { noteDebt(key) }
    }

    /// What a run has to tell others has changed.
    mutating func noteDebt(_ key: RunKey) {
        guard let run = runs[key] else { return }
        guard run.owes else {
            debtors.remove(run.sequence)
            return
        }
        if debtors[run.sequence] == nil { debtors.insert(key, for: run.sequence) }
        changes.posts = true
    }

    /// Enters a run where its status wants it.
    private mutating func count(_ run: Run, _ key: RunKey) {
        counts[run.status, default: 0] += 1
        if !run.status.isFinished { unfinishedCounts[run.type, default: [:]][run.status, default: 0] += 1 }
        switch run.status {
        case .running: if let owner = run.owner { owned[owner, default: []].insert(run.sequence) }
        case .parked: parked.insert(run.sequence)
        case .paused: break
        case .completed, .failed, .terminated, .cancelled, .continued:
            if let position = FinishPosition(run) { finished.insert(key, for: position) }
        }
    }

    /// Takes a run out of where its status has it.
    private mutating func discount(_ run: Run) {
        counts[run.status, default: 0] -= 1
        if !run.status.isFinished { unfinishedCounts[run.type]?[run.status]? -= 1 }
        if let owner = run.owner { owned[owner]?.remove(run.sequence) }
        parked.remove(run.sequence)
        if let position = FinishPosition(run) { finished.remove(position) }
    }

    /// Changes a run's status, and what belongs to it.
    mutating func transition(_ key: RunKey, _ change: (inout Run) -> Void) {
        guard let run = runs[key] else { preconditionFailure("run \(key) is gone") }
        discount(run)
        let changed = update(key) { run in
            change(&run)
            return run
        }
        guard let changed else { preconditionFailure("run \(key) is gone") }
        count(changed, key)
        changes.runs.append(key)
    }

    /// Changes a run in its place: a copy held meanwhile would make the change copy all its steps. Status, owner and
    /// end change only by `transition`.
    /// - Returns: nil if there is no such run.
    mutating func update<Result, Failure: Error>(
        _ key: RunKey, _ body: (inout Run) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        try runs.update(key, body)
    }

    /// A small state in which commands on some runs come out as they would in this one: all that they are checked
    /// against is there.
    func excerpt(_ keys: Set<RunKey>) -> WorkflowState {
        var excerpt = WorkflowState(runBuckets: 1)
        excerpt.executors = executors
        excerpt.knownTypes = knownTypes
        excerpt.startCount = startCount
        excerpt.transfers = transfers
        for key in keys {
            if let run = runs[key] { excerpt.restore(run, for: key) }
        }
        excerpt.unfinishedBesides = unfinishedCount - excerpt.unfinishedCount
        excerpt.unfinishedTypesBesides = unfinishedByType.merging(excerpt.unfinishedByType) { $0 - $1 }
        return excerpt
    }

    mutating func finish(_ key: RunKey, with result: RunResult, time: Int64) {
        transition(key) { run in
            run.finishedAt = time
            switch result {
            case .success(let output):
                run.status = .completed
                run.output = output
            case .failure(let failure):
                run.status = .failed
                run.failure = failure
            case .cancelled: run.status = .cancelled
            }
        }
        closeTies(key, time: time)
    }

    /// Behind the end of a run: those who are tied to it are to hear of it.
    mutating func closeTies(_ key: RunKey, time: Int64) {
        guard let run = runs[key], run.ties != nil else { return }
        let ties = closingTies(run, at: time, isLast: true)
        transition(key) { $0.ties = ties }
        noteDebt(key)
    }

    /// Removes a run that has ended, and the history of its checkpoints.
    /// - Returns: how many things it had recorded.
    @discardableResult
    mutating func remove(_ key: RunKey, group: GroupID) -> Int {
        guard let run = runs.remove(key), run.status.isFinished, !run.owes else {
            preconditionFailure("run \(key) is not there, or has not ended")
        }
        startOrder.remove(run.sequence)
        discount(run)
        if run.hasHistory {
            changes.checkpoints.append(.remove(run.checkpointRun(key, in: group)))
        }
        changes.runs.append(key)
        leaveRelease(run, key)
        // Nothing may be left but to seal the group.
        if runs.count == 0 { changes.deliveries = true }
        return Int(clamping: run.stepCount) + run.attempts.count + run.timers.count + run.checkpoints.count
            + (run.messages?.recordCount ?? 0)
    }

    /// Takes a run out as it is, to put it elsewhere.
    mutating func takeOut(_ key: RunKey) -> Run {
        guard let run = runs.remove(key) else { preconditionFailure("run \(key) is not there") }
        debtors.remove(run.sequence)
        startOrder.remove(run.sequence)
        discount(run)
        changes.runs.append(key)
        return run
    }

    /// All runs that the group answers for, also those that are frozen on their way: the history of their checkpoints
    /// is kept here.
    var recordedRuns: [(key: RunKey, run: Run)] {
        startOrder.elements.compactMap { _, key in runs[key].map { (key, $0) } }
            + transfers.outgoing.sorted { $0.key < $1.key }.map { ($0.value.key, $0.value.run) }
    }

    // MARK: Assignment

    /// Gives a run to the live node that has its type and owns the fewest runs, the lowest id among equals; parks it
    /// if there is none. Every replica does this when it applies the command, so all choose the same.
    mutating func assign(_ sequence: UInt64) {
        guard let key = startOrder[sequence], let run = runs[key] else {
            preconditionFailure("run \(sequence) is gone")
        }
        let candidates = executors.filter {
            $0.value.isAlive && $0.value.capabilities.contains(run.type)
        }.map(\.key)
        let chosen = candidates.min { a, b in
            (owned[a]?.count ?? 0, a) < (owned[b]?.count ?? 0, b)
        }
        transition(key) { run in
            run.status = chosen == nil ? .parked : .running
            run.owner = chosen
            if chosen != nil { run.epoch += 1 }
        }
    }

    /// Takes all running runs from a node and finds new owners, the oldest run first.
    mutating func reassignRuns(of node: NodeID) {
        for sequence in (owned[node] ?? []).sorted() { release(sequence, from: node) }
    }

    /// Finds owners for the parked runs that have one now, the oldest first.
    mutating func assignParked(having types: Set<WorkflowType>) {
        for sequence in parked.sorted() {
            guard let key = startOrder[sequence], let run = runs[key], types.contains(run.type) else { continue }
            assign(sequence)
        }
    }

    private mutating func release(_ sequence: UInt64, from node: NodeID) {
        owned[node]?.remove(sequence)
        assign(sequence)
    }
}
