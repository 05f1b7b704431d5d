import FlotillaActors

extension WorkflowEngine {
    /// Does something to a run, from any node; see `WorkflowAction`.
    /// - Parameter reason: at most `WorkflowLimits.reasonBytesMax` bytes, kept with the run; empty for none.
    /// - Returns: the run as it stands then.
    /// - Throws: `WorkflowError` with `notFound`; `wrongState` where the run's status does not allow it;
    ///   `invalidInput` for a longer reason; `overloaded`, `diskFull`, `unavailable` or `stopped`; `CancellationError`.
    @discardableResult
    public func control(_ id: String, _ action: WorkflowAction, reason: String = "") async throws -> WorkflowInfo {
        guard reason.utf8.count <= WorkflowLimits.reasonBytesMax else {
            throw WorkflowError(
                .invalidInput,
                "a reason has at most \(WorkflowLimits.reasonBytesMax) bytes, this one \(reason.utf8.count)")
        }
        let key = RunKey(defaultNamespace, id)
        let info = try await namingErrors { [environment] in
            _ = try environment.result(
                of: try await environment.client.propose(
                    [WorkflowOperation.controlRun(workflowID: id, action, reason: reason).encoded], ownerEpoch: 0))
            return try await environment.withMachine { machine in
                machine.state.runs[key].map { WorkflowInfo($0, key: key) }
            }
        }
        guard let info else { throw notFound(id) }
        return info
    }
}
