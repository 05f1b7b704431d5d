import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Something that one node asks of another. Bodies and replies are JSON, in which readers skip what they do not know, so
/// that nodes of two versions can work together.
protocol RemoteRequest: Codable, Sendable {
    associatedtype Reply: Codable & Sendable
    /// What it is called on the wire, for ever.
    static var name: String { get }
    /// How long the answer may take, beside what it takes to travel.
    var patience: Duration { get }
}

extension RemoteRequest {
    var patience: Duration { .seconds(10) }
}

/// A request about one run, or about the runs of one group: any member of the group answers.
protocol RunRequest: RemoteRequest {
    /// It may be sent again when nobody knows whether it was done.
    static var isRepeatable: Bool { get }
    /// It names something that a run has, and that may be missing although the run is there.
    static var namesPart: Bool { get }
    /// The workflow id that it is about; nil where it is about the group's runs.
    var subject: String? { get }
    func perform(on engine: WorkflowEngine) async throws -> Reply
}

extension RunRequest {
    static var isRepeatable: Bool { true }
    static var namesPart: Bool { false }
}

/// A request of one node, whatever it hosts.
protocol NodeLevelRequest: RemoteRequest {
    func perform(on services: NodeServices) async throws -> Reply
}

/// A request as it travels: `flotilla.v1.node.Request` in Protos/node.proto.
struct RequestEnvelope: Hashable {
    var name: String
    /// Whose members may answer; nil for a request of the node itself.
    var group: GroupID?
    var body: [UInt8]

    init(name: String, group: GroupID?, body: [UInt8]) {
        (self.name, self.group, self.body) = (name, group, body)
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, name)
        writer.varint(2, group?.rawValue ?? 0)
        writer.bytes(3, body)
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        self.init(name: "", group: nil, body: [])
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: name = try reader.string()
            case 2:
                let number = try reader.varint()
                group = number == 0 ? nil : GroupID(number)
            case 3: body = try reader.bytes()
            default: try reader.skip()
            }
        }
    }
}

/// An answer as it travels: `flotilla.v1.node.Reply`.
enum ReplyEnvelope: Hashable {
    /// The reply in JSON.
    case value([UInt8])
    case failed(RemoteFailure)
    /// The run is in another group, or on its way there.
    case elsewhere(GroupID, isMoving: Bool)
    /// This node has no replica of the group that could answer.
    case notHere(String)
    /// The group knows nothing of the run, and would not have to.
    case unknown(String)
    case refused(WorkflowRefusal, String)

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        switch self {
        case .value(let bytes): writer.bytesAlways(1, bytes)
        case .failed(let failure): writer.message(2) { failure.write(to: &$0) }
        case .elsewhere(let group, let isMoving): writer.varintAlways(isMoving ? 7 : 3, group.rawValue)
        case .notHere(let reason): writer.stringAlways(4, reason)
        case .unknown(let reason): writer.stringAlways(5, reason)
        case .refused(let code, let reason):
            writer.message(6) { writer in
                writer.varint(1, UInt64(code.rawValue))
                writer.string(2, reason)
            }
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1:
                self = .value(try reader.bytes())
                return
            case 2:
                var inner = try reader.message()
                self = .failed(try RemoteFailure(from: &inner))
                return
            case 3, 7:
                self = .elsewhere(GroupID(try reader.varint()), isMoving: field == 7)
                return
            case 4:
                self = .notHere(try reader.string())
                return
            case 5:
                self = .unknown(try reader.string())
                return
            case 6:
                var inner = try reader.message()
                self = try Self.refusal(from: &inner)
                return
            default: try reader.skip()
            }
        }
        throw WireError(.invalidValue, "a reply says nothing that this version knows; upgrade this node")
    }
}

extension ReplyEnvelope {
    private static func refusal(from reader: inout ProtobufReader) throws(WireError) -> ReplyEnvelope {
        var (code, reason) = (UInt32(0), "")
        while let field = try reader.next() {
            switch field {
            case 1: code = try reader.uint32()
            case 2: reason = try reader.string()
            default: try reader.skip()
            }
        }
        guard let code = WorkflowRefusal(rawValue: code) else {
            return .failed(
                RemoteFailure(WorkflowError(.unexpectedAnswer, "refused for a reason of a newer version: \(reason)")))
        }
        return .refused(code, reason)
    }
}

/// An error of another node, as much of it as travels.
struct RemoteFailure: Hashable {
    enum Kind: UInt64 {
        case workflow = 1
        case node = 2
    }
    var kind: Kind
    var code: String
    var message: String
    var failure: WorkflowFailure?

    /// What a request failed with. Errors that are none of the public ones are this node's fault.
    init(_ error: any Error) {
        switch error {
        case let error as WorkflowError:
            (kind, code, message, failure) = (.workflow, error.code.rawValue, error.message, error.failure)
        case let error as NodeError:
            (kind, code, message) = (.node, "\(error.code)", error.message)
        case let error as GroupError:
            let code: WorkflowError.Code =
                switch error.code {
                case .overloaded: .overloaded
                case .diskFull: .diskFull
                case .tooLarge: .inputTooLarge
                case .timedOut: .unavailable
                case .stopped, .unknownGroup: .stopped
                }
            (kind, self.code, message) = (.workflow, code.rawValue, error.message)
        case is CancellationError:
            (kind, code, message) = (.workflow, WorkflowError.Code.stopped.rawValue, "the node stops")
        default:
            (kind, code) = (.workflow, WorkflowError.Code.unexpectedAnswer.rawValue)
            message = "\(error)"
        }
    }

    var error: any Error {
        switch kind {
        case .workflow:
            let code = WorkflowError.Code(rawValue: code) ?? .unexpectedAnswer
            return WorkflowError(code, message, failure: failure)
        case .node: return NodeError(NodeError.Code(rawValue: code) ?? .stopped, message)
        }
    }

    func write(to writer: inout ProtobufWriter) {
        writer.varint(1, kind.rawValue)
        writer.string(2, code)
        writer.string(3, message)
        if let failure {
            writer.message(4) { writer in
                writer.string(1, failure.type)
                writer.string(2, failure.message)
            }
        }
    }

    init(from reader: inout ProtobufReader) throws(WireError) {
        (kind, code, message) = (.workflow, "", "")
        while let field = try reader.next() {
            switch field {
            case 1: kind = Kind(rawValue: try reader.varint()) ?? .workflow
            case 2: code = try reader.string()
            case 3: message = try reader.string()
            case 4:
                var inner = try reader.message()
                var known = WorkflowFailure(type: "", message: "")
                while let field = try inner.next() {
                    switch field {
                    case 1: known.type = try inner.string()
                    case 2: known.message = try inner.string()
                    default: try inner.skip()
                    }
                }
                failure = known
            default: try reader.skip()
            }
        }
    }
}
