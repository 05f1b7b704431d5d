import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Begins a run with what another one has recorded before a step. It may be sent again: the new run's id is in it.
struct ForkRunRequest: RunRequest {
    typealias Reply = StartedRun
    static let name = "fork"
    var id: String
    var step: String
    var occurrence: UInt64
    /// Nil makes one.
    var newID: String?
    var runID: RunID
    var placement = StartRunRequest.Placement.alone
    /// Where the new id is reserved.
    var group: GroupID?

    var subject: String? { id }
    func perform(on engine: WorkflowEngine) async throws -> StartedRun { try await engine.fork(self) }
}

extension WorkflowRouter {
    /// The new run begins where the old one is.
    /// - Parameter newID: nil makes one.
    func fork(_ id: String, from step: String, occurrence: UInt64, as newID: String?) async throws -> StartedRun {
        if let newID { try WorkflowLimits.checkID(newID) }
        try await machines.untilHeard(on: core.loop, patience: Self.patience)
        var request = ForkRunRequest(id: id, step: step, occurrence: occurrence, newID: newID, runID: newRunID())
        guard machines.management.withLock({ $0.mode }) != .single else { return try await perform(request, on: id) }
        guard let newID else {
            request.placement = .generated
            return try await perform(request, on: id)
        }
        let group = try await perform(LocateRun(id: id), on: id).group
        let reserved = try await perform(ReserveRun(id: newID, runID: request.runID, group: group), on: newID)
        guard reserved.group == group else {
            throw WorkflowError(.conflict, "workflow id '\(newID)' belongs to run \(reserved.runID); choose another id")
        }
        // It may be the same fork's, which was cut off.
        (request.runID, request.group) = (reserved.runID, group)
        request.placement = .reserved(epoch: reserved.slotEpoch)
        return try await perform(request, on: id)
    }
}
