import FlotillaActors
import FlotillaIO

extension Problem {
    /// What an error of a node means to an HTTP client.
    init(describing error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case let error as WorkflowError: self.init(error)
        case let error as GroupError: self.init(error)
        case let error as NodeError: self.init(error)
        case let error as JSONError: self = .badRequest(error.message)
        case is CancellationError:
            self = .unavailable("this node stops; ask another one")
        default:
            self.init("internal", "The node failed", status: 500, "\(error)")
        }
    }

    private init(_ error: WorkflowError) {
        switch error.code {
        case .invalidName, .invalidInput, .invalidAttribute, .invalidPage, .unencodable, .undecodableInput:
            self = .badRequest(error.message)
        case .notFound: self = .notFound("\(error.message); GET /v1/workflows lists them")
        case .conflict: self = .conflict(error.message)
        case .wrongState, .messageOutOfOrder, .alreadyCompleted: self = .wrongState(error.message)
        case .unknownQuery, .unknownMethod: self = .notFound(error.message)
        case .rejected: self = .unprocessable(error.message)
        case .mailboxFull: self = .unavailable("\(error.message); send it again later")
        case .unknownWorkflow: self = .unprocessable(error.message)
        case .unknownPayloadKey, .damagedPayload:
            self.init("unreadable-payload", "A payload cannot be read here", status: 500, error.message)
        case .inputTooLarge, .resultTooLarge: self = .tooLarge(error.message)
        case .overloaded: self = .unavailable("too many requests wait already: \(error.message)")
        case .tooManyWorkflows: self = .tooMany(error.message)
        case .diskFull: self = .unavailable("this node's disk is full, ask another node: \(error.message)")
        case .timedOut, .unavailable:
            self = .unavailable(
                "\(error.message). Whether it was done is unknown; the same request with the same id may be sent "
                    + "again, to any node")
        case .stopped: self = .unavailable("\(error.message); ask another node")
        case .duplicateStep, .contextEnded, .outboxFull, .undecodableResult, .failed, .cancelled, .terminated,
            .stepFailed, .stepTimedOut, .compensationFailed, .duplicateWorkflow,
            .unexpectedAnswer, .payloadUnavailable:
            self.init("internal", "The node failed", status: 500, error.description)
        }
    }

    private init(_ error: GroupError) {
        switch error.code {
        case .tooLarge: self = .tooLarge(error.message)
        case .overloaded: self = .unavailable("too many requests wait already: \(error.message)")
        case .diskFull: self = .unavailable("this node's disk is full, ask another node: \(error.message)")
        case .timedOut:
            self = .unavailable(
                "no majority answered in time, so that nobody knows whether it was done: \(error.message). "
                    + "The same request may be sent again, to any node")
        case .stopped, .unknownGroup: self = .unavailable("\(error.message); ask another node")
        }
    }

    private init(_ error: NodeError) {
        switch error.code {
        case .unknownNode, .unknownGroup, .unknownCluster: self = .notFound(error.message)
        case .refused: self = .refused(error.message)
        case .invalidConfiguration, .joinRefused: self = .unprocessable(error.message)
        case .dataUnusable, .listenFailed, .alreadyRunning, .stopped:
            self = .unavailable("\(error.message); ask another node")
        }
    }
}
