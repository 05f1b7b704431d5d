import FlotillaActors

/// What the workflow engine takes, and what it does at the limit.
public struct WorkflowLimits: Hashable, Sendable {
    /// A step's result, a checkpoint or an output above this is refused with `resultTooLarge`. Bytes of JSON, at most
    /// `payloadBytesMax`.
    public var resultBytesMax = 4 << 20
    /// An input above this is refused with `inputTooLarge`. Bytes of JSON, at most `payloadBytesMax`.
    public var inputBytesMax = 4 << 20
    /// A step that has not ended this long after its run was stopped here is named in the log.
    public var stepGracePeriod: Duration = .seconds(10)

    /// A run whose body has only waited for so long, and will for so long, leaves memory: its body is stopped as by a
    /// takeover, and replayed when there is something to go on with. A millisecond longer for each thing that it has
    /// recorded. Nil keeps all runs in memory.
    ///
    /// What a branch of the body does outside of steps, while another one waits, is begun anew then.
    public var restsAfter: Duration? = .seconds(10)

    /// So many bodies may be in memory on this node, of one cluster, while more are replayed that came from another node: the
    /// rest of those follow as others end, or only wait, which they do for a moment then and not for `restsAfter`. Where none
    /// of them does, a hundred follow each second. A body takes some 20 KiB.
    public var replayedBodiesMax = 10_000

    /// So many results of steps of one name a run holds in memory, the latest, and up to a quarter more. Those before them
    /// are on the disk, beside the history of checkpoints, so that a run which takes the same steps again and again needs
    /// no more memory with each. A body that is replayed reads them back. At least 1.
    public var stepsInMemory = 256

    /// How often a step's progress is recorded at most; see `StepContext.heartbeat(_:)`.
    public var progressInterval: Duration = .seconds(1)

    /// Runs that one command removes. With ten ticks a second a leader removes ten times as many, which keeps up with
    /// whatever a group can run, and holds up its loop for about a millisecond each.
    var prunePortion = 1_000

    /// The limits that nodes have by default.
    public init() {}

    /// What `resultBytesMax` and `inputBytesMax` may be at most: a command of 8 MiB holds it. What is larger belongs into
    /// a store of its own, with its address as the result.
    public static let payloadBytesMax = Command.sizeLimit - (64 << 10)
    /// Names of workflows, steps and checkpoints above this, and empty ones, are refused with `invalidName`.
    public static let nameBytesMax = 256
    /// Workflow ids above this, and empty ones, are refused with `invalidName`.
    public static let workflowIDBytesMax = 512
    /// A reason for what is done to a run is refused above this, with `invalidInput`.
    public static let reasonBytesMax = 4 << 10
    /// A failure's message is cut here.
    public static let failureMessageBytesMax = 64 << 10
    /// A signal, an update, its answer, or what completes an awakeable is refused above this. Bytes of JSON.
    public static let messageBytesMax = 1 << 20
    /// How far a step is, is refused above this. Bytes of JSON.
    public static let progressBytesMax = 64 << 10
    /// So many messages may wait for a run; what comes above is refused with `mailboxFull` until it has received some.
    public static let waitingMessagesMax = 10_000
    /// So many bytes of messages may wait for a run; above that as well.
    public static let waitingMessageBytesMax = 16 << 20
    /// A page of a list is cut here.
    public static let listLimitMax = 1_000
    /// How many runs one look at the state examines for a list; a longer search takes several looks, so that it
    /// does not hold up the loop.
    static let listExamineMax = 500
    /// How many changed assignments wait for the supervisor; above, it reads all of this node's from the state.
    static let assignmentInboxMax = 4_096
    /// A wait for something from outside that lasts longer is recorded, for `WorkflowDescription.waits`.
    static let waitAnnouncedAfter: Duration = .seconds(1)
    /// So much of what a run has told others may be on its way; what comes above is refused with `outboxFull`.
    public static let postsMax = 10_000
    /// So many bytes of that; above that as well.
    public static let postBytesMax = 16 << 20
    /// Children of a run that have not ended, or whose end its body has not asked for; above that as well.
    public static let childrenMax = 10_000
    /// Attributes of a run; more are refused with `invalidAttribute`, as are longer names and values than the next two.
    public static let attributesMax = 32
    /// In bytes, the longest name of an attribute.
    public static let attributeNameBytesMax = 64
    /// In bytes, the longest value of an attribute.
    public static let attributeValueBytesMax = 256
    /// A sleep looks at the wall clock at least this often, in case it was set forward.
    package var wallClockCheckInterval: Duration = .seconds(600)
}

extension WorkflowLimits {
    /// - Throws: `WorkflowError` with `invalidName` for an id that nobody may start a workflow with.
    static func checkID(_ id: String) throws {
        guard !id.isEmpty, id.utf8.count <= workflowIDBytesMax else {
            throw WorkflowError(
                .invalidName, "a workflow id has 1 to \(workflowIDBytesMax) bytes, this one \(id.utf8.count)")
        }
        guard !ExecutionID.isFormer(id) else {
            throw WorkflowError(
                .invalidName, "'\(id)' ends in '~' and a number, as the ids of former executions do; choose another id")
        }
    }
}
