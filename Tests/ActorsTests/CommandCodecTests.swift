import FlotillaIO
import FlotillaRaft
import FlotillaTestSupport
import Testing

@testable import FlotillaActors

@Suite struct CommandCodecTests {
    static let command = Command(
        kind: .workflow,
        request: RequestID(client: .init(replica: ReplicaID(3), boot: 2), sequence: 300, acknowledgedBelow: 299),
        timestamp: -5, ownerEpoch: 7, principal: "p", traceContext: "00-1-2-01",
        operations: [Operation(type: 2, version: 1, body: [8, 1]), Operation(type: 3, version: 1, body: [])])

    @Test("a command survives its encoding, field by field")
    func roundTrip() throws {
        #expect(try Command(decoding: Self.command.encoded()) == Self.command)
    }

    @Test("the public protoc reads a command by the published file", .enabled(if: Protoc.exists))
    func protoc() throws {
        let text = try Protoc.decode(
            Self.command.encoded(), as: "flotilla.v1.Command", in: "flotilla/v1/commands.proto")
        for expected in [
            "kind: 2", "namespace: \"default\"", "sequence: 300", "timestamp: -5", "owner_epoch: 7", "type: 3",
        ] {
            #expect(text.contains(expected), "\(expected) is missing from:\n\(text)")
        }
    }

    @Test(
        "TT-12: a field of a command that this version does not know is an error, at every level; it is never skipped")
    func unknownFields() throws {
        var outer = ProtobufWriter()
        outer.varint(99, 1)
        var request = ProtobufWriter()
        request.message(4) { $0.varint(99, 1) }
        var operation = ProtobufWriter()
        operation.message(9) { $0.varint(99, 1) }
        for bytes in [outer.bytes, request.bytes, operation.bytes] {
            let error = #expect(throws: WireError.self) { try Command(decoding: Self.command.encoded() + bytes) }
            #expect(error?.code == .unknownField)
        }
    }
}
