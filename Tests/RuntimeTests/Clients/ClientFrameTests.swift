import FlotillaIO
import FlotillaTestSupport
import Testing

@testable import Flotilla

@Suite("What clients and nodes say, as it travels")
struct ClientFrameTests {
    private static let frame = ClientFrame(
        hello: ClientHello(node: 3, cluster: 0xF107),
        requests: [
            ClientRequest(number: 1, name: "start", body: [1, 2]), ClientRequest(number: 2, name: "", body: []),
        ],
        answers: [
            ClientAnswer(number: 7, content: .value([])),
            ClientAnswer(number: 8, content: .failed(RemoteFailure(WorkflowError(.conflict, "another input")))),
        ])

    private static let start = ClientStart(
        type: "order", version: 2, id: "order-17", input: Array("{}".utf8),
        attributes: ["customer": "acme", "zone": ""])

    /// Every way in which a run ends, with what the public protobuf compiler shows of it.
    private static let outcomes: [(WorkflowOutcome?, String)] = [
        (nil, ""), (.completed([]), #"completed: """#),
        (.failed(WorkflowFailure(type: "Broken", message: "glass")), #"type: "Broken""#),
        (.cancelled(reason: ""), #"cancelled: """#), (.terminated(reason: "late"), #"terminated: "late""#),
        (.continued, "continued: true"),
    ]

    @Test("what is written is read again")
    func roundTrip() throws {
        #expect(try ClientFrame(decoding: Self.frame.encoded) == Self.frame)
        #expect(try ClientFrame(decoding: []).isEmpty && ClientFrame().encoded == [])
        #expect(try ClientStart(decoding: Self.start.encoded) == Self.start)
        let started = StartedRun(
            workflowID: "a", runID: RunID(high: 1, low: 2), type: WorkflowType("order", version: 2), existed: true)
        #expect(try StartedRun(decodingForClients: started.encodedForClients) == started)
        let result = ClientResult(id: "a", wait: .milliseconds(1_500))
        #expect(try ClientResult(decoding: result.encoded) == result)
        for (outcome, _) in Self.outcomes {
            let outcome = ClientOutcome(outcome: outcome)
            #expect(try ClientOutcome(decoding: outcome.encoded) == outcome)
        }
    }

    @Test("the public protoc reads it by the names of the schema", .enabled(if: Protoc.exists))
    func schema() throws {
        func decode(_ bytes: [UInt8], _ message: String, _ lines: [String]) throws {
            let text = try Protoc.decode(
                bytes, as: "flotilla.v1.client.\(message)", in: "flotilla/v1/client.proto")
            for line in lines { #expect(text.contains(line), "\(text)") }
            // It shows a field that the schema does not know by its number alone.
            #expect(!text.split(separator: "\n").contains { $0.drop { $0 == " " }.first?.isNumber == true }, "\(text)")
        }
        try decode(
            Self.frame.encoded, "Frame", ["protocol_max: 1", #"name: "start""#, #"code: "conflict""#, "number: 8"])
        try decode(Self.start.encoded, "Start", [#"type: "order""#, "version: 2", #"value: "acme""#])
        try decode(ClientResult(id: "a", wait: .seconds(2)).encoded, "Result", ["wait_milliseconds: 2000"])
        for (outcome, line) in Self.outcomes {
            try decode(ClientOutcome(outcome: outcome).encoded, "Outcome", [line])
        }
    }

    @Test("bytes that are cut or changed anywhere are an error or another frame, and never a crash")
    func damage() {
        let bytes = Self.frame.encoded
        for place in bytes.indices {
            _ = try? ClientFrame(decoding: Array(bytes[..<place]))
            var changed = bytes
            changed[place] ^= 0x55
            _ = try? ClientFrame(decoding: changed)
        }
        #expect(throws: WireError.self) { try ClientFrame(decoding: [0x1A, 0x02, 0x08, 0x01]) }
        #expect(throws: WireError.self) { try StartedRun(decodingForClients: []) }
        #expect(throws: WireError.self) { try ClientOutcome(decoding: [0x48, 0x01]) }
    }

    @Test("two that share no protocol say so, and a refusal is passed on")
    func hello() {
        #expect(ClientHello().objection == nil)
        #expect(ClientHello(protocolMin: 2, protocolMax: 3).objection?.contains("speaks client protocol 1") == true)
        #expect(ClientHello(refusal: "full").objection == "full")
    }
}
