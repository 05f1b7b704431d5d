import FlotillaActors
import FlotillaRaft

// One function for each operation on messages. Each checks everything before it changes anything.

extension WorkflowState {
    mutating func apply(
        _ operation: MessageOperation, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        switch operation {
        case .send(let sending): return try send(sending, context)
        case .limit(let run, let ask, let duration): return try limit(run, ask, duration, context)
        case .take(let run, let ask, let isDue): return try take(run, ask, isDue: isDue, context)
        case .reply(let run, let message, let content): return try reply(run, message, content, context)
        case .createAwakeable(let run, let key, let secret):
            return try createAwakeable(run, key, secret: secret, context)
        case .complete(let run, let key, let secret, let content):
            return try complete(run, key, secret: secret, content, context)
        case .announce(let run, let ask): return try announce(run, ask, context)
        }
    }

    // MARK: From outside

    private mutating func send(
        _ sending: MessageOperation.Sending, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, sending.workflowID)
        guard let run = runs[key], sending.runID.map({ $0 == run.runID }) ?? true else {
            throw Refused(.noSuchRun, "there is no workflow '\(sending.workflowID)'")
        }
        let last = run.messages?.senders[sending.box.sender(sending.sender)]
        if let last, sending.number <= last.number, !mutated(.takesRepeatedMessages) {
            var result = OperationResult(wasDone: true)
            guard sending.number == last.number, let message = last.message else { return result }
            guard message.name == sending.box.text,
                run.messages?.messages[message]?.content == .value(sending.value)
            else {
                throw Refused(
                    .conflict, "'\(sending.sender)' has told '\(sending.workflowID)' something else under that id")
            }
            result.messages = MessageResult(message: last.message)
            return result
        }
        guard sending.number == (last?.number ?? 0) + 1 || mutated(.takesRepeatedMessages) else {
            throw Refused(
                .messageOutOfOrder,
                "message \(sending.number) of '\(sending.sender)' to '\(sending.workflowID)' comes before number "
                    + "\((last?.number ?? 0) + 1)")
        }
        guard !run.status.isFinished else {
            throw Refused(.wrongState, "workflow '\(sending.workflowID)' is \(run.status); it hears nothing any more")
        }
        let (count, bytes) = (run.messages?.waitingCount ?? 0, run.messages?.waitingBytes ?? 0)
        guard count < WorkflowLimits.waitingMessagesMax,
            bytes + sending.value.count <= WorkflowLimits.waitingMessageBytesMax
        else {
            throw Refused(
                .mailboxFull,
                "\(count) messages with \(bytes) bytes wait for '\(sending.workflowID)'; there may be "
                    + "\(WorkflowLimits.waitingMessagesMax) with \(WorkflowLimits.waitingMessageBytesMax) bytes")
        }
        let message = RunMessages.Message(
            content: .value(sending.value), sender: sending.sender, sentAt: context.time)
        var result = OperationResult()
        result.messages = update(key) { run in
            run.withMessages { messages in
                let added = messages.add(message, to: sending.box)
                messages.senders.insert(
                    RunMessages.Sender(number: sending.number, message: added, sentAt: context.time),
                    for: sending.box.sender(sending.sender))
                return MessageResult(message: added)
            }
        }
        changes.told.append(key)
        return result
    }

    private mutating func complete(
        _ address: RunAddress, _ awakeable: StepKey, secret: [UInt8], _ content: MessageContent,
        _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        guard let run = runs[key], run.runID == address.runID,
            let known = run.messages?.awakeables[awakeable], known.secret == secret
        else { throw Refused(.wrongToken, "no run has such an awakeable; it may have been removed since") }
        let box = Mailbox(awakeable: awakeable)
        if let first = run.messages?.messages[StepKey(box.text.text, 0)] {
            guard first.content == content else {
                throw Refused(.alreadyCompleted, "the awakeable '\(awakeable.name)' was completed otherwise before")
            }
            return OperationResult(wasDone: true)
        }
        guard !run.status.isFinished else {
            throw Refused(
                .wrongState, "workflow '\(address.workflowID)' is \(run.status); it waits for nothing any more")
        }
        update(key) { run in
            _ = run.withMessages {
                $0.add(RunMessages.Message(content: content, sender: "", sentAt: context.time), to: box)
            }
        }
        changes.told.append(key)
        return OperationResult()
    }

    // MARK: What an owner records

    private mutating func limit(
        _ address: RunAddress, _ ask: StepKey, _ duration: Int64, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            run.withMessages { messages in
                if let known = messages.asks[ask]?.deadline { return OperationResult(wasDone: true, deadline: known) }
                let (sum, isTooLarge) = context.time.addingReportingOverflow(max(0, duration))
                let deadline = isTooLarge ? Int64.max : sum
                messages.asks.insert(RunMessages.Ask(deadline: deadline, recordedAt: context.time), for: ask)
                return OperationResult(deadline: deadline)
            }
        }
    }

    private mutating func announce(
        _ address: RunAddress, _ ask: StepKey, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            run.withMessages { messages in
                guard messages.asks[ask] == nil else { return OperationResult(wasDone: true) }
                messages.asks.insert(RunMessages.Ask(recordedAt: context.time), for: ask)
                return OperationResult()
            }
        }
    }

    private mutating func take(
        _ address: RunAddress, _ ask: StepKey, isDue: Bool, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        guard let box = Mailbox(ask.name) else { throw Refused(.wrongState, "\(ask) is no ask for a message") }
        return try withOwnedRun(address, context) { run throws(Refused) in
            var result = OperationResult()
            if let known = run.messages?.receipt(of: ask) {
                result.wasDone = true
                result.messages = MessageResult(receipt: known)
            } else if let next = run.messages?.next(in: box) {
                run.withMessages { $0.take(next, for: ask, at: context.time) }
                result.messages = MessageResult(receipt: run.messages?.receipt(of: ask))
            } else if isDue {
                guard let deadline = run.messages?.asks[ask]?.deadline, context.time >= deadline else {
                    throw Refused(.notYet, "the time of \(ask) is not over in the group's time")
                }
                run.withMessages { $0.end(ask, with: .timedOut, at: context.time) }
                result.messages = MessageResult(receipt: .timedOut)
            }
            return result
        }
    }

    private mutating func reply(
        _ address: RunAddress, _ message: StepKey, _ content: MessageContent, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let result = try withOwnedRun(address, context) { run throws(Refused) in
            guard let known = run.messages?.messages[message], known.takenAt != nil else {
                throw Refused(.noSuchMessage, "run \(address.runID) has not received \(message)")
            }
            guard known.reply == nil else { return OperationResult(wasDone: true) }
            run.withMessages { messages in
                messages.messages.update(message) { $0.reply = .init(content: content, recordedAt: context.time) }
            }
            return OperationResult()
        }
        // Whoever sent it waits for this.
        if !result.wasDone { changes.told.append(RunKey(context.namespace, address.workflowID)) }
        return result
    }

    private mutating func createAwakeable(
        _ address: RunAddress, _ awakeable: StepKey, secret: [UInt8], _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            run.withMessages { messages in
                if let known = messages.awakeables[awakeable] {
                    return OperationResult(wasDone: true, recordedValue: known.secret)
                }
                messages.awakeables.insert(.init(secret: secret, createdAt: context.time), for: awakeable)
                return OperationResult()
            }
        }
    }
}

extension Run {
    /// Changes what the run was told, in its place. Most runs are told nothing, and have none of it.
    mutating func withMessages<Result>(_ body: (inout RunMessages) -> Result) -> Result {
        // Out and in again: a copy held meanwhile would make the change copy its pieces.
        var own = messages ?? RunMessages()
        messages = nil
        defer { messages = own }
        return body(&own)
    }
}
