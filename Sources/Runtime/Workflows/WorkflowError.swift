/// Why a workflow or a request about one went wrong.
public struct WorkflowError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong, for programs.
    public enum Code: String, Sendable {
        // In a run: the body may catch these; otherwise the run fails with them.
        /// Two running steps, or sleeps, have one name.
        case duplicateStep
        /// A result, a checkpoint or an output is larger than the limit.
        case resultTooLarge
        /// A name of a workflow, a step or the like is empty, too long, or begins with "$".
        case invalidName
        /// A value cannot be written as JSON.
        case unencodable
        /// An input is not of the type that the workflow takes.
        case undecodableInput
        /// What was recorded is not of the type that is asked for. A run whose steps are recorded as something else than its
        /// code asks for does not fail: it is paused, with the difference as the reason.
        case undecodableResult
        /// A payload was written by a codec, or encrypted with a key, that this node does not have. A run that meets one
        /// does not fail: it stops on this node, until the node is started again with the key.
        case unknownPayloadKey
        /// What was recorded of a payload does not open with its key. As above.
        case damagedPayload
        /// A stored payload is not where the node's `PayloadStore` looks for it, or is not what was stored, or the node has no
        /// such store.
        case payloadUnavailable
        /// The context was used after its run had ended.
        case contextEnded
        /// A step failed in all the attempts that its policy allows; `failure` is the last one's. Recorded.
        case stepFailed
        /// An attempt at a step took longer than its policy allows.
        case stepTimedOut
        /// The run is to end. Thrown once, by the next step or sleep; what a body does then is still recorded.
        case cancelled

        /// An attribute's name or value is not allowed, or there are too many.
        case invalidAttribute
        /// The run has told others too much that has not arrived, or has too many children.
        case outboxFull

        /// A step that was to undo something failed for good; `failure` is why there was something to undo.
        case compensationFailed
        /// Whoever was asked said no: the body to an update, an outside system to an awakeable.
        case rejected

        // From requests.
        /// An input is larger than the limit.
        case inputTooLarge
        /// The input is not JSON.
        case invalidInput
        /// The id belongs to a run of another type, version or input.
        case conflict
        /// No node ever registered this type and version.
        case unknownWorkflow
        /// There is no such run, or what was named of it.
        case notFound
        /// The run's status does not allow it, such as to remove a run that has not ended.
        case wrongState
        /// Too many messages wait for the run, or too large ones; send again once it has received some.
        case mailboxFull
        /// A message of a sender whose message before has not come.
        case messageOutOfOrder
        /// The workflow's code has no answer to a query of that name.
        case unknownQuery
        /// The object has no method of that name.
        case unknownMethod
        /// The awakeable was completed before, with something else.
        case alreadyCompleted
        /// What says where a page begins did not come from a page before.
        case invalidPage
        /// The disk of the node that was asked is full; nothing was done, and another node may do it.
        case diskFull
        /// The run failed; `failure` says why.
        case failed
        /// The run was ended from outside; the message says why.
        case terminated
        /// The time to wait is over; the run goes on.
        case timedOut
        /// Too many requests wait already; try again later. See `AdmissionLimits`.
        case overloaded
        /// As many runs as `AdmissionLimits` allows have not ended; nothing was begun, and the same start may be sent again.
        case tooManyWorkflows
        /// The group did not answer; whether it did what was asked is unknown. Asking again with the same id is safe.
        case unavailable
        /// This node stops.
        case stopped
        /// Two registered workflows have one name and version.
        case duplicateWorkflow
        /// The group's answer is not one that this version knows.
        case unexpectedAnswer
    }
    /// For programs.
    public var code: Code
    /// For people: what was wrong, and what to do.
    public var message: String
    /// What the run's body threw, with `failed`; what the step's body threw, with `stepFailed`.
    public var failure: WorkflowFailure?

    /// An error with words for people.
    public init(_ code: Code, _ message: String, failure: WorkflowFailure? = nil) {
        self.code = code
        self.message = message
        self.failure = failure
    }

    public var description: String { "\(code.rawValue): \(message)" }

    /// When the same request may be sent again, of errors that pass by themselves.
    public var retryAfter: Duration? {
        switch code {
        case .tooManyWorkflows: .seconds(5)
        case .overloaded, .mailboxFull, .diskFull, .unavailable, .stopped, .timedOut: .seconds(1)
        default: nil
        }
    }
}

extension WorkflowFailure {
    /// What is recorded of an error: its type's name and its description, cut at
    /// `WorkflowLimits.failureMessageBytesMax`.
    init(_ error: any Error) {
        if let error = error as? WorkflowError {
            self.init(
                type: "WorkflowError.\(error.code.rawValue)",
                message: error.message.cut(WorkflowLimits.failureMessageBytesMax))
        } else {
            self.init(type: "\(Swift.type(of: error))", message: "\(error)".cut(WorkflowLimits.failureMessageBytesMax))
        }
    }
}

extension String {
    /// The text, or its beginning if it has more bytes.
    func cut(_ limit: Int) -> String {
        guard utf8.count > limit else { return self }
        return String(decoding: Array(utf8.prefix(limit)), as: UTF8.self) + " [cut]"
    }
}
