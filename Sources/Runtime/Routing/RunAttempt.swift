import FlotillaActors
import FlotillaRaft

/// What came of asking one group about a run.
enum RunAttempt<Reply: Sendable>: Sendable {
    case value(Reply)
    /// The group has the last word, and this is it.
    case failed(any Error)
    /// The run is in another group, or on its way there.
    case elsewhere(GroupID)
    /// Nobody answered who could, or the group knows nothing of the run and is not its id's home.
    case notHere(String)
    /// Nobody answered in time, and it may have been done.
    case unknownOutcome(String)
}

/// What a group knows of where a run is.
enum RunLocation: Sendable {
    case here
    case elsewhere(GroupID)
    /// - isHome: if there were such a run, this group would know.
    case unknown(isHome: Bool)
}

extension RunRequest {
    /// Asks the group's replica on this node.
    func attempt(on engine: WorkflowEngine) async throws -> RunAttempt<Reply> {
        do {
            return .value(try await perform(on: engine))
        } catch let error as WorkflowError where error.code == .notFound {
            guard let workflowID = subject else { return .failed(error) }
            switch try await engine.location(of: workflowID) {
            // It came, or came back, in between.
            case .here: return .notHere(error.message)
            case .elsewhere(let group): return .elsewhere(group)
            case .unknown(let isHome): return isHome ? .failed(error) : .notHere(error.message)
            }
        } catch let error as WorkflowError where error.code == .stopped {
            return .notHere(error.message)
        } catch let refused as Refused {
            guard let workflowID = subject, case .elsewhere(let group) = try await engine.location(of: workflowID)
            else {
                return .notHere(refused.message)
            }
            return .elsewhere(group)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            return .failed(error)
        }
    }
}
