import FlotillaActors

extension Run {
    /// Puts back what a history tells of messages, in the order of time.
    /// - Throws: `WorkflowError` with `invalidInput` where something before it is missing.
    mutating func restoreMessages(_ event: WorkflowEvent) throws {
        let key = StepKey(event.name, event.occurrence)
        let isSound = withMessages { $0.restore(event, key) }
        guard isSound else {
            throw WorkflowError(.invalidInput, "the history lacks what comes before \(event.kind) \(key)")
        }
    }
}

extension RunMessages {
    /// - Returns: whether it fits to what was there.
    fileprivate mutating func restore(_ event: WorkflowEvent, _ key: StepKey) -> Bool {
        switch event.detail {
        case .message(_, let sender, let failure):
            guard let box = Mailbox(key.name), boxes[key.name]?.count ?? 0 == event.occurrence else { return false }
            let content = failure.map(MessageContent.failure) ?? .value(event.value ?? [])
            _ = add(Message(content: content, sender: sender, sentAt: event.recordedAt), to: box)
        case .receipt(_, nil): end(key, with: .timedOut, at: event.recordedAt)
        case .receipt(_, let number?):
            guard messages[StepKey(event.name, number)] != nil else { return false }
            take(number, for: key, at: event.recordedAt)
        case .reply(let failure):
            let content = failure.map(MessageContent.failure) ?? .value(event.value ?? [])
            return messages.update(key) { $0.reply = Reply(content: content, recordedAt: event.recordedAt) } != nil
        case .awakeable:
            // What it is known by outside is no part of a history.
            awakeables.insert(Awakeable(secret: [], createdAt: event.recordedAt), for: key)
        case .step, .failedStep, .sleep, .checkpoint: return false
        }
        return true
    }
}
