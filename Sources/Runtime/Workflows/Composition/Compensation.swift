import FlotillaIO

/// What is to be undone if a part of a workflow fails.
public final class CompensationScope: Sendable {
    fileprivate struct Undo: Sendable {
        var name: String
        var policy: RetryPolicy
        var body: @Sendable (StepContext) async throws -> Void
    }
    private let undos = Lock<[Undo]>([])

    /// Says how to undo what has been done. Call it behind the step that it undoes, or before, if that step may have had
    /// its effect although it failed.
    /// - Parameters:
    ///   - name: of the step that undoes it: it is recorded like any.
    ///   - retry: by default it is tried until it succeeds.
    public func undo(
        _ name: String, retry: RetryPolicy = RetryPolicy(attempts: nil),
        _ body: @escaping @Sendable (StepContext) async throws -> Void
    ) {
        undos.withLock { $0.append(Undo(name: name, policy: retry, body: body)) }
    }

    /// The last first; once.
    fileprivate func take() -> [Undo] {
        undos.withLock { undos in
            defer { undos = [] }
            return undos.reversed()
        }
    }
}

extension WorkflowContext {
    /// Runs a part of a workflow, and undoes what it did if it fails or is cancelled: the undo steps run in reverse, each
    /// recorded, so that the next owner goes on where the last one was. A node that stops undoes nothing.
    ///
    /// ```swift
    /// try await context.compensating { scope in
    ///     let charge = try await context.step("charge") { try await payments.charge(order, key: $0.idempotencyKey) }
    ///     scope.undo("refund") { try await payments.refund(charge, key: $0.idempotencyKey) }
    ///     try await context.step("ship") { try await warehouse.ship(order, key: $0.idempotencyKey) }
    /// }
    /// ```
    /// - Throws: what `body` threw, once all is undone; `WorkflowError` with `compensationFailed` where a step's policy
    ///   gave up: the others have run all the same.
    public func compensating<Result>(
        _ body: (CompensationScope) async throws -> Result
    ) async throws -> Result {
        let scope = CompensationScope()
        do {
            return try await body(scope)
        } catch {
            // Not the end of the run, but of its time on this node.
            if error is CancellationError || Task.isCancelled || execution.isOver { throw error }
            var failed: [String] = []
            for undo in scope.take() {
                do {
                    try await run(undo)
                } catch let error as WorkflowError where error.code == .stepFailed {
                    failed.append(error.message)
                }
            }
            guard failed.isEmpty else {
                throw WorkflowError(
                    .compensationFailed,
                    "not undone after \(WorkflowFailure(error)): " + failed.joined(separator: "; "),
                    failure: WorkflowFailure(error))
            }
            throw error
        }
    }

    private func run(_ undo: CompensationScope.Undo) async throws {
        do {
            try await step(undo.name, retry: undo.policy, undo.body)
        } catch let error as WorkflowError where error.code == .cancelled {
            // It was asked to end only now, and is about to. That is told once, so the step runs this time.
            try await step(undo.name, retry: undo.policy, undo.body)
        }
    }
}
