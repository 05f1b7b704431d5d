public import FlotillaIO
import FlotillaRaft

/// The encoding of `Command` in an entry's payload: `flotilla.v1.Command` in Protos/commands.proto.
///
/// A field that this version does not know is an error: replicas that skipped it would diverge from those that did not.
extension Command {
    /// No command may be larger, so that one always fits a frame and an append message.
    public static let sizeLimit = 8 << 20

    public func encoded() -> [UInt8] {
        var writer = ProtobufWriter(reservingCapacity: 96 + operations.reduce(0) { $0 + $1.body.count + 16 })
        writer.varint(1, UInt64(kind.rawValue))
        writer.varint(2, UInt64(featureLevel))
        writer.string(3, namespace)
        writer.message(4) { writer in
            writer.varint(1, request.client.replica.rawValue)
            writer.varint(2, request.client.boot)
            writer.varint(3, request.sequence)
            writer.varint(4, request.acknowledgedBelow)
        }
        writer.signed(5, timestamp)
        writer.varint(6, ownerEpoch)
        writer.string(7, principal)
        writer.string(8, traceContext)
        for operation in operations {
            writer.message(9) { writer in
                writer.varint(1, UInt64(operation.type))
                writer.varint(2, UInt64(operation.version))
                writer.bytes(3, operation.body)
            }
        }
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(WireError) {
        self.init(
            kind: GroupKind(0), featureLevel: 0, namespace: "",
            request: RequestID(client: .init(replica: ReplicaID(0), boot: 0), sequence: 0, acknowledgedBelow: 0),
            timestamp: 0, operations: [])
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            switch field {
            case 1: kind = GroupKind(try reader.uint32())
            case 2: featureLevel = try reader.uint32()
            case 3: namespace = try reader.string()
            case 4:
                var inner = try reader.message()
                request = try RequestID(decoding: &inner)
            case 5: timestamp = try reader.signed()
            case 6: ownerEpoch = try reader.varint()
            case 7: principal = try reader.string()
            case 8: traceContext = try reader.string()
            case 9:
                var inner = try reader.message()
                operations.append(try Operation(decoding: &inner))
            default: throw reader.unknownField(in: "a command")
            }
        }
    }
}

extension RequestID {
    fileprivate init(decoding reader: inout ProtobufReader) throws(WireError) {
        self.init(client: Client(replica: ReplicaID(0), boot: 0), sequence: 0, acknowledgedBelow: 0)
        while let field = try reader.next() {
            switch field {
            case 1: client.replica = ReplicaID(try reader.varint())
            case 2: client.boot = try reader.varint()
            case 3: sequence = try reader.varint()
            case 4: acknowledgedBelow = try reader.varint()
            default: throw reader.unknownField(in: "a request id")
            }
        }
    }
}

extension Operation {
    fileprivate init(decoding reader: inout ProtobufReader) throws(WireError) {
        self.init(type: 0, version: 0, body: [])
        while let field = try reader.next() {
            switch field {
            case 1: type = try reader.uint32()
            case 2: version = try reader.uint32()
            case 3: body = try reader.bytes()
            default: throw reader.unknownField(in: "an operation")
            }
        }
    }
}
