import FlotillaActors
import FlotillaRaft

/// Names an execution cluster for its whole life: a UUIDv7, chosen by whoever asks for the cluster, so that a request
/// that is repeated is recognised and ids sort by the time of their making.
struct ClusterID: Hashable, Comparable, Sendable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// As `RunID`: from milliseconds since 1970 and 74 random bits.
    init(milliseconds: Int64, random: (UInt64, UInt64)) {
        let uuid = RunID(milliseconds: milliseconds, random: random)
        self.init(high: uuid.high, low: uuid.low)
    }

    /// As operators write it.
    var text: String { uuidText(high: high, low: low) }
    var description: String { "cluster \(text)" }
    static func < (a: ClusterID, b: ClusterID) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

/// A Raft group that runs workflows, as management wants it: on which nodes, and what is known to run there.
///
/// The group's own log is the truth about its members and its runs; this is what is desired of it, and hearsay.
struct ExecutionCluster: Sendable {
    enum MemberRole: UInt32, Sendable {
        case voter = 1
        /// Receives the log and does not count, as every new member does until it has caught up.
        case learner = 2
    }

    struct Member: Hashable, Sendable {
        var role: MemberRole
        /// It belongs to the first configuration, with which its replica may begin by itself. Lost for ever when it
        /// leaves: a founder that began again after it had been replaced could elect a leader among others like it,
        /// by a configuration that has long been left.
        var isFounder: Bool
    }

    enum Phase: Hashable, Sendable {
        /// Can transition to: draining.
        case active
        /// Takes no new runs; those that it has go to `into` or end. Can transition to: active, sealed.
        case draining(into: ClusterID?)
        /// Its own log says that it is empty and stays so. Can transition to: destroyed.
        case sealed(epoch: UInt64)
    }

    let id: ClusterID
    /// Where its messages go and its log stands. Issued when the cluster is created, never twice.
    var group: GroupID
    /// Rises when the cluster is founded anew.
    var incarnation: UInt64
    /// Whose replica the present incarnation began with; nil for the first.
    var survivor: NodeID?
    /// The voters of the first configuration, in the order of their replica ids.
    let founders: [NodeID]
    /// Workflows of this type alone run here, and nowhere else; nil for all that are not pinned.
    let pinnedType: ByteText?
    /// Group time, in nanoseconds since 1970; the same on all replicas.
    var createdAt: Int64

    var members: [NodeID: Member] = [:]
    var phase = Phase.active
    /// Rises with each decision to drain: the seal that a destruction requires names it.
    var drainEpoch: UInt64 = 0
    /// Every node is a member, and every run of the fleet is here: it reports none.
    var spansFleet = false
    /// What runs here, by workflow id.
    var runs = BucketedMap<RunKey, LocatedRun>()
    /// How many of them are of each type.
    var activeWorkflows: [ByteText: Int] = [:]
    /// Up to where in the cluster's log its reports have been heard.
    var reportedThrough = LogIndex.zero
    /// Since when nothing runs here; nil while something does.
    var idleSince: Int64?
    /// How many runs are still to move to which cluster, on the rebalancer's order.
    var outgoing: [ClusterID: Int] = [:]

    init(_ creation: ClusterCreation, group: GroupID, createdAt: Int64) {
        id = creation.cluster
        self.group = group
        incarnation = creation.incarnation
        founders = creation.founders
        pinnedType = creation.pinnedType
        self.createdAt = createdAt
    }

    /// The change that every founder begins its log with.
    var foundingChange: ConfigurationChange { ConfigurationChange(founders.map { .addVoter($0) }) }
    /// Whom its group should consist of. The common cluster has at most five voters, of all of its nodes.
    var desiredMembers: DesiredMembers {
        DesiredMembers(
            Array(members.keys), eligible: voters,
            votersMax: spansFleet ? DesiredMembers.defaultVotersMax : max(1, voters.count))
    }
    var activeCount: Int { runs.count }
    var outgoingCount: Int { outgoing.values.reduce(0, +) }
    var isActive: Bool { phase == .active }
    var voters: [NodeID] { members.filter { $0.value.role == .voter }.keys.sorted() }
    var learners: [NodeID] { members.filter { $0.value.role == .learner }.keys.sorted() }
}

extension ExecutionCluster {
    /// Adds a run that was not here.
    mutating func insert(_ run: LocatedRun, for key: RunKey) {
        var run = run
        // The cluster's runs share the text of their types' names.
        if let position = activeWorkflows.index(forKey: ByteText(run.type.name)) {
            run.type = WorkflowType(activeWorkflows[position].key.text, version: run.type.version)
            activeWorkflows.values[position] += 1
        } else {
            activeWorkflows[ByteText(run.type.name)] = 1
        }
        runs.insert(run, for: key)
    }

    mutating func remove(_ key: RunKey) {
        guard let run = runs.remove(key) else { return }
        let type = ByteText(run.type.name)
        let left = (activeWorkflows[type] ?? 0) - 1
        activeWorkflows[type] = left > 0 ? left : nil
        trimOutgoing()
    }

    /// No more runs are ordered to move than there are.
    private mutating func trimOutgoing() {
        var surplus = outgoingCount - activeCount
        for id in outgoing.keys.sorted(by: >) where surplus > 0 {
            let ordered = outgoing[id] ?? 0
            let taken = min(surplus, ordered)
            outgoing[id] = ordered == taken ? nil : ordered - taken
            surplus -= taken
        }
    }
}

/// A run that management was told of.
struct LocatedRun: Hashable, Sendable {
    var runID: RunID
    var type: WorkflowType
    var startedAt: Int64
    /// The run's owner epoch when it was reported. A run that moves to another cluster has a higher one there.
    var epoch: UInt64

    /// Whether this is what became of `other` later, where two clusters report one workflow id.
    func supersedes(_ other: LocatedRun) -> Bool {
        if runID == other.runID { return epoch > other.epoch }
        return (startedAt, runID.high, runID.low) > (other.startedAt, other.runID.high, other.runID.low)
    }
}
