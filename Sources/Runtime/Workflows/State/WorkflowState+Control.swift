import FlotillaRaft

// What is asked of a run from outside.

extension WorkflowState {
    mutating func control(
        _ workflowID: String, _ action: WorkflowAction, reason: String, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, workflowID)
        guard let run = runs[key] else { throw absence(of: key) }
        let request = Run.Request(reason: reason, requestedAt: context.time)
        switch (action, run.status) {
        case (.cancel, .running), (.cancel, .parked), (.cancel, .paused):
            guard run.cancellation == nil else { return OperationResult(wasDone: true) }
            transition(key) { $0.cancellation = request }
        case (.terminate, .running), (.terminate, .parked), (.terminate, .paused):
            transition(key) { run in
                run.status = .terminated
                run.intervention = request
                run.finishedAt = context.time
            }
            closeTies(key, time: context.time)
        case (.pause, .running), (.pause, .parked):
            transition(key) { run in
                run.status = .paused
                run.owner = nil
                run.intervention = request
            }
        case (.resume, .paused):
            transition(key) { run in
                run.status = .parked
                run.intervention = nil
            }
            assign(run.sequence)
        case (.retry, .failed):
            transition(key) { run in
                run.forgetFailedStep()
                run.status = .parked
                run.owner = nil
                run.failure = nil
                run.finishedAt = nil
            }
            assign(run.sequence)
        case (.cancel, .cancelled), (.terminate, .terminated), (.pause, .paused), (.resume, .running),
            (.resume, .parked):
            return OperationResult(wasDone: true)
        case (.cancel, _), (.terminate, _), (.pause, _), (.resume, _), (.retry, _):
            throw Refused(.wrongState, "workflow '\(workflowID)' is \(run.status); '\(action)' is not for those")
        }
        return OperationResult()
    }

    /// What an owner does to its own run it does in its epoch; others have none.
    func checkOwner(of workflowID: String, _ context: ApplyContext) throws(Refused) {
        guard context.ownerEpoch > 0, let run = runs[RunKey(context.namespace, workflowID)],
            run.epoch != context.ownerEpoch
        else { return }
        throw Refused(
            .staleOwner, "run \(run.runID) is in epoch \(run.epoch), the command came from \(context.ownerEpoch)")
    }
}
