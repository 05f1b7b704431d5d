import FlotillaIO
import FlotillaRaft

extension WorkflowContext {
    /// Counts the executions of this run, from 1; see `continueAsNew`.
    public var executionNumber: Int { Int(clamping: execution.recorded.execution) }

    /// Ends this execution, and begins a new one of the same workflow id with new input and nothing recorded: for
    /// workflows without an end, whose record would grow for ever. It does not return.
    ///
    /// ```swift
    /// let account = Workflow("account", version: 1) { (balance: Int, context: WorkflowContext) async throws -> Int in
    ///     var balance = balance
    ///     for _ in 0..<1_000 { balance += try await context.receive(deposit) }
    ///     try await context.continueAsNew(balance)
    /// }
    /// ```
    /// Attributes, signals that were not received, and updates that were not answered, carry over. Whoever waits for the
    /// result waits on. What this execution recorded is kept as long as of a run that has ended, under the workflow id,
    /// "~" and its number, such as `account-7~1`. Child tasks of the body are cancelled. Child workflows hear of
    /// the end of this execution, as their policies have it, and the next one hears nothing of them.
    /// - Parameter version: of the workflow; nil for that of this execution.
    /// - Throws: always: `CancellationError` once it is done; `WorkflowError` with `unknownWorkflow` where no node ever
    ///   had that version, `resultTooLarge` or `unencodable`, and once with `cancelled`.
    public func continueAsNew<Input: Encodable>(_ input: Input, version: Int? = nil) async throws -> Never {
        try await execution.continueAsNew(
            try encodeValue(input, "the input of the next execution"), version: version.map { UInt32(clamping: $0) },
            keeping: [])
    }
}

extension RunExecution {
    /// - Parameter kept: children that the next execution can ask for, by the keys that they were started under.
    func continueAsNew(_ input: [UInt8], version: UInt32?, keeping kept: [StepKey]) async throws -> Never {
        if try await meetsCancellation(at: "continue") { throw Self.cancelled }
        try await replay?.continueAsNew()
        let limit = environment.limits.inputBytesMax
        guard input.count <= limit else {
            throw WorkflowError(
                .resultTooLarge, "the input of the next execution takes \(input.count) bytes, the limit is \(limit)")
        }
        let type = WorkflowType(recorded.type.name, version: version ?? recorded.type.version)
        let formerID = RunID(
            milliseconds: environment.loop.wallNow.nanoseconds / 1_000_000,
            random: (environment.random(), environment.random()))
        do {
            _ = try await propose(
                .composition(
                    .continueRun(
                        .init(
                            run: address, type: type,
                            input: try environment.codec.encode(JSONCoding.canonical(input)), formerID: formerID,
                            kept: kept))))
        } catch let refused as Refused where refused.code == .unknownWorkflow {
            throw WorkflowError(.unknownWorkflow, refused.message)
        }
        // The next execution has another owner, or this one anew.
        throw halt(.lost)
    }
}
