import FlotillaActors
import FlotillaIO

// What others tell a run. Any node of the group takes it.

extension WorkflowEngine {
    // MARK: Signals

    /// Sends a signal to a run. When it returns, the signal is durable and will be received once.
    /// - Parameters:
    ///   - value: JSON.
    ///   - sender: whoever sends names itself and numbers its signals to the run from 1: a repetition is no second
    ///     signal.
    /// - Throws: `WorkflowError` with `notFound`; `wrongState` where the run has ended; `mailboxFull`,
    ///   `messageOutOfOrder`, `invalidName`, `invalidInput`, `inputTooLarge`, `overloaded`, `diskFull`, `unavailable`
    ///   or `stopped`; `CancellationError`.
    public func signal(
        _ id: String, name: String, value: [UInt8], from sender: (name: String, number: UInt64)
    ) async throws {
        _ = try await send(Mailbox(.signal, name), to: id, value, sender.name, sender.number)
    }

    // MARK: Updates

    /// Sends an update to a run and waits for the body's answer.
    /// - Parameters:
    ///   - input: JSON.
    ///   - updateID: the same update is carried out once, however often it is sent.
    ///   - timeout: nil waits as long as the run lasts.
    /// - Returns: nil when the time is over; the update stays with the run, and its answer can be had by its id.
    /// - Throws: as `signal`.
    public func update(
        _ id: String, name: String, input: [UInt8], updateID: String, timeout: Duration? = nil
    ) async throws -> UpdateOutcome? {
        let deadline = timeout.map { environment.loop.now.advanced(by: $0) }
        _ = try await send(Mailbox(.update, name), to: id, input, updateID, 1)
        let key = RunKey(defaultNamespace, id)
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            let found = try await namingErrors { [environment] in
                try await environment.withMachine {
                    UpdateLook($0.state.runs[key], Mailbox(.update, name).sender(updateID))
                }
            }
            switch found {
            case .replied(.value(let value)): return .replied(try environment.codec.decode(value))
            case .replied(.failure(let failure)): return .rejected(failure)
            case .unanswered(let status):
                throw WorkflowError(.wrongState, "workflow '\(id)' is \(status), and has not answered '\(updateID)'")
            case .removed: throw notFound(id)
            case .forgotten:
                throw WorkflowError(
                    .wrongState, "'\(updateID)' was sent to a former execution of '\(id)'; its answer is not kept")
            case .waits: break
            }
            let cancelTimer = deadline.map { environment.loop.promise(bell, fulfilledAt: $0, with: ()).cancel }
            defer { cancelTimer?() }
            if let deadline, environment.loop.now >= deadline { return nil }
            try await bell.wait()
            guard !environment.bells.isClosed else {
                throw WorkflowError(.stopped, "\(node) stops; ask another node")
            }
        }
    }

    // MARK: Awakeables

    /// Completes an awakeable; the same again does nothing.
    /// - Parameters:
    ///   - token: as the run gave it.
    ///   - value: JSON; nil rejects it with `reason`.
    /// - Throws: `WorkflowError` with `notFound` for a token that no run has; `alreadyCompleted`; otherwise as
    ///   `signal`.
    public func complete(_ token: String, value: [UInt8]?, reason: String = "") async throws {
        let token = try AwakeableToken(checking: token)
        let content: MessageContent
        if let value {
            content = .value(try messagePayload(value))
        } else {
            content = .failure(WorkflowFailure(WorkflowError(.rejected, reason)))
        }
        _ = try await proposing(
            .complete(token.run, token.awakeable, secret: token.secret, content))
    }

    // MARK: Below

    private func send(
        _ box: Mailbox, to id: String, _ value: [UInt8], _ sender: String, _ number: UInt64
    ) async throws -> OperationResult {
        for (what, name, limit) in [
            ("name", box.name, WorkflowLimits.nameBytesMax),
            ("sender or id", sender, WorkflowLimits.workflowIDBytesMax),
        ] {
            guard !name.isEmpty, name.utf8.count <= limit, !name.hasPrefix("$") else {
                throw WorkflowError(
                    .invalidName, "'\(name)' is not a \(what) of 1 to \(limit) bytes that does not begin with '$'")
            }
        }
        guard number > 0 else { throw WorkflowError(.invalidInput, "a sender's messages are numbered from 1") }
        return try await proposing(
            .send(
                MessageOperation.Sending(
                    workflowID: id, box: box, value: try messagePayload(value), sender: sender, number: number)))
    }

    private func proposing(_ operation: MessageOperation) async throws -> OperationResult {
        try await admitting(operation.payloadBytes) { [environment] in
            do {
                return try environment.result(
                    of: try await environment.client.propose(
                        [WorkflowOperation.message(operation).encoded], ownerEpoch: 0))
            } catch let refused as Refused where refused.code == .conflict || refused.code == .alreadyCompleted {
                guard let same = try await self.repetition(of: operation) else { throw refused }
                return same
            }
        }
    }

    private func messagePayload(_ value: [UInt8]) throws -> [UInt8] {
        try payload(value, limit: WorkflowLimits.messageBytesMax, "the message")
    }
}

/// How an update stands.
private enum UpdateLook: Sendable {
    case waits
    case replied(MessageContent)
    /// The run has ended without an answer.
    case unanswered(WorkflowStatus)
    case removed
    /// By an execution that is over.
    case forgotten

    init(_ run: Run?, _ sender: ByteText) {
        guard let run, let messages = run.messages else {
            self = .removed
            return
        }
        if let reply = messages.answers[sender] {
            self = .replied(reply.content)
            return
        }
        guard let message = messages.senders[sender]?.message else {
            self = messages.senders[sender] == nil ? .removed : .forgotten
            return
        }
        if let reply = messages.messages[message]?.reply {
            self = .replied(reply.content)
        } else {
            self = run.status.isFinished ? .unanswered(run.status) : .waits
        }
    }
}
