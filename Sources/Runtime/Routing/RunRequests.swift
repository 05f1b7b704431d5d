import FlotillaActors
import FlotillaIO
import FlotillaRaft

// What nodes ask each other about runs. Each is a call of the engine; names and members stay for ever.

struct StartRunRequest: RunRequest {
    typealias Reply = StartedRun
    static let name = "start"
    var type: String
    /// Nil: the one that the run has, or the newest that a node of the group has.
    var version: UInt32?
    var id: String
    /// The run that it becomes unless there is one. So a start that is sent again finds its own run.
    var runID: RunID
    @Base64 var input: [UInt8]
    /// Of the type, where the group has heard of none.
    var newest: UInt32?
    var placement = Placement.alone
    /// Refused where so many runs have not ended; 0 for no limit.
    var admitBelow: UInt64 = 0
    var attributes: [String: String] = [:]
    var parent: RunTies.Parent?
    var trace: TraceContext?

    /// How it is known that no other run has the id; see `WorkflowOperation.StartRun.Placement`.
    enum Placement: Codable, Hashable, Sendable {
        case alone
        case atHome
        case reserved(epoch: UInt64)
        case generated

        var operation: WorkflowOperation.StartRun.Placement {
            switch self {
            case .alone: .alone
            case .atHome: .atHome
            case .reserved(let epoch): .reserved(epoch: epoch)
            case .generated: .generated
            }
        }
    }

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> StartedRun { try await engine.start(self) }
}

/// Takes an id at its home for a run that is to begin in another group.
struct ReserveRun: RunRequest {
    static let name = "reserve"
    var id: String
    var runID: RunID
    var group: GroupID
    var replacing: Replaced?

    struct Replaced: Codable, Sendable {
        var runID: RunID
        var group: GroupID
        var isLost: Bool

        init(_ replaced: TransferOperation.Reservation.Replaced) {
            (runID, group, isLost) = (replaced.runID, replaced.group, replaced.isLost)
        }
    }

    struct Reply: Codable, Sendable {
        /// Whose the id is: the run that was asked for, or another one that was there before.
        var runID: RunID
        var group: GroupID
        var slotEpoch: UInt64
    }

    // It is asked of the id's home alone, which answers for itself.
    var subject: String? { nil }
    func perform(on engine: WorkflowEngine) async throws -> Reply { try await engine.reserve(self) }
}

struct DescribeRun: RunRequest {
    typealias Reply = WorkflowDescription
    static let name = "describe"
    var id: String

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> WorkflowDescription { try await engine.describe(id) }
}

/// Which group has a run.
struct LocateRun: RunRequest {
    static let name = "locate"
    var id: String

    struct Reply: Codable, Sendable {
        var group: GroupID
    }

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        _ = try await engine.recordedRun(RunKey(defaultNamespace, id))
        return Reply(group: engine.environment.group)
    }
}

struct ReadCheckpoints: RunRequest {
    typealias Reply = CheckpointPage
    static let name = "checkpoints"
    var id: String
    var key: String
    var start: UInt64
    var limit: Int

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> CheckpointPage {
        try await engine.checkpoints(key, of: id, from: start, limit: limit)
    }
}

struct ReadHistory: RunRequest {
    typealias Reply = WorkflowHistory
    static let name = "history"
    var id: String
    var after: String?
    var limit: Int
    var withValues: Bool

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> WorkflowHistory {
        try await engine.history(of: id, after: after, limit: limit, withValues: withValues)
    }
}

struct AwaitRun: RunRequest {
    typealias Reply = WorkflowOutcome?
    static let name = "await"
    var id: String
    var timeout: Duration

    var subject: String? { id }
    var patience: Duration { timeout + .seconds(10) }
    /// Nil when the time is over.
    func perform(on engine: WorkflowEngine) async throws -> WorkflowOutcome? {
        try await engine.outcome(of: id, timeout: timeout)
    }
}

struct ControlRun: RunRequest {
    typealias Reply = WorkflowInfo
    static let name = "control"
    static let isRepeatable = false
    var id: String
    var action: WorkflowAction
    var reason: String

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> WorkflowInfo {
        try await engine.control(id, action, reason: reason)
    }
}

struct PruneRun: RunRequest {
    typealias Reply = Nothing
    static let name = "prune"
    static let isRepeatable = false
    var id: String

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> Nothing {
        try await engine.prune(id)
        return Nothing()
    }
}

struct PruneFinishedRuns: RunRequest {
    static let name = "pruneFinished"
    /// What one request removes at most.
    static let portion = 10_000
    var retention: WorkflowRetention
    var limit: Int

    struct Reply: Codable, Sendable {
        var count: Int
        var hasMore: Bool
    }

    var subject: String? { nil }
    var patience: Duration { .seconds(60) }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        let (count, hasMore) = try await engine.pruneFinished(keeping: retention, limit: limit)
        return Reply(count: count, hasMore: hasMore)
    }
}

struct ListRuns: RunRequest {
    static let name = "list"
    var filter: WorkflowFilter
    var after: UInt64
    var limit: Int

    struct Reply: Codable, Sendable {
        var runs: [ListedRun]
        /// Nil at the end.
        var next: UInt64?
        var asOf: Int64
    }

    var subject: String? { nil }
    var patience: Duration { .seconds(3) }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        let asOf = engine.environment.loop.wallNow.nanoseconds
        let (runs, next) = try await engine.list(filter, after: after, limit: limit)
        return Reply(runs: runs, next: next, asOf: asOf)
    }
}

struct CountRuns: RunRequest {
    static let name = "count"
    var filter: WorkflowFilter

    struct Reply: Codable, Sendable {
        /// By the names of the statuses.
        var counts: [String: Int]
        var asOf: Int64
    }

    var subject: String? { nil }
    var patience: Duration { .seconds(3) }
    func perform(on engine: WorkflowEngine) async throws -> Reply {
        let count = try await engine.count(filter)
        let named = count.byStatus.map { ($0.key.description, $0.value) }
        return Reply(counts: Dictionary(uniqueKeysWithValues: named), asOf: count.asOf)
    }
}

/// A reply without content.
struct Nothing: Codable, Sendable {}
