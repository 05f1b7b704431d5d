import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaTestSupport
import Testing

@testable import Flotilla

@Suite("Requests between nodes, as they travel")
struct EnvelopeTests {
    private static let requests = [
        RequestEnvelope(name: "list", group: GroupID(17), body: Array("{}".utf8)),
        RequestEnvelope(name: "inspectNode", group: nil, body: []),
    ]

    /// Every kind of reply, with what the public protobuf compiler shows of it.
    private static let replies: [(ReplyEnvelope, String)] = [
        (.value(Array("[1]".utf8)), #"value: "[1]""#),
        (.value([]), #"value: """#),
        (
            .failed(
                RemoteFailure(
                    WorkflowError(.failed, "no", failure: WorkflowFailure(type: "Broken", message: "glass")))),
            #"type: "Broken""#
        ),
        (.failed(RemoteFailure(NodeError(.refused, "not now"))), "kind: KIND_NODE"),
        (.elsewhere(GroupID(0), isMoving: false), "elsewhere: 0"),
        (.elsewhere(GroupID(9), isMoving: true), "moving: 9"),
        (.notHere("gone"), #"not_here: "gone""#), (.unknown(""), #"unknown: """#),
        (.refused(.full, "20 runs"), "code: \(WorkflowRefusal.full.rawValue)"),
    ]

    @Test("what is written is read again")
    func roundTrip() throws {
        for request in Self.requests { #expect(try RequestEnvelope(decoding: request.encoded) == request) }
        for (reply, _) in Self.replies { #expect(try ReplyEnvelope(decoding: reply.encoded) == reply) }
    }

    @Test("the public protoc reads it by the names of the schema", .enabled(if: Protoc.exists))
    func schema() throws {
        let file = "flotilla/v1/node.proto"
        let text = try Protoc.decode(Self.requests[0].encoded, as: "flotilla.v1.node.Request", in: file)
        for line in [#"name: "list""#, "group: 17", #"body: "{}""#] { #expect(text.contains(line), "\(text)") }
        for (reply, line) in Self.replies {
            let text = try Protoc.decode(reply.encoded, as: "flotilla.v1.node.Reply", in: file)
            #expect(text.contains(line), "\(text)")
            // It shows a field that the schema does not know by its number alone.
            #expect(!text.split(separator: "\n").contains { $0.drop { $0 == " " }.first?.isNumber == true }, "\(text)")
        }
    }

    @Test("bytes that are cut anywhere are an error or another envelope, and never a crash")
    func cutBytes() {
        for bytes in Self.requests.map(\.encoded) + Self.replies.map(\.0.encoded) {
            for count in bytes.indices {
                _ = try? RequestEnvelope(decoding: Array(bytes[..<count]))
                _ = try? ReplyEnvelope(decoding: Array(bytes[..<count]))
            }
        }
        #expect(throws: WireError.self) { try ReplyEnvelope(decoding: []) }
    }

    @Test("a newer node's reply of an unknown kind, or with an unknown refusal, is an error that says what to do")
    func newerReplies() throws {
        var writer = ProtobufWriter()
        writer.varint(99, 1)
        do {
            _ = try ReplyEnvelope(decoding: writer.bytes)
            Issue.record("a reply was made of nothing")
        } catch {
            #expect("\(error)".contains("upgrade"))
        }
        writer = ProtobufWriter()
        writer.message(6) { $0.varint(1, 9_999) }
        guard case .failed(let failure) = try ReplyEnvelope(decoding: writer.bytes) else {
            return #expect(Bool(false), "an unknown refusal was taken for a known one")
        }
        #expect((failure.error as? WorkflowError)?.code == .unexpectedAnswer)
    }
}
