import FlotillaActors
import FlotillaIO
import FlotillaRaft

// A run that goes on as a new execution: with new input and nothing recorded, under the same workflow id and run id, so
// that nobody who knows where the run is has to hear of it. What the former execution recorded is kept as a run that has
// ended, under an id of its own, until retention removes it.

/// The workflow id of a former execution: that of the run, "~", and the execution's number.
enum ExecutionID {
    static func text(_ id: String, execution: UInt64) -> String { "\(id)~\(execution)" }

    /// Whether an id looks like a former execution's; nobody may choose such a one.
    static func isFormer(_ id: String) -> Bool {
        guard let mark = id.utf8.lastIndex(of: UInt8(ascii: "~")) else { return false }
        let number = id.utf8[id.utf8.index(after: mark)...]
        return !number.isEmpty && number.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// The workflow id of the run that a former execution was of.
    /// - Returns: nil for other ids.
    static func run(of id: String) -> String? {
        isFormer(id) ? id.lastIndex(of: "~").map { String(id[..<$0]) } : nil
    }
}

extension WorkflowState {
    mutating func continueRun(
        _ continuation: CompositionOperation.Continuation, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let address = continuation.run
        let key = RunKey(context.namespace, address.workflowID)
        let type = continuation.type
        guard knownTypes.contains(type) else {
            throw Refused(.unknownWorkflow, "no node ever registered \(type); continue as a version that one has")
        }
        _ = try withOwnedRun(address, context) { _ in OperationResult() }
        var former = takeOut(key)
        startCount += 1
        var next = Run(
            sequence: startCount, runID: former.runID, type: type, contentType: former.contentType,
            input: continuation.input, startedAt: context.time, status: .parked)
        next.epoch = former.epoch
        next.execution = former.execution + 1
        next.origin = former.origin ?? former.identity
        next.checkpointID = continuation.formerID
        next.attributes = former.attributes
        (next.trace, next.fork) = (former.trace, former.fork)
        next.isListed = former.isListed
        next.messages = former.messages?.continued(at: context.time)
        next.ties = closingTies(former, at: context.time, isLast: false, keeping: Set(continuation.kept))?
            .continued(from: former.execution, keeping: continuation.kept)
        // Who has heard of it has answered by going on.
        if former.steps[RunExecution.cancellationStep] == nil { next.cancellation = former.cancellation }
        keep(&former, as: continuation.formerID, of: key, context)
        restore(next, for: key)
        assign(next.sequence)
        return OperationResult(runID: next.runID)
    }

    /// Keeps an execution that is over, unless somebody has its id.
    private mutating func keep(_ former: inout Run, as id: RunID, of key: RunKey, _ context: ApplyContext) {
        let formerKey = RunKey(
            key.namespace.text, ExecutionID.text(key.workflowID.text, execution: former.execution))
        guard runs[formerKey] == nil, transfers.frozen[formerKey] == nil else {
            if former.hasHistory {
                changes.checkpoints.append(.remove(former.checkpointRun(key, in: context.group)))
            }
            return
        }
        var kept = former.renamed(id)
        kept.checkpointID = former.checkpointID ?? former.runID
        kept.status = .continued
        kept.finishedAt = context.time
        kept.cancellation = nil
        kept.isListed = false
        restore(kept, for: formerKey)
        changes.runs.append(formerKey)
    }
}

extension Run {
    /// What a start must agree with to be the same as the one that this run comes from.
    var identity: SHA256Digest { Self.identity(type: type, contentType: contentType, input: input) }

    static func identity(type: WorkflowType, contentType: String, input: [UInt8]) -> SHA256Digest {
        var writer = ProtobufWriter()
        writer.message(1) { type.write(to: &$0) }
        writer.string(2, contentType)
        writer.bytes(3, input)
        return SHA256Digest(of: writer.bytes)
    }

    /// Whether a start would have made this run.
    func matches(_ start: WorkflowOperation.StartRun) -> Bool {
        guard ties?.parent == start.parent else { return false }
        if let origin {
            return origin == Self.identity(type: start.type, contentType: start.contentType, input: start.input)
        }
        return type == start.type && input == start.input && contentType == start.contentType
    }

    /// The same under another id.
    fileprivate func renamed(_ id: RunID) -> Run {
        var renamed = Run(
            sequence: sequence, runID: id, type: type, contentType: contentType, input: input, startedAt: startedAt,
            status: status)
        renamed.owner = owner
        renamed.epoch = epoch
        renamed.steps = steps
        renamed.archives = archives
        renamed.attempts = attempts
        renamed.timers = timers
        renamed.checkpoints = checkpoints
        renamed.messages = messages
        renamed.attributes = attributes
        renamed.trace = trace
        renamed.execution = execution
        renamed.origin = origin
        return renamed
    }

    /// Under what the history of the run's checkpoints is kept. Each execution has its own, and takes it along when it
    /// becomes a former one.
    func checkpointRun(_ key: RunKey, in group: GroupID) -> CheckpointRun {
        var key = key
        let suffix = "~\(execution)"
        if status == .continued, key.workflowID.text.hasSuffix(suffix) {
            key.workflowID = ByteText(String(key.workflowID.text.dropLast(suffix.count)))
        }
        return CheckpointRun(group: group, run: key, runID: checkpointID ?? runID)
    }
}

extension RunMessages {
    /// For how long a sender who sends once only is remembered behind the execution that heard it, and an answer is kept,
    /// in nanoseconds.
    static let memory: Int64 = 86_400 * 1_000_000_000
    /// Answers of former executions that are kept, the latest.
    static let answersMax = 1_000
    /// Those who send once only and are remembered, the latest: an object that is called all the time has as many a day as
    /// calls.
    static let singleSendersMax = 20_000

    /// What the next execution is told of what this one was: messages that the body has not received, updates that it
    /// has not answered, and who has sent what.
    func continued(at time: Int64) -> RunMessages? {
        var next = RunMessages()
        var places: [StepKey: StepKey] = [:]
        for (name, box) in boxes.sorted() {
            guard let mailbox = Mailbox(name), mailbox.kind != .awakeable else { continue }
            for number in 0..<box.count {
                let key = StepKey(name.text, number)
                guard var message = messages[key],
                    message.takenAt == nil || mailbox.kind == .update && message.reply == nil
                else { continue }
                if mutated(.dropsWaitingMessages) { continue }
                message.takenAt = nil
                places[key] = next.add(message, to: mailbox)
            }
        }
        var answered = answers.members.filter { time - $0.value.recordedAt < Self.memory }
        var singles: [(name: ByteText, sender: Sender)] = []
        for (name, sender) in senders.members {
            var sender = sender
            if let reply = sender.message.flatMap({ messages[$0]?.reply }) { answered.append((name, reply)) }
            sender.message = sender.message.flatMap { places[$0] }
            if sender.message != nil || !sender.isSingle(name) {
                next.senders.insert(sender, for: name)
            } else if time - sender.sentAt < Self.memory {
                singles.append((name, sender))
            }
        }
        if singles.count > Self.singleSendersMax {
            singles.sort { ($1.sender.sentAt, $1.name) < ($0.sender.sentAt, $0.name) }
        }
        for (name, sender) in singles.prefix(Self.singleSendersMax) { next.senders.insert(sender, for: name) }
        answered.sort { ($1.value.recordedAt, $1.key) < ($0.value.recordedAt, $0.key) }
        for (name, reply) in answered.prefix(Self.answersMax) { next.answers.insert(reply, for: name) }
        return next.senders.count == 0 && next.messages.count == 0 && next.answers.count == 0 ? nil : next
    }
}

extension RunMessages.Sender {
    /// Whether no other message of this sender is to come: updates have an id each, and Flotilla makes names for senders
    /// that have none.
    fileprivate func isSingle(_ name: ByteText) -> Bool {
        guard let box = Mailbox(name) else { return false }
        return box.kind == .update || box.name.hasPrefix(Self.singlePrefix)
    }

    /// What the names begin with that Flotilla makes.
    static let singlePrefix = "~"
}
