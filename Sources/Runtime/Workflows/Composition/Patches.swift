import FlotillaIO

extension WorkflowContext {
    /// Whether the run takes a changed part of the code: true for a run that comes here for the first time with the new
    /// code, false for one that had passed here before there was the change. Recorded: each run keeps its answer.
    ///
    /// ```swift
    /// if try await context.patched("fraud-check") { try await context.step("check fraud") { ... } }
    /// ```
    /// - Parameter id: names the change; it stays as long as there are runs that were started before it, see
    ///   `flotilla workflow versions`.
    public func patched(_ id: String) async throws -> Bool { try await execution.isPatched(id) }
}

extension RunExecution {
    func isPatched(_ id: String) async throws -> Bool {
        try checkName(id)
        // One answer for the run, however often it asks.
        let step = StepKey("$patched/\(id)", 0)
        if let known = progress.withLock({ $0.patches[step.name] }) { return known }
        let answer: Bool
        if let known = recorded.steps[step] {
            meet(.step, step)
            answer = try decode(known.value, "patch '\(id)'")
        } else if let replay {
            guard hasCaughtUp else { return false }
            try await replay.end(.step, step)
            answer = true
        } else {
            // What is recorded behind this place was recorded by code without the change.
            answer = try await record(hasCaughtUp, as: step)
        }
        progress.withLock { $0.patches[step.name] = answer }
        return answer
    }
}
