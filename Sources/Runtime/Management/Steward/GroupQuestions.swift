import FlotillaActors
import FlotillaRaft

/// What a steward asks of another group's state. The answer leaves nothing out that was committed there before the
/// question, and stands in nobody's log.
protocol GroupQuestion: Codable, Sendable {
    associatedtype Reply: Codable & Sendable
    /// What it is called on the wire, for ever.
    static var name: String { get }
    /// On the group's loop. Must be short.
    func answer(_ state: WorkflowState) -> Reply
}

/// What the group knows of slots, one answer for each.
struct SlotsQuestion: GroupQuestion {
    static let name = "askOfSlots"
    var slots: [Int]

    func answer(_ state: WorkflowState) -> [SlotKnowledge] { slots.map { SlotKnowledge(state.transfers.slots[$0]) } }
}

/// Whether the group has taken a run that was to move there.
struct RunQuestion: GroupQuestion {
    static let name = "askOfRun"
    var workflowID: String
    var runID: RunID

    enum Reply: String, Codable, Sendable {
        /// The run is here, or has ended here.
        case taken
        /// The id belongs to another run here.
        case conflict
        /// It was never here, or has left.
        case unknown
    }

    func answer(_ state: WorkflowState) -> Reply {
        let key = RunKey(defaultNamespace, workflowID)
        let known = state.runs[key]?.runID ?? state.transfers.frozenRun(key)?.runID
        if known == runID || state.transfers.releases[runID] != nil { return .taken }
        let other = known ?? state.transfers.addresses[key]?.runID
        return other == nil || other == runID ? .unknown : .conflict
    }
}

/// A question as it travels to a member of the group.
struct AskGroup<Question: GroupQuestion>: NodeLevelRequest {
    typealias Reply = Question.Reply
    static var name: String { Question.name }
    var group: GroupID
    /// An earlier one does not know what this one did.
    var incarnation: UInt64
    var question: Question

    func perform(on services: NodeServices) async throws -> Reply { try await perform(on: services.core) }

    func perform(on core: NodeCore) async throws -> Reply {
        guard let hosted = core.hosted[group], hosted.identity.incarnation == incarnation else {
            throw WorkflowError(.unavailable, "\(core.node) has no replica of \(group), incarnation \(incarnation)")
        }
        try await hosted.barrier()
        let question = question
        let answer = try await hosted.withState { ($0 as? WorkflowStateMachine).map { question.answer($0.state) } }
        guard let answer else { throw WorkflowError(.unexpectedAnswer, "\(group) runs no workflows") }
        return answer
    }
}
