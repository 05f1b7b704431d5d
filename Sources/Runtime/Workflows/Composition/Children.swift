import FlotillaIO
import FlotillaRaft

/// What becomes of a child that has not ended when its parent's execution does.
public enum ParentClosePolicy: UInt8, Codable, Sendable, CaseIterable {
    /// It is ended at once.
    case terminate = 1
    /// It is asked to end.
    case cancel = 2
    /// It goes on.
    case abandon = 3
}

/// A workflow that another one has started. It is a run like others, in whichever cluster takes it.
public struct ChildWorkflow<Output: Codable & Sendable>: Sendable {
    /// The child's workflow id.
    public let workflowID: String
    /// The child's run.
    public let runID: RunID
    let key: StepKey
    let execution: RunExecution

    /// Waits for its end. Recorded.
    /// - Throws: `WorkflowError` with `failed`, `cancelled` or `terminated` where it ended so, `undecodableResult`, and
    ///   once with `cancelled` where this run is to end; `CancellationError`.
    public func result() async throws -> Output {
        try await execution.end(of: key, id: workflowID).value(of: workflowID, as: Output.self)
    }
}

extension WorkflowContext {
    /// Starts another workflow, and returns once it has begun, wherever it runs. It has begun once, however often this
    /// run changes its owner or its cluster. Recorded.
    ///
    /// ```swift
    /// let shipping = try await context.child(shipOrder, input: order)
    /// let receipt = try await shipping.result()
    /// ```
    /// - Parameters:
    ///   - name: children that are started at the same time need different ones; nil takes the workflow's.
    ///   - id: its workflow id; nil takes this run's with the name behind it.
    ///   - policy: what becomes of it when this execution ends first.
    /// - Throws: `WorkflowError` with `conflict` where the id is taken, `unknownWorkflow` where no node ever had the
    ///   workflow, `duplicateStep`, `invalidName`, `resultTooLarge`, `outboxFull`, and once with `cancelled`;
    ///   `CancellationError`.
    public func child<Input, Output>(
        _ workflow: Workflow<Input, Output>, name: String? = nil, id: String? = nil, input: Input,
        attributes: [String: String] = [:], whenParentEnds policy: ParentClosePolicy = .terminate
    ) async throws -> ChildWorkflow<Output> {
        let bytes = try encodeValue(input, "the input of \(workflow.type)")
        let (key, id, runID) = try await execution.startChild(
            workflow.type, name: name ?? workflow.type.name, id: id, bytes, attributes, policy)
        return ChildWorkflow(workflowID: id, runID: runID, key: key, execution: execution)
    }

    /// Sends a signal to another workflow, and returns once it is durable there: it is received once, however often this
    /// run changes its owner or its cluster. Recorded.
    /// - Throws: `WorkflowError` with `notFound` or `wrongState` where the workflow is not there or has ended,
    ///   `resultTooLarge`, `outboxFull`, and once with `cancelled`; `CancellationError`.
    public func signal<Value>(_ id: String, _ signal: WorkflowSignal<Value>, _ value: Value) async throws {
        let bytes = try encodeMessage(value, "signal '\(signal.name)'")
        try await execution.signal(id, name: signal.name, bytes)
    }
}
