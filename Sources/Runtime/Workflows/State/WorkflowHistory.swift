public import FlotillaRaft

/// What a run recorded, with its beginning and its end: all of it, or a page.
public struct WorkflowHistory: Hashable, Codable, Sendable {
    /// Type and version, start and end, status.
    public var info: WorkflowInfo
    /// The size of the input as it is recorded.
    public var inputBytes: Int
    /// Canonical JSON; nil where values were not asked for.
    @Base64 public var input: [UInt8]? = nil
    /// Nil unless it completed.
    public var outputBytes: Int?
    /// JSON; nil where values were not asked for, and unless it completed.
    @Base64 public var output: [UInt8]? = nil
    /// Nil unless it failed.
    public var failure: WorkflowFailure?
    /// In the order of the group's time.
    public var events: [WorkflowEvent]
    /// Where to go on, as `after` of the next page; nil at the end.
    public var next: String?
}

/// Something that a run recorded. Times are the group's, in nanoseconds since 1970.
public struct WorkflowEvent: Hashable, Codable, Sendable {
    /// What was recorded, by kind.
    public enum Detail: Hashable, Codable, Sendable {
        /// `owner` recorded it, under the fencing token `epoch`, at its `attempt`, which took `duration`.
        case step(owner: NodeID, epoch: UInt64, attempt: Int, duration: Duration)
        /// All attempts failed, which is recorded as its end.
        case failedStep(owner: NodeID, epoch: UInt64, attempt: Int, duration: Duration, failure: WorkflowFailure)
        /// `firedAt` is nil while it lasts.
        case sleep(deadline: Int64, firedAt: Int64?)
        /// The body recorded a value under a key.
        case checkpoint
        /// It was told something, by `sender`; what an awakeable was rejected with.
        case message(WorkflowMessageKind, sender: String, failure: WorkflowFailure?)
        /// The body received the message with that number; nil where the time to wait for one was over.
        case receipt(WorkflowMessageKind, message: UInt64?)
        /// The body answered an update.
        case reply(failure: WorkflowFailure?)
        /// It made an awakeable.
        case awakeable
    }

    /// A step's or a sleep's name, a checkpoint's key. Of messages kind and name, such as "signal/approval".
    public var name: String
    /// Counts the uses of a name, from 0, of each kind apart. A reply has its message's.
    public var occurrence: UInt64
    /// A sleep's is when it began.
    public var recordedAt: Int64
    /// The size of the value as it is recorded.
    public var bytes: Int
    /// JSON; nil where values were not asked for, and of a sleep.
    @Base64 public var value: [UInt8]? = nil
    /// What it is, and what belongs to that.
    public var detail: Detail

    /// "step", "sleep", "checkpoint", "message", "receipt", "reply" or "awakeable".
    public var kind: String {
        switch detail {
        case .step, .failedStep: "step"
        case .sleep: "sleep"
        case .checkpoint: "checkpoint"
        case .message: "message"
        case .receipt: "receipt"
        case .reply: "reply"
        case .awakeable: "awakeable"
        }
    }
}

extension WorkflowHistory {
    init(_ run: Run, key: RunKey, withValues: Bool, events: [WorkflowEvent], next: String?) {
        info = WorkflowInfo(run, key: key)
        inputBytes = run.input.count
        input = withValues ? run.input : nil
        outputBytes = run.output?.count
        output = withValues ? run.output : nil
        failure = run.failure
        self.events = events
        self.next = next
    }
}

/// An event's place in the order of a run's history.
struct EventPosition: Hashable, Comparable, Sendable {
    enum Kind: Int, Comparable {
        case step = 0
        case sleep, checkpoint, message, receipt, reply, awakeable
        static func < (a: Kind, b: Kind) -> Bool { a.rawValue < b.rawValue }
    }

    var time: Int64
    var kind: Kind
    var key: StepKey

    static func < (a: EventPosition, b: EventPosition) -> Bool { (a.time, a.kind, a.key) < (b.time, b.kind, b.key) }
}

extension EventPosition {
    /// How a page names it.
    var token: String { "\(time).\(kind.rawValue).\(key.occurrence).\(key.name)" }

    /// - Returns: nil unless the text is such a name.
    init?(token: String) {
        let parts = token.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, let time = Int64(parts[0]), let kind = Int(parts[1]).flatMap(Kind.init(rawValue:)),
            let occurrence = UInt64(parts[2]), !parts[3].isEmpty
        else { return nil }
        self.init(time: time, kind: kind, key: StepKey(String(parts[3]), occurrence))
    }
}
