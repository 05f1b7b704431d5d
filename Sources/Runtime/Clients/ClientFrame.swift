import FlotillaIO

/// What one frame between a client and a node holds: `flotilla.v1.client.Frame` in Protos/client.proto.
struct ClientFrame: Hashable, Sendable {
    var hello: ClientHello?
    var requests: [ClientRequest] = []
    var answers: [ClientAnswer] = []

    /// A frame takes no more once it is so long, in bytes.
    static let target = 1 << 20
    /// Of a request or an answer; leaves room for what stands around it.
    static let bodyBytesMax = FrameCodec.payloadBytesMax - target - 1_024
    /// How often a side says something that has nothing to say.
    static let pingInterval: Duration = .seconds(3)

    var isEmpty: Bool { hello == nil && requests.isEmpty && answers.isEmpty }
}

/// The first thing that both sides say.
struct ClientHello: Hashable, Sendable {
    static let currentProtocol: UInt32 = 1

    var protocolMin = currentProtocol
    var protocolMax = currentProtocol
    var node: UInt64 = 0
    var cluster: UInt64 = 0
    /// Why the node closes the connection.
    var refusal = ""

    /// Why the two cannot talk; nil if they can.
    var objection: String? {
        if !refusal.isEmpty { return refusal }
        guard protocolMin > Self.currentProtocol || protocolMax < Self.currentProtocol else { return nil }
        return
            "one side speaks client protocol \(Self.currentProtocol) and the other \(protocolMin) to \(protocolMax): "
            + "upgrade the older one"
    }
}

struct ClientRequest: Hashable, Sendable {
    var number: UInt64
    var name: String
    var body: [UInt8]
}

struct ClientAnswer: Hashable, Sendable {
    enum Content: Hashable, Sendable {
        case value([UInt8])
        case failed(RemoteFailure)
    }
    var number: UInt64
    var content: Content
}

// MARK: Bytes

extension ClientFrame {
    var encoded: [UInt8] {
        var writer = ProtobufWriter(reservingCapacity: 256 * (1 + requests.count + answers.count))
        if let hello {
            writer.message(1) { writer in
                writer.varint(1, UInt64(hello.protocolMin))
                writer.varint(2, UInt64(hello.protocolMax))
                writer.varint(3, hello.node)
                writer.varint(4, hello.cluster)
                writer.string(5, hello.refusal)
            }
        }
        for request in requests {
            writer.message(2) { writer in
                writer.varint(1, request.number)
                writer.string(2, request.name)
                writer.bytes(3, request.body)
            }
        }
        for answer in answers {
            writer.message(3) { writer in
                writer.varint(1, answer.number)
                switch answer.content {
                case .value(let bytes): writer.bytesAlways(2, bytes)
                case .failed(let failure): writer.message(3) { failure.write(to: &$0) }
                }
            }
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                hello = try ClientHello(from: &inner)
            case 2:
                var inner = try reader.message()
                requests.append(try ClientRequest(from: &inner))
            case 3:
                var inner = try reader.message()
                answers.append(try ClientAnswer(from: &inner))
            default: try reader.skip()
            }
        }
    }
}

extension ClientHello {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(protocolMin: 0, protocolMax: 0)
        while let field = try reader.next() {
            switch field {
            case 1: protocolMin = try reader.uint32()
            case 2: protocolMax = try reader.uint32()
            case 3: node = try reader.varint()
            case 4: cluster = try reader.varint()
            case 5: refusal = try reader.string()
            default: try reader.skip()
            }
        }
    }
}

extension ClientRequest {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        self.init(number: 0, name: "", body: [])
        while let field = try reader.next() {
            switch field {
            case 1: number = try reader.varint()
            case 2: name = try reader.string()
            case 3: body = try reader.bytes()
            default: try reader.skip()
            }
        }
    }
}

extension ClientAnswer {
    fileprivate init(from reader: inout ProtobufReader) throws(WireError) {
        var known: Content?
        number = 0
        while let field = try reader.next() {
            switch field {
            case 1: number = try reader.varint()
            case 2: known = .value(try reader.bytes())
            case 3:
                var inner = try reader.message()
                known = .failed(try RemoteFailure(from: &inner))
            default: try reader.skip()
            }
        }
        guard let known else {
            throw WireError(.invalidValue, "answer \(number) says nothing that this version knows; upgrade this client")
        }
        content = known
    }
}
