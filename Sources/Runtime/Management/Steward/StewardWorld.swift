import FlotillaActors
import FlotillaRaft

/// What those who look after groups on their leaders need of everything around them.
protocol StewardWorld: Sendable {
    /// What this node knows of the fleet.
    var view: ManagementState { get }
    /// Runs `body` where the group's state is, if this node leads the group. Must be short.
    /// - Returns: nil where it does not lead.
    func leading<Result: Sendable>(
        _ group: GroupID, _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result?
    /// Proposes to a group, on any of its members.
    /// - Throws: anything where nobody answered; it may have been done. `CancellationError`.
    func propose(_ operations: [WorkflowOperation], to group: GroupID) async throws -> WorkflowAnswer
    /// Waits before something is tried again.
    /// - Parameter attempt: how often it has failed, from 1.
    func pause(attempt: Int) async throws
    func log(_ message: String, group: GroupID, isError: Bool)
}

/// What a cluster's steward needs beside that.
protocol QuestionWorld: StewardWorld {
    /// As `view`, not older than the call.
    func freshView() async throws -> ManagementState
    /// Looks at a group's state, on any of its members, behind all that was committed there before the call.
    /// - Throws: anything where nobody answered; `CancellationError`.
    func ask<Question: GroupQuestion>(_ question: Question, of group: GroupID) async throws -> Question.Reply
}

extension StewardWorld {
    /// Proposes one operation of a transfer.
    func propose(_ operation: TransferOperation, to group: GroupID) async throws -> WorkflowAnswer {
        try await propose([.transfer(operation)], to: group)
    }

    /// The same where a refusal means that it has to be tried again.
    /// - Throws: also `Refused`.
    func apply(_ operation: TransferOperation, to group: GroupID) async throws -> OperationResult {
        try await apply([.transfer(operation)], to: group)[0]
    }

    func apply(_ operations: [WorkflowOperation], to group: GroupID) async throws -> [OperationResult] {
        switch try await propose(operations, to: group) {
        case .applied(let results) where results.count == operations.count: return results
        case .refused(let code?, let message): throw Refused(code, message)
        case .refused(nil, let message): throw WorkflowError(.unexpectedAnswer, message)
        case .applied: throw WorkflowError(.unexpectedAnswer, "\(group) answered for other operations")
        }
    }
}

extension ExecutionCluster {
    /// It is to give something away, or to go.
    var hasOrders: Bool { !isActive || !outgoing.isEmpty }
}

extension ManagementState {
    /// The group was there, and is no more: its log said that it was empty, or it was given up by force.
    func wasDestroyed(_ group: GroupID) -> Bool {
        hasIssued(group) && cluster(of: group) == nil
    }
}
