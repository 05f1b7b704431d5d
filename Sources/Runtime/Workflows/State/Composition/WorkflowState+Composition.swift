import FlotillaActors
import FlotillaRaft

// A run among others. Each function checks everything before it changes anything.

extension WorkflowState {
    mutating func apply(
        _ operation: CompositionOperation, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        switch operation {
        case .setAttributes(let run, let step, let changes): return try setAttributes(run, step, changes, context)
        case .continueRun(let continuation): return try continueRun(continuation, context)
        }
    }

    private mutating func setAttributes(
        _ address: RunAddress, _ step: StepKey, _ changes: [ByteText: ByteText?], _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run throws(Refused) in
            if run.steps[step] != nil { return OperationResult(wasDone: true) }
            let merged = run.attributes.merging(changes)
            guard merged.count <= WorkflowLimits.attributesMax else {
                throw Refused(
                    .invalidAttribute,
                    "'\(address.workflowID)' would have \(merged.count) attributes, and may have "
                        + "\(WorkflowLimits.attributesMax)")
            }
            let members = changes.map { ($0.key.text, $0.value.map { JSONValue.string($0.text) } ?? .null) }
            run.attributes = merged
            run.record(
                JSONValue.object(Dictionary(members, uniquingKeysWith: { first, _ in first })).canonicalBytes, as: step,
                context)
            return OperationResult()
        }
    }
}

extension Run {
    /// Records what was not computed by a step's body like the result of one.
    mutating func record(_ value: [UInt8], as step: StepKey, _ context: ApplyContext) {
        steps.insert(
            Step(value: value, epoch: epoch, recordedAt: context.time, owner: owner ?? NodeID(0)), for: step)
    }
}
