import FlotillaIO
import FlotillaRaft

/// The failed attempts at a step that has no result yet. Times are the group's, in nanoseconds since 1970.
struct StepAttempts: Hashable, Sendable {
    /// When the first one began.
    var startedAt: Int64
    /// Of the last one, as what follows.
    var failedAt: Int64
    /// When the next one may begin; nil where there is none: the step has failed, for good.
    var nextAt: Int64?
    var failure: WorkflowFailure
    var owner: NodeID
    var epoch: UInt64
    var effort: StepEffort

    /// What the body is told of a step that has failed; the same each time.
    func message(for step: StepKey) -> String {
        "step \(step) failed at attempt \(effort.attempt): \(failure)"
    }
}

/// How an attempt at a step failed.
struct StepFailure: Hashable, Sendable {
    var failure: WorkflowFailure
    var effort: StepEffort
    /// How long to wait for the next attempt, in nanoseconds; nil where there is none.
    var delay: Int64?
    /// How far the attempt was, where that is not on record yet.
    var progress: [UInt8]?
}

extension StepAttempts {
    func write(_ key: StepKey, to writer: inout ProtobufWriter) {
        writer.string(1, key.name.text)
        writer.varint(2, key.occurrence)
        writer.signed(3, startedAt)
        writer.signed(4, failedAt)
        if let nextAt { writer.varintAlways(5, UInt64(bitPattern: nextAt)) }
        writer.message(6) { failure.write(to: &$0) }
        writer.varint(7, owner.rawValue)
        writer.varint(8, UInt64(effort.attempt))
        writer.signed(9, effort.duration)
        writer.varint(10, epoch)
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (StepKey, StepAttempts) {
        var (name, occurrence) = ("", UInt64(0))
        var attempts = StepAttempts(
            startedAt: 0, failedAt: 0, failure: WorkflowFailure(type: "", message: ""), owner: NodeID(0), epoch: 0,
            effort: StepEffort(attempt: 0, duration: 0))
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: attempts.startedAt = try reader.signed()
            case 4: attempts.failedAt = try reader.signed()
            case 5: attempts.nextAt = Int64(bitPattern: try reader.varint())
            case 6:
                var inner = try reader.message()
                attempts.failure = try WorkflowFailure(from: &inner)
            case 7: attempts.owner = NodeID(try reader.varint())
            case 8: attempts.effort.attempt = try reader.uint32()
            case 9: attempts.effort.duration = try reader.signed()
            case 10: attempts.epoch = try reader.varint()
            default: throw reader.unknownField(in: "attempts at a step")
            }
        }
        return (StepKey(name, occurrence), attempts)
    }
}

extension Run {
    /// Before a failed run is run again: the step whose failure ended it starts over with its attempts. Where the body made
    /// something else of that failure, it is the one that failed last.
    mutating func forgetFailedStep() {
        var last: (key: StepKey, failedAt: Int64)?
        var cause: StepKey?
        attempts.visit { key, attempts in
            guard attempts.nextAt == nil else { return }
            if let known = last, (known.failedAt, known.key) > (attempts.failedAt, key) { return }
            last = (key, attempts.failedAt)
        }
        attempts.visit { key, attempts in
            guard attempts.nextAt == nil, let failure else { return }
            if WorkflowFailure(WorkflowError(.stepFailed, attempts.message(for: key))) == failure { cause = key }
        }
        guard let key = cause ?? last?.key else { return }
        attempts.remove(key)
        progress[key]?.begunAt = 0
    }
}
