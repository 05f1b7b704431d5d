import FlotillaRaft

// How runs that have ended leave the state.

extension WorkflowState {
    /// A command removes no more runs once those before them had recorded so many things together: whoever applies it
    /// does so on a loop.
    private static let prunedRecordsMax = 20_000

    mutating func pruneRun(_ workflowID: String, _ context: ApplyContext) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, workflowID)
        guard let run = runs[key] else { throw absence(of: key) }
        guard run.status.isFinished else {
            throw Refused(.wrongState, "workflow '\(workflowID)' is \(run.status); only what has ended is removed")
        }
        guard !run.owes else {
            throw Refused(
                .wrongState, "workflow '\(workflowID)' still has to tell others of its end; remove it in a moment")
        }
        transfers.departed.forget(at: context.time)
        remove(key, group: context.group)
        return OperationResult(prunedCount: 1)
    }

    mutating func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int, _ context: ApplyContext
    ) -> OperationResult {
        transfers.departed.forget(at: context.time)
        var (pruned, records) = (0, 0)
        while pruned < limit, records < Self.prunedRecordsMax,
            let key = firstExpired(by: retention, at: context.time)
        {
            records += remove(key, group: context.group)
            pruned += 1
        }
        return OperationResult(
            prunedCount: UInt64(pruned), hasMore: firstExpired(by: retention, at: context.time) != nil)
    }

    /// The run that ended first, if it is not to be kept.
    /// - Parameter time: in nanoseconds since 1970.
    func firstExpired(by retention: WorkflowRetention, at time: Int64) -> RunKey? {
        guard let (position, key) = finished.first else { return nil }
        if let count = retention.count, finished.count > count { return key }
        guard let age = retention.age else { return nil }
        let (elapsed, isTooLong) = time.subtractingReportingOverflow(position.finishedAt)
        return isTooLong || elapsed >= age.clampedNanoseconds ? key : nil
    }
}
