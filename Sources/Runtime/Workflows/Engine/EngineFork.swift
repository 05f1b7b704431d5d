import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension WorkflowEngine {
    /// Begins a run with what another one of the group has recorded before a step.
    /// - Throws: `WorkflowError` with `notFound`; `invalidInput` where it has not recorded the step; `wrongState`,
    ///   `conflict`, `invalidName`, `tooManyWorkflows`, `overloaded`, `unavailable` or `stopped`; `CancellationError`.
    func fork(_ request: ForkRunRequest) async throws -> StartedRun {
        let source = try await recordedRun(RunKey(defaultNamespace, request.id))
        guard !source.type.name.hasPrefix("$") else {
            throw WorkflowError(.wrongState, "'\(request.id)' is Flotilla's own and cannot be forked")
        }
        // The id's home knows for which group it is reserved.
        if case .reserved = request.placement, request.group != environment.group {
            throw WorkflowError(.unavailable, "'\(request.id)' has moved to another group meanwhile; try again")
        }
        let generated = GeneratedID(group: environment.group, runID: request.runID).text
        let id = request.newID ?? (request.placement == .generated ? generated : request.runID.description)
        if request.newID != nil { try WorkflowLimits.checkID(id) }
        var start = WorkflowOperation.StartRun(
            workflowID: id, runID: request.runID, type: source.type, input: [], contentType: source.contentType)
        start.placement = request.placement.operation
        setLimits(of: &start)
        let fork = ForkRun(
            origin: ForkRun.Origin(
                source: RunAddress(workflowID: request.id, runID: source.runID),
                step: StepKey(request.step, request.occurrence)), start: start)
        let result = try await admitting(0) { [environment] in
            let result = try environment.result(
                of: try await environment.client.propose([WorkflowOperation.fork(fork).encoded], ownerEpoch: 0))
            if let refusal = result.turnedDown {
                throw Refused(refusal, "the group did not take workflow '\(id)': \(refusal)")
            }
            return result
        }
        return StartedRun(
            workflowID: id, runID: result.runID ?? request.runID, type: source.type, existed: result.wasDone)
    }

    /// What this node's configuration says of how many may run; see `AdmissionLimits`.
    func setLimits(of start: inout WorkflowOperation.StartRun) {
        guard !start.type.name.hasPrefix("$") else { return }
        let limits = environment.context.gate.limits
        start.runLimit = UInt64(limits.workflows ?? 0)
        start.typeLimit = UInt64(limits.workflowsByType[start.type.name] ?? 0)
    }
}
