import FlotillaIO
import FlotillaRaft

// A run in a snapshot.

extension Run {
    func write(_ key: RunKey, to writer: inout ProtobufWriter) {
        writer.string(1, key.namespace.text)
        writer.string(2, key.workflowID.text)
        writer.bytes(3, runID.bytes)
        writer.message(4) { type.write(to: &$0) }
        writer.string(5, contentType)
        writer.bytes(6, input)
        writer.signed(7, startedAt)
        writer.varint(8, UInt64(status.rawValue))
        if let owner { writer.varintAlways(9, owner.rawValue) }
        writer.varint(10, epoch)
        for (key, step) in steps.sorted() {
            writer.message(11) { writer in
                writer.write(key)
                writer.bytes(3, step.value)
                writer.varint(4, step.epoch)
                writer.signed(5, step.recordedAt)
                writer.varint(7, step.owner.rawValue)
                writer.varint(8, UInt64(step.effort.attempt))
                writer.signed(9, step.effort.duration)
            }
        }
        for (key, timer) in timers.sorted() {
            writer.message(12) { writer in
                writer.write(key)
                writer.signed(5, timer.startedAt)
                writer.signed(6, timer.deadline)
                if let firedAt = timer.firedAt { writer.varintAlways(10, UInt64(bitPattern: firedAt)) }
            }
        }
        for (key, checkpoint) in checkpoints.sorted() {
            writer.message(13) { writer in
                writer.string(1, key.text)
                writer.varint(2, checkpoint.count)
                writer.bytes(3, checkpoint.value)
                writer.signed(5, checkpoint.recordedAt)
                writer.varint(40, checkpoint.first)
            }
        }
        if let finishedAt { writer.varintAlways(14, UInt64(bitPattern: finishedAt)) }
        if let output { writer.bytesAlways(15, output) }
        if let failure { writer.message(16) { failure.write(to: &$0) } }
        writer.varint(17, sequence)
        for (key, attempts) in attempts.sorted() { writer.message(20) { attempts.write(key, to: &$0) } }
        if let cancellation { writer.message(18) { cancellation.write(to: &$0) } }
        if let intervention { writer.message(19) { intervention.write(to: &$0) } }
        writer.bool(40, isListed)
        if let messages { writer.message(64) { messages.write(to: &$0) } }
        attributes.write(to: &writer, 70)
        if let ties { writer.message(74) { ties.write(to: &$0) } }
        if execution != 1 { writer.varint(71, execution) }
        if let origin { writer.bytes(72, origin.bytes) }
        if let checkpointID { writer.bytes(73, checkpointID.bytes) }
        for (key, progress) in progress.sorted(by: { $0.key < $1.key }) {
            writer.message(80) { progress.write(key, to: &$0) }
        }
        if let trace { writer.message(81) { trace.write(to: &$0) } }
        if let fork { writer.message(82) { fork.write(to: &$0) } }
        for (name, archive) in archives?.sorted() ?? [] { writer.message(83) { archive.write(name, to: &$0) } }
    }

    static func read(from reader: inout ProtobufReader) throws(WireError) -> (RunKey, Run) {
        var header = RunHeader()
        var members: [(Int, RunMember)] = []
        var attempts: [(StepKey, StepAttempts)] = []
        var messages: RunMessages?
        var attributes = RunAttributes()
        var ties: RunTies?
        var progress: [StepKey: StepProgress] = [:]
        var archives: [(ByteText, StepArchive)] = []
        while let field = try reader.next() {
            switch field {
            case 11, 12, 13:
                var inner = try reader.message()
                members.append((field, try RunMember(from: &inner)))
            case 20:
                var inner = try reader.message()
                attempts.append(try StepAttempts.read(from: &inner))
            case 64:
                var inner = try reader.message()
                messages = try RunMessages(from: &inner)
            case 70:
                var inner = try reader.message()
                try attributes.read(from: &inner)
            case 74:
                var inner = try reader.message()
                ties = try RunTies(from: &inner)
            case 80:
                var inner = try reader.message()
                let (key, step) = try StepProgress.read(from: &inner)
                progress[key] = step
            case 83:
                var inner = try reader.message()
                archives.append(try StepArchive.read(from: &inner))
            default: try header.read(field, from: &reader)
            }
        }
        var run = try header.run()
        run.messages = messages
        run.attributes = attributes
        run.ties = ties
        run.progress = progress
        if !archives.isEmpty { run.archives = BucketedMap() }
        for (name, archive) in archives { run.archives?.insert(archive, for: name) }
        for (key, attempts) in attempts { run.attempts.insert(attempts, for: key) }
        for (field, member) in members {
            let key = StepKey(member.name, member.occurrence)
            switch field {
            case 11:
                let step = Step(
                    value: member.value, epoch: member.epoch, recordedAt: member.recordedAt, owner: member.owner,
                    effort: member.effort)
                run.steps.insert(step, for: key)
            case 12:
                run.timers.insert(
                    Timer(deadline: member.deadline, startedAt: member.recordedAt, firedAt: member.firedAt), for: key)
            default:
                run.checkpoints.insert(
                    Checkpoint(
                        count: member.occurrence, value: member.value, recordedAt: member.recordedAt,
                        first: member.first),
                    for: key.name)
            }
        }
        return (RunKey(header.namespace, header.workflowID), run)
    }
}

extension Run.Request {
    fileprivate func write(to writer: inout ProtobufWriter) {
        writer.string(1, reason)
        writer.signed(2, requestedAt)
    }

    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(reason: "", requestedAt: 0)
        while let field = try reader.next() {
            switch field {
            case 1: reason = try reader.string()
            case 2: requestedAt = try reader.signed()
            default: throw reader.unknownField(in: "a request about a run")
            }
        }
    }
}

/// A run without its steps, timers and checkpoints.
private struct RunHeader {
    var namespace = ""
    var workflowID = ""
    var runID: RunID?
    var type: WorkflowType?
    var contentType = ""
    var input: [UInt8] = []
    var startedAt: Int64 = 0
    var status: WorkflowStatus?
    var owner: NodeID?
    var epoch: UInt64 = 0
    var finishedAt: Int64?
    var output: [UInt8]?
    var failure: WorkflowFailure?
    var sequence: UInt64 = 0
    var cancellation: Run.Request?
    var intervention: Run.Request?
    var isListed = false
    var execution: UInt64 = 1
    var origin: SHA256Digest?
    var checkpointID: RunID?
    var trace: TraceContext?
    var fork: ForkRun.Origin?

    mutating func read(_ field: Int, from reader: inout ProtobufReader) throws(WireError) {
        switch field {
        case 1: namespace = try reader.string()
        case 2: workflowID = try reader.string()
        case 3: runID = RunID(bytes: try reader.bytes())
        case 4:
            var inner = try reader.message()
            type = try WorkflowType(from: &inner)
        case 5: contentType = Run.shared(contentType: try reader.string())
        case 6: input = try reader.bytes()
        case 7: startedAt = try reader.signed()
        case 8: status = UInt8(exactly: try reader.varint()).flatMap(WorkflowStatus.init(rawValue:))
        case 9: owner = NodeID(try reader.varint())
        case 10: epoch = try reader.varint()
        case 14: finishedAt = Int64(bitPattern: try reader.varint())
        case 15: output = try reader.bytes()
        case 16:
            var inner = try reader.message()
            failure = try WorkflowFailure(from: &inner)
        case 17: sequence = try reader.varint()
        case 18:
            var inner = try reader.message()
            cancellation = try Run.Request(from: &inner)
        case 19:
            var inner = try reader.message()
            intervention = try Run.Request(from: &inner)
        case 40: isListed = try reader.bool()
        case 71: execution = try reader.varint()
        case 72: origin = SHA256Digest(try reader.bytes())
        case 73: checkpointID = RunID(bytes: try reader.bytes())
        case 81:
            var inner = try reader.message()
            trace = try TraceContext(from: &inner)
        case 82:
            var inner = try reader.message()
            fork = try ForkRun.Origin(from: &inner)
        default: throw reader.unknownField(in: "a run")
        }
    }

    func run() throws(WireError) -> Run {
        guard let runID, let type, let status else {
            throw WireError(.invalidValue, "run '\(workflowID)' lacks its id, type or status")
        }
        guard status != .running || owner != nil else {
            throw WireError(.invalidValue, "running run '\(workflowID)' has no owner")
        }
        guard status.isFinished == (finishedAt != nil) else {
            throw WireError(.invalidValue, "\(status) run '\(workflowID)' ended at \(finishedAt ?? 0)")
        }
        var run = Run(
            sequence: sequence, runID: runID, type: type, contentType: contentType, input: input,
            startedAt: startedAt, status: status)
        run.owner = owner
        run.epoch = epoch
        run.finishedAt = finishedAt
        run.output = output
        run.failure = failure
        run.cancellation = cancellation
        run.intervention = intervention
        run.isListed = isListed
        run.execution = execution
        run.origin = origin
        run.checkpointID = checkpointID
        run.trace = trace
        run.fork = fork
        return run
    }
}

/// The fields of a step (3 value, 4 epoch, 5 time, 7 owner, 8 attempt, 9 duration), a timer (5 start, 6 deadline,
/// 10 firing) or a checkpoint (2 count, 3 value, 5 time, 40 first).
private struct RunMember {
    var name = ""
    var occurrence: UInt64 = 0
    var value: [UInt8] = []
    var deadline: Int64 = 0
    var epoch: UInt64 = 0
    var recordedAt: Int64 = 0
    var owner = NodeID(0)
    var effort = StepEffort(attempt: 0, duration: 0)
    var firedAt: Int64?
    var first: UInt64 = 0

    init(from reader: inout ProtobufReader) throws(WireError) {
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2: occurrence = try reader.varint()
            case 3: value = try reader.bytes()
            case 4: epoch = try reader.varint()
            case 5: recordedAt = try reader.signed()
            case 6: deadline = try reader.signed()
            case 7: owner = NodeID(try reader.varint())
            case 8: effort.attempt = try reader.uint32()
            case 9: effort.duration = try reader.signed()
            case 10: firedAt = Int64(bitPattern: try reader.varint())
            case 40: first = try reader.varint()
            default: throw reader.unknownField(in: "a step, timer or checkpoint")
            }
        }
    }
}

extension ProtobufWriter {
    fileprivate mutating func write(_ key: StepKey) {
        string(1, key.name.text)
        varint(2, key.occurrence)
    }
}
