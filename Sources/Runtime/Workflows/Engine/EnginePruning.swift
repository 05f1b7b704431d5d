import FlotillaActors

// Removing what has ended, by hand. By itself the leader does it; see `RetentionKeeper`.

extension WorkflowEngine {
    /// Removes a run that has ended, with everything that it recorded; its id can be used again.
    /// - Throws: `WorkflowError` with `notFound`, `wrongState`, `overloaded`, `diskFull`, `unavailable` or `stopped`;
    ///   `CancellationError`.
    public func prune(_ id: String) async throws {
        _ = try await pruning(.pruneRun(workflowID: id))
    }

    /// Removes runs that have ended and that `retention` does not keep, those that ended first before others, in
    /// commands of `WorkflowLimits.prunePortion` runs, so that everything else goes on meanwhile.
    /// - Parameter limit: how many at most.
    /// - Returns: how many were removed, and whether there are more to remove.
    /// - Throws: as `prune`. What was removed before stays so.
    public func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int = .max
    ) async throws -> (count: Int, hasMore: Bool) {
        var count = 0
        while count < limit {
            let portion = UInt32(min(limit - count, environment.limits.prunePortion))
            let result = try await pruning(.pruneFinished(keeping: retention, limit: portion))
            count += Int(result.prunedCount)
            guard result.hasMore else { return (count, false) }
        }
        return (count, true)
    }

    private func pruning(_ operation: WorkflowOperation) async throws -> OperationResult {
        try await namingErrors { [environment] in
            try environment.result(of: try await environment.client.propose([operation.encoded], ownerEpoch: 0))
        }
    }
}
