/// Why a command was refused; the number stands in `Answer.code`, so a case keeps its number for ever.
public enum WorkflowRefusal: UInt32, Sendable {
    /// The proposer does not own the run in this epoch any more.
    case staleOwner = 1
    /// The id is taken by a run of another type, version or input.
    case conflict = 2
    /// No node ever registered this type and version.
    case unknownWorkflow = 3
    /// The timer's time has not come.
    case notYet = 4
    /// There is no run of that id.
    case noSuchRun = 5
    /// The run has ended.
    case runEnded = 6
    /// The run has no such timer.
    case noSuchTimer = 7
    /// A later life of the same node has registered.
    case staleExecutor = 8
    /// A checkpoint whose predecessor is not recorded.
    case checkpointOutOfOrder = 9
    /// The run's status does not allow it.
    case wrongState = 10
    /// The group takes nothing any more; another one does.
    case sealed = 32
    /// The run is in another group, or on its way there.
    case moved = 33
    /// A group that holds something is not sealed.
    case notEmpty = 34
    /// A transfer whose predecessor has not come.
    case transferOutOfOrder = 35
    /// Another group decides about the workflow id, or this one does not yet. Nothing is said about a run.
    case notHome = 36
    /// The run is not here and will never begin here. Where the home of its id has only reserved the id for it, the id
    /// can be reserved for another run instead.
    case notReserved = 37
    /// As many runs as were allowed have not ended.
    case full = 38
    /// A message whose predecessor from the same sender has not come.
    case messageOutOfOrder = 64
    /// Too many messages wait for the run, or too large ones.
    case mailboxFull = 65
    /// An answer to a message that the run has not received.
    case noSuchMessage = 66
    /// No awakeable has this token.
    case wrongToken = 67
    /// The awakeable was completed with something else.
    case alreadyCompleted = 68
    /// A run would have too many attributes.
    case invalidAttribute = 70
    /// A run has told others too much that has not arrived, or has too many children.
    case outboxFull = 71
    /// As many runs as the start's limits allow have not ended. Nothing is said about a later one.
    case overLimit = 80
    /// A fork from a step that the run has not recorded.
    case noSuchStep = 85
    /// A fork that lacks steps of its source, which has gone on since they were read.
    case outdatedFork = 86
}

/// A refusal with its words. A refused command changed nothing.
struct Refused: Error, Hashable {
    var code: WorkflowRefusal
    var message: String
    init(_ code: WorkflowRefusal, _ message: String) {
        self.code = code
        self.message = message
    }
}

extension Refused {
    /// The owner is still the owner: the body did what cannot be done now, or ever.
    var concernsBody: Bool {
        switch code {
        case .notYet, .invalidAttribute, .unknownWorkflow, .outboxFull: true
        case .staleOwner, .conflict, .noSuchRun, .runEnded, .noSuchTimer, .staleExecutor,
            .checkpointOutOfOrder, .wrongState, .sealed, .moved, .notEmpty, .transferOutOfOrder, .notHome, .notReserved,
            .full, .messageOutOfOrder, .mailboxFull, .noSuchMessage, .wrongToken, .alreadyCompleted, .overLimit,
            .noSuchStep, .outdatedFork:
            false
        }
    }
}
