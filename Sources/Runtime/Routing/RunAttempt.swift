import FlotillaActors
import FlotillaRaft

/// What came of asking one group about a run.
enum RunAttempt<Reply: Sendable>: Sendable {
    case value(Reply)
    /// The group has the last word, and this is it.
    case failed(any Error)
    /// The run is in another group, or on its way there, and may be neither here nor there for a moment.
    case elsewhere(GroupID, isMoving: Bool)
    /// The group knows nothing of the run, and would not have to.
    case unknown(String)
    /// The group does not take it, for a reason that another one may not have.
    case refused(WorkflowRefusal, String)
    /// Nobody answered who could.
    case notHere(String)
    /// Nobody answered in time, and it may have been done.
    case unknownOutcome(String)
}

/// What a group knows of where a run is.
enum RunLocation: Sendable {
    case here
    case elsewhere(GroupID)
    /// On its way there.
    case moving(GroupID)
    /// - isHome: if there were such a run, this group would know.
    case unknown(isHome: Bool)
}

extension RunRequest {
    /// Asks the group's replica on this node.
    /// - Parameter wasHere: whether the run was found here, and what the request names of it was not.
    func attempt(on engine: WorkflowEngine, wasHere: Bool = false) async throws -> RunAttempt<Reply> {
        do {
            return .value(try await perform(on: engine))
        } catch let error as WorkflowError where error.code == .notFound && subject != nil {
            switch try await engine.location(of: subject ?? "") {
            // It came, or came back, in between; where it did not, asking again would have no end.
            case .here where Self.namesPart:
                return wasHere ? .failed(error) : try await attempt(on: engine, wasHere: true)
            case .here: return .notHere(error.message)
            case .elsewhere(let group): return .elsewhere(group, isMoving: false)
            case .moving(let group): return .elsewhere(group, isMoving: true)
            case .unknown(let isHome): return isHome ? .failed(error) : .unknown(error.message)
            }
        } catch let error as WorkflowError where error.code == .stopped {
            return .notHere(error.message)
        } catch let refused as Refused {
            guard refused.code == .moved, let subject else { return .refused(refused.code, refused.message) }
            switch try await engine.location(of: subject) {
            case .elsewhere(let group): return .elsewhere(group, isMoving: false)
            case .moving(let group): return .elsewhere(group, isMoving: true)
            case .here, .unknown: return .refused(refused.code, refused.message)
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            return .failed(error)
        }
    }
}
