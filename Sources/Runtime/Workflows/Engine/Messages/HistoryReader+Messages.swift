import FlotillaActors

extension HistoryReader {
    /// What the run was told, what it received of that, and what it answered.
    func collectMessages(_ page: inout SortedPage) {
        guard let messages = run.messages else { return }
        messages.messages.visit { key, message in
            guard let box = Mailbox(key.name) else { return }
            page.add(EventPosition(time: message.sentAt, kind: .message, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: message.sentAt,
                    bytes: message.content.value?.count ?? 0,
                    detail: .message(box.kind, sender: message.sender, failure: message.content.failure))
            }
            guard let reply = message.reply else { return }
            page.add(EventPosition(time: reply.recordedAt, kind: .reply, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: reply.recordedAt,
                    bytes: reply.content.value?.count ?? 0, detail: .reply(failure: reply.content.failure))
            }
        }
        messages.asks.visit { key, ask in
            guard let outcome = ask.outcome, let box = Mailbox(key.name) else { return }
            page.add(EventPosition(time: ask.recordedAt, kind: .receipt, key: key)) {
                var number: UInt64?
                if case .message(let received) = outcome { number = received }
                return WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: ask.recordedAt, bytes: 0,
                    detail: .receipt(box.kind, message: number))
            }
        }
        messages.awakeables.visit { key, awakeable in
            page.add(EventPosition(time: awakeable.createdAt, kind: .awakeable, key: key)) {
                WorkflowEvent(
                    name: key.name.text, occurrence: key.occurrence, recordedAt: awakeable.createdAt, bytes: 0,
                    detail: .awakeable)
            }
        }
    }
}
