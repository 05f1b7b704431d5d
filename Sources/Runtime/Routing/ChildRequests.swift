import FlotillaActors
import FlotillaRaft

// What groups tell each other of parents and children. Each may be sent again.

struct ReportChildEnd: RunRequest {
    typealias Reply = Nothing
    static let name = "childEnd"
    var parent: RunTies.Parent
    var child: RunID
    /// A `WorkflowOutcome` in JSON.
    @Base64 var outcome: [UInt8]

    var subject: String? { parent.workflowID }
    func perform(on engine: WorkflowEngine) async throws -> Nothing {
        try await engine.reportEnd(to: parent, of: child, outcome)
        return Nothing()
    }
}

struct CloseChild: RunRequest {
    typealias Reply = Nothing
    static let name = "closeChild"
    var id: String
    var parent: RunID
    var policy: ParentClosePolicy

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> Nothing {
        try await engine.closeChild(id, of: parent, policy)
        return Nothing()
    }
}
