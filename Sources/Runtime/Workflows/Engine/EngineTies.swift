import FlotillaActors
import FlotillaRaft

// What other groups tell this one about parents and children.

extension WorkflowEngine {
    func reportEnd(to parent: RunTies.Parent, of child: RunID, _ outcome: [UInt8]) async throws {
        try await proposing(.reportEnd(parent, child: child, outcome))
    }

    func closeChild(_ id: String, of parent: RunID, _ policy: ParentClosePolicy) async throws {
        try await proposing(.closeChild(workflowID: id, parent: parent, policy))
    }

    private func proposing(_ operation: TieOperation) async throws {
        try await namingErrors { [environment] in
            _ = try environment.result(
                of: try await environment.client.propose([WorkflowOperation.tie(operation).encoded], ownerEpoch: 0))
        }
    }
}
