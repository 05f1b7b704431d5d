public import FlotillaIO

/// Takes the spans of workflows whose start came with a trace context that is sampled. See `NodeConfiguration.spans`.
public protocol SpanSink: Sendable {
    /// Called once a span has ended, by the node that it ended on, from any thread but a loop's. It must be short: it is
    /// on the way of the workflow. What a node that crashes had not told is lost.
    func record(_ span: WorkflowSpan)
}

/// An attempt at a step, or an execution of a workflow from its start to its end.
public struct WorkflowSpan: Hashable, Sendable {
    /// What a span is of.
    public enum Kind: String, Sendable {
        /// An execution, from its start to its end.
        case workflow
        /// An attempt at a step.
        case step
    }

    /// What it is of.
    public var kind: Kind
    /// The step's, or the workflow's.
    public var name: String
    /// The span's own.
    public var context: TraceContext
    /// The span above, 16 hexadecimal digits: of a step its workflow's; of a workflow its parent's, or its caller's.
    public var parentID: String
    /// The run's workflow id.
    public var workflowID: String
    /// The run.
    public var runID: RunID
    /// Of a step, from 1; of a workflow the number of its execution.
    public var attempt: Int
    /// By the clock of the group for a workflow, by that of the node for everything else.
    public var startedAt: WallTime
    /// By the same clock.
    public var endedAt: WallTime
    /// Nil where it went well.
    public var failure: WorkflowFailure?
}

extension RunExecution {
    /// Of the workflow; what its steps and its children belong to.
    var span: TraceContext? { recorded.span }

    /// Of an attempt at a step. Another owner's attempt is another span.
    func span(of step: StepKey, attempt: Int) -> TraceContext? {
        span?.span(named: "\(recorded.runID)/\(recorded.execution)/\(step)/\(epoch)/\(attempt)")
    }

    /// Tells how an attempt went that began at `start` and ends now.
    func report(_ step: StepKey, _ context: StepContext, from start: WallTime, _ error: (any Error)?) {
        guard let sink = environment.context.spans, let own = context.trace, own.isSampled, let parent = span else {
            return
        }
        sink.record(
            WorkflowSpan(
                kind: .step, name: step.name.text, context: own, parentID: parent.spanID,
                workflowID: address.workflowID,
                runID: runID, attempt: context.attempt, startedAt: start, endedAt: environment.loop.wallNow,
                failure: error.map { WorkflowFailure($0) }))
    }

    /// Tells how the workflow ended, which is on record by now.
    func report(_ result: RunResult) {
        guard let sink = environment.context.spans, let own = span, own.isSampled, let caller = recorded.trace else {
            return
        }
        let failure: WorkflowFailure? =
            switch result {
            case .success: nil
            case .failure(let failure): failure
            case .cancelled: WorkflowFailure(type: "cancelled", message: recorded.cancellation?.reason ?? "")
            }
        sink.record(
            WorkflowSpan(
                kind: .workflow, name: recorded.type.name, context: own, parentID: caller.spanID,
                workflowID: address.workflowID, runID: runID, attempt: Int(clamping: recorded.execution),
                startedAt: WallTime(nanoseconds: recorded.startedAt), endedAt: environment.loop.wallNow,
                failure: failure))
    }
}

extension Run {
    /// The span of this execution; nil where its start came without a trace.
    var span: TraceContext? { trace?.span(named: "\(runID)/\(execution)") }
}

extension WorkflowContext {
    /// The span of this execution, in the trace that its start came with: the same on every owner. Nil without one.
    public var trace: TraceContext? { execution.span }
}
