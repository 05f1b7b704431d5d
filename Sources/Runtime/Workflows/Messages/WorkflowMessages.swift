import FlotillaActors
import FlotillaIO

/// A value that is told to a running workflow: made once, and used by the body and by those who send it.
///
/// ```swift
/// let approval = WorkflowSignal<Approval>("approval")
/// let decision = try await context.receive(approval)                                   // in the body
/// try await node.signal("order-17", approval, Approval(by: "ann"))                      // from outside
/// ```
public struct WorkflowSignal<Value: Codable & Sendable>: Sendable {
    /// The signal's name.
    public let name: String

    /// - Parameter name: 1 to `WorkflowLimits.nameBytesMax` bytes that do not begin with "$".
    public init(_ name: String) {
        preconditionIsName(name)
        self.name = name
    }
}

/// A request to a running workflow that its body checks, carries out and answers; once for each id.
public struct WorkflowUpdate<Input: Codable & Sendable, Output: Codable & Sendable>: Sendable {
    /// The update's name.
    public let name: String

    /// - Parameter name: as a signal's.
    public init(_ name: String) {
        preconditionIsName(name)
        self.name = name
    }
}

func preconditionIsName(_ name: String) {
    precondition(
        !name.isEmpty && name.utf8.count <= WorkflowLimits.nameBytesMax && !name.hasPrefix("$"),
        "'\(name)' is not a name of 1 to \(WorkflowLimits.nameBytesMax) bytes that does not begin with '$'")
}

extension WorkflowContext {
    // MARK: Signals

    /// Waits for the next signal of a name. Each is received once, in the order in which they were acknowledged; those
    /// that came before the body asked are kept for it. Recorded.
    ///
    /// What does not decode as `Value` is left out, and named in the log.
    /// - Throws: `WorkflowError` with `duplicateStep` where two branches wait for one name, and once with `cancelled`;
    ///   `CancellationError`.
    public func receive<Value>(_ signal: WorkflowSignal<Value>) async throws -> Value {
        while true {
            if let value = try await next(signal, within: nil)?.value { return value }
        }
    }

    /// The same within a time, which goes on across changes of the owner.
    /// - Returns: nil when it is over.
    public func receive<Value>(
        _ signal: WorkflowSignal<Value>, within limit: Duration
    ) async throws -> Value? {
        while let received = try await next(signal, within: limit) {
            if let value = received.value { return value }
        }
        return nil
    }

    /// The signals of a name, one after the other, for ever.
    public func signals<Value>(_ signal: WorkflowSignal<Value>) -> WorkflowSignals<Value> {
        WorkflowSignals(context: self, signal: signal)
    }

    /// - Returns: nil when the time is over; without a value where it does not decode.
    private func next<Value>(
        _ signal: WorkflowSignal<Value>, within limit: Duration?
    ) async throws -> (value: Value?, sender: String)? {
        let receipt = try await execution.receive(Mailbox(.signal, signal.name), within: limit)
        guard case .message(let number, .value(let bytes), let sender) = receipt else { return nil }
        do {
            return (try JSONCoding.decode(Value.self, from: bytes), sender)
        } catch {
            execution.environment.logger.log(
                .error,
                "signal '\(signal.name)' \(number) of '\(sender)' is no \(Value.self) and is left out: \(error)",
                execution.metadata)
            return (nil, sender)
        }
    }

    // MARK: Updates

    /// Waits for the next update of a name, which the body answers with `reply` or `reject`. Recorded. One whose input
    /// does not decode is rejected.
    /// - Throws: as `receive` of a signal.
    public func receive<Input, Output>(
        _ update: WorkflowUpdate<Input, Output>
    ) async throws -> UpdateRequest<Input, Output> {
        let box = Mailbox(.update, update.name)
        while true {
            guard case .message(let number, .value(let bytes), let id) = try await execution.receive(box) else {
                continue
            }
            let message = StepKey(box.text.text, number)
            do {
                let input = try JSONCoding.decode(Input.self, from: bytes)
                return UpdateRequest(input: input, id: id, message: message, execution: execution)
            } catch {
                let failure = WorkflowFailure(
                    WorkflowError(.undecodableInput, "update '\(update.name)' takes a \(Input.self): \(error)"))
                try await execution.reply(to: message, .failure(failure))
            }
        }
    }

    // MARK: Awakeables

    /// Something that an outside system completes: give it `token`, and wait for `value()`. Recorded.
    /// - Parameter name: the second of a name is its second occurrence.
    public func awakeable<Value: Codable & Sendable>(
        _ name: String, as type: Value.Type = Value.self
    ) async throws -> Awakeable<Value> {
        let (key, token) = try await execution.createAwakeable(name)
        return Awakeable(token: token, key: key, execution: execution)
    }
}

/// The signals of a name, as a sequence without an end.
public struct WorkflowSignals<Value: Codable & Sendable>: AsyncSequence, Sendable {
    let context: WorkflowContext
    let signal: WorkflowSignal<Value>

    public struct AsyncIterator: AsyncIteratorProtocol {
        let context: WorkflowContext
        let signal: WorkflowSignal<Value>

        public mutating func next() async throws -> Value? { try await context.receive(signal) }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(context: context, signal: signal) }
}

/// An update that a body has received and has to answer. The first answer stands, and is what every request with its id
/// gets.
public struct UpdateRequest<Input: Codable & Sendable, Output: Codable & Sendable>: Sendable {
    /// What was asked.
    public let input: Input
    /// What tells it from others: the sender's choice.
    public let id: String
    let message: StepKey
    let execution: RunExecution

    /// - Throws: `WorkflowError` with `resultTooLarge` or `unencodable`; `CancellationError`.
    public func reply(_ output: Output) async throws {
        try await execution.reply(to: message, .value(try encodeMessage(output, "the answer to update '\(id)'")))
    }

    /// Says no: whoever sent it gets `WorkflowError.Code.rejected`.
    public func reject(_ reason: String) async throws {
        let failure = WorkflowFailure(WorkflowError(.rejected, reason))
        try await execution.reply(to: message, .failure(failure))
    }
}

/// Something that an outside system completes, once: by `POST /v1/awakeables/{token}` or `Node.resolve`.
public struct Awakeable<Value: Codable & Sendable>: Sendable {
    /// Names the run; nobody can guess it. Letters, digits, "-" and "_".
    public let token: String
    let key: StepKey
    let execution: RunExecution

    /// Waits until it is completed.
    /// - Throws: `WorkflowError` with `rejected` where the outside system said no, `undecodableResult`, and once with
    ///   `cancelled`; `CancellationError`.
    public func value() async throws -> Value {
        guard let value = try await value(of: try await execution.receive(Mailbox(awakeable: key))) else {
            preconditionFailure("a wait without a limit for \(key) came to its limit")
        }
        return value
    }

    /// The same within a time, which goes on across changes of the owner.
    /// - Returns: nil when it is over.
    public func value(within limit: Duration) async throws -> Value? {
        try await value(of: try await execution.receive(Mailbox(awakeable: key), within: limit))
    }

    private func value(of receipt: MessageReceipt) async throws -> Value? {
        switch receipt {
        case .timedOut: return nil
        case .message(_, .failure(let failure), _):
            throw WorkflowError(.rejected, "awakeable '\(key.name)' was rejected: \(failure)", failure: failure)
        case .message(_, .value(let bytes), _): return try execution.decode(bytes, "awakeable '\(key.name)'")
        }
    }
}

/// A message's JSON.
/// - Throws: `WorkflowError` with `unencodable`, or `resultTooLarge` above `WorkflowLimits.messageBytesMax`.
func encodeMessage<Value: Encodable>(_ value: Value, _ what: @autoclosure () -> String) throws -> [UInt8] {
    let bytes = try encodeValue(value, what())
    guard bytes.count <= WorkflowLimits.messageBytesMax else {
        throw WorkflowError(
            .resultTooLarge, "\(what()) takes \(bytes.count) bytes, the limit is \(WorkflowLimits.messageBytesMax)")
    }
    return bytes
}
