import FlotillaRaft

/// Which runs a list shows, or a count counts: those for which all that is said here holds.
public struct WorkflowFilter: Hashable, Codable, Sendable {
    /// Only runs that stand so; nil for all.
    public var status: WorkflowStatus?
    /// Only runs of workflows of this name; nil for all.
    public var type: String?
    /// The values that attributes must have.
    public var attributes: [String: String] = [:]
    /// Started at this moment or later, in nanoseconds since 1970.
    public var startedFrom: Int64?
    /// Started before this moment, in nanoseconds since 1970.
    public var startedBefore: Int64?

    /// All runs, but for what is named.
    public init(status: WorkflowStatus? = nil, type: String? = nil, attributes: [String: String] = [:]) {
        self.status = status
        self.type = type
        self.attributes = attributes
    }

    func includes(_ run: Run) -> Bool {
        (status.map { $0 == run.status } ?? true) && (type.map { $0 == run.type.name } ?? true)
            && (startedFrom.map { $0 <= run.startedAt } ?? true) && (startedBefore.map { $0 > run.startedAt } ?? true)
            && attributes.allSatisfy { run.attributes[ByteText($0.key)] == ByteText($0.value) }
    }
}

/// A part of a list, in the order of the starts.
public struct WorkflowPage: Hashable, Codable, Sendable {
    /// The runs of this part.
    public var runs: [WorkflowInfo]
    /// Where to go on, as `after` of the next page; nil at the end. It stays good whatever becomes of the runs.
    public var next: String?
    /// All that was acknowledged before this moment is taken into account, in nanoseconds since 1970: the earliest of
    /// what the clusters said, each by the clock of the node that answered.
    public var asOf: Int64 = 0
    /// The execution clusters that did not answer: what they have is missing here, and on later pages unless they answer
    /// by then.
    public var unavailable: [String] = []
    /// Whether something is missing.
    public var isPartial: Bool { !unavailable.isEmpty }
}

/// How many runs there are, by status. Each cluster's part is as of one moment.
public struct WorkflowCount: Hashable, Sendable {
    /// Runs by status; none of a status that is missing here.
    public var byStatus: [WorkflowStatus: Int] = [:]
    /// As `WorkflowPage.asOf`.
    public var asOf: Int64
    /// The execution clusters that did not answer: what they have is not counted.
    public var unavailable: [String] = []

    /// All of them.
    public var total: Int { byStatus.values.reduce(0, +) }
}

/// A group's runs as they were at one moment, to be looked through away from the loop.
struct RunCensus: Sendable {
    private let runs: RunMap

    init(_ state: WorkflowState) { runs = state.runs }

    /// Takes time in proportion to all runs.
    func count(_ filter: WorkflowFilter) -> [WorkflowStatus: Int] {
        var counts: [WorkflowStatus: Int] = [:]
        runs.visit { _, run in
            if filter.includes(run) { counts[run.status, default: 0] += 1 }
        }
        return counts
    }
}
