import FlotillaActors
import FlotillaIO

// What clients send as it is recorded. The state machine compares bytes; where the codec has changed since the first
// time, or a key has, the same value has other ones, and what it says is compared here.

extension WorkflowEngine {
    /// - Parameter bytes: JSON, or what a run's body has encoded before.
    /// - Throws: `WorkflowError` with `inputTooLarge`, `invalidInput` or `unencodable`.
    func payload(_ bytes: [UInt8], limit: Int, _ what: String) throws -> [UInt8] {
        let isEncoded = PayloadCoding.isEncoded(bytes)
        guard bytes.count <= limit + (isEncoded ? PayloadCoding.overheadMax : 0) else {
            throw WorkflowError(.inputTooLarge, "\(what) takes \(bytes.count) bytes, the limit is \(limit)")
        }
        guard !isEncoded else { return bytes }
        let canonical: [UInt8]
        do throws(JSONError) {
            canonical = try JSONCoding.canonical(bytes)
        } catch {
            throw WorkflowError(.invalidInput, "\(what) is not JSON: \(error.message)")
        }
        return try environment.codec.encode(canonical)
    }

    /// Behind a conflict.
    /// - Returns: nil unless the run of the id was started with the same.
    func repetition(of start: WorkflowOperation.StartRun) async throws -> OperationResult? {
        let key = RunKey(defaultNamespace, start.workflowID)
        let found = try await environment.withMachine { $0.state.runs[key] }
        guard let run = found, run.origin == nil, run.type == start.type, run.contentType == start.contentType,
            run.ties?.parent == start.parent, says(run.input, as: start.input)
        else { return nil }
        return OperationResult(wasDone: true, runID: run.runID)
    }

    /// Behind a conflict.
    /// - Returns: nil unless the run was told the same before.
    func repetition(of operation: MessageOperation) async throws -> OperationResult? {
        let key: RunKey
        let find: @Sendable (RunMessages) -> StepKey?
        let value: [UInt8]
        switch operation {
        case .send(let sending):
            key = RunKey(defaultNamespace, sending.workflowID)
            find = { messages in
                let last = messages.senders[sending.box.sender(sending.sender)]
                return last.flatMap { $0.number == sending.number ? $0.message : nil }
            }
            value = sending.value
        case .complete(let run, let awakeable, _, .value(let completed)):
            key = RunKey(defaultNamespace, run.workflowID)
            find = { _ in StepKey(Mailbox(awakeable: awakeable).text.text, 0) }
            value = completed
        case .complete, .limit, .take, .reply, .createAwakeable, .announce: return nil
        }
        let found = try await environment.withMachine { machine -> (key: StepKey, content: MessageContent)? in
            guard let messages = machine.state.runs[key]?.messages, let place = find(messages) else { return nil }
            return messages.messages[place].map { (place, $0.content) }
        }
        guard let found, let recorded = found.content.value, says(recorded, as: value) else { return nil }
        if case .send(let sending) = operation, found.key.name != sending.box.text { return nil }
        var result = OperationResult(wasDone: true)
        result.messages = MessageResult(message: found.key)
        return result
    }

    private func says(_ recorded: [UInt8], as payload: [UInt8]) -> Bool {
        guard let plain = try? environment.codec.decode(payload) else { return false }
        return (try? environment.codec.decode(recorded)) == plain
    }
}
