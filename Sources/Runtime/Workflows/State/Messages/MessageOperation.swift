import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a workflow group does about messages to its runs; see workflow.proto. Their numbers begin at 64.
enum MessageOperation: Hashable, Sendable {
    /// From outside.
    case send(Sending)
    /// Under the run's epoch, as the next three. Gives an ask a time limit, in nanoseconds from the group's time.
    case limit(RunAddress, ask: StepKey, Int64)
    /// Hands an ask the next message of its mailbox, if there is one, or else, where `isDue` says so, ends it.
    case take(RunAddress, ask: StepKey, isDue: Bool)
    /// Answers an update.
    case reply(RunAddress, StepKey, MessageContent)
    case createAwakeable(RunAddress, StepKey, secret: [UInt8])
    /// From outside.
    case complete(RunAddress, StepKey, secret: [UInt8], MessageContent)
    /// Under the run's epoch: says that an ask waits, where it has no time limit that would say so.
    case announce(RunAddress, ask: StepKey)

    struct Sending: Hashable, Sendable {
        var workflowID: String
        /// Nil for whichever run has the workflow id.
        var runID: RunID?
        var box: Mailbox
        var value: [UInt8]
        var sender: String
        /// Counts the sender's messages to the run, from 1.
        var number: UInt64
    }

    /// As `WorkflowOperation.workflowID`.
    var workflowID: String {
        switch self {
        case .send(let sending): sending.workflowID
        case .limit(let run, _, _), .take(let run, _, _), .reply(let run, _, _), .createAwakeable(let run, _, _),
            .complete(let run, _, _, _), .announce(let run, _):
            run.workflowID
        }
    }
}

extension MessageOperation {
    /// Of what a client brings.
    var payloadBytes: Int {
        switch self {
        case .send(let sending): sending.value.count
        case .complete(_, _, _, let content): content.byteCount
        case .limit, .take, .reply, .createAwakeable, .announce: 0
        }
    }
}

// MARK: Encoding

extension MessageOperation {
    private enum Number: UInt32 {
        case send = 64
        case limit, take, reply, createAwakeable, complete, announce
    }

    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        let number: Number
        switch self {
        case .send(let sending):
            number = .send
            writer.string(1, sending.workflowID)
            if let runID = sending.runID { writer.bytes(2, runID.bytes) }
            writer.string(3, sending.box.text.text)
            writer.bytes(5, sending.value)
            writer.string(7, sending.sender)
            writer.varint(8, sending.number)
        case .limit(let run, let ask, let duration):
            number = .limit
            writer.write(run, ask)
            writer.signed(9, duration)
        case .take(let run, let ask, let isDue):
            number = .take
            writer.write(run, ask)
            writer.bool(10, isDue)
        case .reply(let run, let message, let content):
            number = .reply
            writer.write(run, message)
            content.write(to: &writer)
        case .createAwakeable(let run, let key, let secret):
            number = .createAwakeable
            writer.write(run, key)
            writer.bytes(11, secret)
        case .complete(let run, let key, let secret, let content):
            number = .complete
            writer.write(run, key)
            content.write(to: &writer)
            writer.bytes(11, secret)
        case .announce(let run, let ask):
            number = .announce
            writer.write(run, ask)
        }
        return Operation(type: number.rawValue, version: Self.version, body: writer.bytes)
    }

    /// - Returns: nil if it is another operation of a workflow group.
    /// - Throws: as `WorkflowOperation.init`.
    init?(_ operation: Operation) throws(ApplyError) {
        guard let number = Number(rawValue: operation.type) else { return nil }
        guard operation.version == Self.version else {
            throw ApplyError(
                .unknownVersion, "version \(operation.version) of '\(number)' is unknown; upgrade this node")
        }
        do throws(WireError) {
            self = try Self.read(number, ProtobufReader(operation.body))
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation '\(number)': \(error.message)"
            )
        }
    }

    /// A field means the same in all of them.
    private static func read(
        _ number: Number, _ body: consuming ProtobufReader
    ) throws(WireError) -> MessageOperation {
        var reader = body
        var (workflowID, name, sender) = ("", "", "")
        var runID: RunID?
        var (occurrence, count, duration, isDue) = (UInt64(0), UInt64(0), Int64(0), false)
        var content = MessageContent.value([])
        var secret: [UInt8] = []
        while let field = try reader.next() {
            switch field {
            case 1: workflowID = try reader.string()
            case 2: runID = RunID(bytes: try reader.bytes())
            case 3: name = try reader.string()
            case 4: occurrence = try reader.varint()
            case 5, 6: content = try MessageContent(field, from: &reader)
            case 7: sender = try reader.string()
            case 8: count = try reader.varint()
            case 9: duration = try reader.signed()
            case 10: isDue = try reader.bool()
            case 11: secret = try reader.bytes()
            default: throw reader.unknownField(in: "\(number)")
            }
        }
        if number == .send {
            guard let box = Mailbox(ByteText(name)), case .value(let value) = content else {
                throw WireError(.invalidValue, "'\(name)' is no mailbox that this version knows, or it gets no value")
            }
            return .send(
                Sending(
                    workflowID: workflowID, runID: runID, box: box, value: value, sender: sender, number: count))
        }
        guard let runID else { throw WireError(.invalidValue, "the run id is not 16 bytes") }
        let (run, key) = (RunAddress(workflowID: workflowID, runID: runID), StepKey(name, occurrence))
        switch number {
        case .limit: return .limit(run, ask: key, duration)
        case .take: return .take(run, ask: key, isDue: isDue)
        case .reply: return .reply(run, key, content)
        case .createAwakeable: return .createAwakeable(run, key, secret: secret)
        case .announce: return .announce(run, ask: key)
        case .complete, .send: return .complete(run, key, secret: secret, content)
        }
    }
}

extension MessageContent {
    func write(to writer: inout ProtobufWriter) {
        switch self {
        case .value(let value): writer.bytesAlways(5, value)
        case .failure(let failure): writer.message(6) { failure.write(to: &$0) }
        }
    }
}
