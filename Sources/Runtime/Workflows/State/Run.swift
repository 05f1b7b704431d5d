import FlotillaIO
import FlotillaRaft

/// Where a run stands.
public enum WorkflowStatus: UInt8, Codable, Sendable, CaseIterable, CustomStringConvertible {
    /// A live node owns it. Can transition to: all others.
    case running = 1
    /// No live node has its type and version. Can transition to: running, paused, terminated.
    case parked = 2
    /// Its body has returned.
    case completed = 3
    /// Its body threw. Can transition to: running, parked, when it is tried again.
    case failed = 4
    /// It was ended from outside, wherever its body was.
    case terminated = 5
    /// It was asked to end, and its body did.
    case cancelled = 6
    /// It waits to be resumed. Can transition to: running, parked, terminated.
    case paused = 7
    /// A former execution: its run goes on as a new one.
    case continued = 8

    public var description: String {
        switch self {
        case .running: "running"
        case .parked: "parked"
        case .completed: "completed"
        case .failed: "failed"
        case .terminated: "terminated"
        case .cancelled: "cancelled"
        case .paused: "paused"
        case .continued: "continued"
        }
    }

    /// - Returns: nil unless `name` is one of the descriptions.
    public init?(name: String) {
        guard let status = Self.allCases.first(where: { $0.description == name }) else {
            return nil
        }
        self = status
    }

    /// Whether it has ended; a failed run goes on when it is tried again.
    public var isFinished: Bool {
        switch self {
        case .running, .parked, .paused: false
        case .completed, .failed, .terminated, .cancelled, .continued: true
        }
    }
}

/// Why a run failed: what its body threw.
public struct WorkflowFailure: Hashable, Codable, Sendable, CustomStringConvertible {
    /// The error's type, such as `PaymentDeclined` or `WorkflowError.duplicateStep`.
    public var type: String
    /// For people: what the error said, cut at `WorkflowLimits.failureMessageBytesMax`.
    public var message: String

    /// A failure as it stands in a record.
    public init(type: String, message: String) {
        self.type = type
        self.message = message
    }

    public var description: String { "\(type): \(message)" }
}

/// What it took its owner to compute a step's value. Measured by the owner, on its own clock.
struct StepEffort: Hashable, Sendable {
    /// Counts the attempts of this owner, from 1.
    var attempt: UInt32 = 1
    /// Of the last attempt, in nanoseconds.
    var duration: Int64 = 0
}

/// A workflow's execution as every replica knows it. Times are the group's, in nanoseconds since 1970.
struct Run: Sendable {
    /// How a step ended; it is never computed again.
    struct Step: Hashable, Sendable {
        var value: [UInt8]
        /// Under which epoch it was recorded.
        var epoch: UInt64
        var recordedAt: Int64
        /// Who recorded it.
        var owner: NodeID
        var effort = StepEffort()
    }

    struct Timer: Hashable, Sendable {
        var deadline: Int64
        var startedAt: Int64
        /// Nil until it has fired.
        var firedAt: Int64?

        var hasFired: Bool { firedAt != nil }
    }

    /// The last of a key's values. Those before it are in the checkpoint store.
    struct Checkpoint: Hashable, Sendable {
        /// How many values the key has had; the last one's sequence number is one less.
        var count: UInt64
        var value: [UInt8]
        var recordedAt: Int64
        /// The first value that the store has; those before it did not come along when the run moved.
        var first: UInt64 = 0
    }

    /// What somebody outside wants of the run.
    struct Request: Hashable, Sendable {
        /// Empty where nobody said why.
        var reason: String
        var requestedAt: Int64
    }

    /// Counts the starts of the group; lists go by it.
    var sequence: UInt64
    let runID: RunID
    let type: WorkflowType
    let contentType: String
    /// Canonical, so that equal inputs are equal bytes.
    let input: [UInt8]
    let startedAt: Int64

    var status: WorkflowStatus
    /// The owner of a running run; kept when it ends.
    var owner: NodeID?
    /// The fencing token. It rises with every assignment.
    var epoch: UInt64 = 0
    var steps = BucketedMap<StepKey, Step>()
    /// Steps that are in the history and not here, by name; nil where there are none.
    @Sparse var archives: BucketedMap<ByteText, StepArchive>?
    /// Of steps that failed, or wait for another attempt.
    var attempts = BucketedMap<StepKey, StepAttempts>()
    /// Of steps that have no result; few at a time.
    var progress: [StepKey: StepProgress] = [:]
    var timers = BucketedMap<StepKey, Timer>()
    var checkpoints = BucketedMap<ByteText, Checkpoint>()
    /// Nil while it was told nothing, and waits for nothing from outside.
    @Sparse var messages: RunMessages?
    var attributes = RunAttributes()
    /// What it was asked for in.
    @Sparse var trace: TraceContext?
    /// Of a fork.
    @Sparse var fork: ForkRun.Origin?
    /// Nil while it has nothing to do with others.
    @Sparse var ties: RunTies?
    /// Counts the executions of the run, from 1; see `WorkflowState.continueRun`.
    var execution: UInt64 = 1
    /// Of a run that was continued: what its first execution was started with.
    @Sparse var origin: SHA256Digest?
    /// Under which id the history of its checkpoints is kept; nil for `runID`.
    var checkpointID: RunID?
    var finishedAt: Int64?
    var output: [UInt8]?
    @Sparse var failure: WorkflowFailure?
    /// The body is to end; it hears of it at the next step or sleep.
    @Sparse var cancellation: Request?
    /// What terminated a terminated run, or paused a paused one.
    @Sparse var intervention: Request?
    /// The home of the workflow id, if it is another group, may know where the run is: it hears of the run's removal.
    var isListed = false

    /// The same text; the usual one takes no memory.
    static func shared(contentType: String) -> String {
        let usual = "application/json"
        return contentType == usual ? usual : contentType
    }

    /// What an operator is told of a run that nobody can run.
    var parkedReason: String? {
        status == .parked ? "no live node has \(type); start a node that registers it" : nil
    }
}
