import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// How far a step is that has no result yet, as its body told last: the next attempt is given it. Times are the group's,
/// in nanoseconds since 1970.
struct StepProgress: Hashable, Sendable {
    /// Empty where it has only begun.
    var value: [UInt8]
    /// Which attempt told it.
    var attempt: UInt32
    var recordedAt: Int64
    var owner: NodeID
    /// When the group heard first of the step; 0 where it starts over.
    var begunAt: Int64
}

extension WorkflowState {
    /// What comes behind the end of its attempt changes nothing.
    mutating func recordProgress(
        _ address: RunAddress, _ step: StepKey, attempt: UInt32, _ value: [UInt8], _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            let failed = run.attempts[step]?.effort.attempt ?? 0
            guard run.steps[step] == nil, !run.isArchived(step), failed < attempt || mutated(.takesLateProgress) else {
                return OperationResult(wasDone: true)
            }
            run.note(value, of: step, attempt: attempt, context)
            return OperationResult()
        }
    }
}

extension Run {
    /// When the first attempt at a step began, as far as that is recorded.
    func begunAt(of step: StepKey) -> Int64? {
        attempts[step]?.startedAt ?? progress[step].flatMap { $0.begunAt == 0 ? nil : $0.begunAt }
    }

    /// - Parameter progress: empty where the attempt begins.
    mutating func note(_ progress: [UInt8], of step: StepKey, attempt: UInt32, _ context: ApplyContext) {
        guard let owner else { preconditionFailure("running run \(runID) has no owner") }
        let known = self.progress[step]
        self.progress[step] = StepProgress(
            value: progress.isEmpty ? known?.value ?? [] : progress, attempt: attempt, recordedAt: context.time,
            owner: owner, begunAt: begunAt(of: step) ?? context.time)
    }
}

extension StepProgress {
    func write(_ key: StepKey, to writer: inout ProtobufWriter) {
        writer.string(1, key.name.text)
        writer.varint(2, key.occurrence)
        writer.bytes(3, value)
        writer.varint(4, UInt64(attempt))
        writer.signed(5, recordedAt)
        writer.varint(6, owner.rawValue)
        writer.signed(7, begunAt)
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (StepKey, StepProgress) {
        var (name, occurrence) = ("", UInt64(0))
        var progress = StepProgress(value: [], attempt: 0, recordedAt: 0, owner: NodeID(0), begunAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: progress.value = try reader.bytes()
            case 4: progress.attempt = try reader.uint32()
            case 5: progress.recordedAt = try reader.signed()
            case 6: progress.owner = NodeID(try reader.varint())
            case 7: progress.begunAt = try reader.signed()
            default: throw reader.unknownField(in: "the progress of a step")
            }
        }
        return (StepKey(name, occurrence), progress)
    }
}
