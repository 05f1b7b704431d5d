import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import FlotillaTestSupport
import Testing

@testable import FlotillaActors

@Suite struct PeerFrameTests {
    /// One message of each kind, with the text that the public `protoc` shows for it.
    static let bodies: [(Message.Body, String)] = [
        (.preVote(.init(lastIndex: LogIndex(7), lastTerm: Term(3), isTransfer: false)), "pre_vote"),
        (.preVoteResponse(granted: true), "pre_vote_response"),
        (.vote(.init(lastIndex: LogIndex(7), lastTerm: Term(3), isTransfer: true)), "is_transfer: true"),
        (.voteResponse(granted: false), "vote_response"),
        (
            .append(
                .init(
                    previousIndex: LogIndex(200), previousTerm: Term(2), commit: LogIndex(199),
                    entries: [
                        Entry(
                            index: LogIndex(201), term: Term(3), kind: .command,
                            payload: Array(repeating: 97, count: 300)
                        ),
                        Entry(index: LogIndex(202), term: Term(3), kind: .empty, payload: []),
                    ])), "previous_index: 200"
        ),
        (
            .append(
                .init(
                    previousIndex: LogIndex(7), previousTerm: Term(2), commit: LogIndex(6), entries: [], isNotice: true)
            ), "is_notice: true"
        ),
        (
            .appendResponse(
                .init(
                    index: LogIndex(5), isRejected: true, hintIndex: LogIndex(4), hintTerm: Term(1), isRecovering: true)
            ),
            "is_recovering: true"
        ),
        (.heartbeat(.init(commit: LogIndex(9), readRound: 77)), "read_round: 77"),
        (.heartbeatResponse(.init(readRound: 77)), "heartbeat_response"),
        (
            .snapshot(SnapshotMetadata(index: LogIndex(10), term: Term(2), configuration: configuration)),
            "next_replica: 4"
        ),
        (
            .forwardedProposal([Entry(index: .zero, term: .zero, kind: .command, payload: [1, 2])]),
            "forwarded_proposal"
        ),
        (.readIndex(.init(context: 1 << 40)), "context: 1099511627776"),
        (.readIndexResponse(.init(context: 3, index: LogIndex(4))), "read_index_response"),
        (.timeoutNow, "timeout_now"),
        (.forwardedTransfer(to: ReplicaID(3)), "forwarded_transfer"),
        (.quiesce(.init(commit: LogIndex(8), livenessEpoch: 2)), "liveness_epoch: 2"),
    ]

    static let configuration = Configuration(
        members: [1, 2, 3].map { .init(replica: ReplicaID($0), node: NodeID($0 + 10)) },
        voters: [ReplicaID(1), ReplicaID(2)], outgoingVoters: [], learners: [ReplicaID(3)], nextLearners: [],
        leavesAutomatically: false, nextReplica: ReplicaID(4))

    static func routed(_ body: Message.Body) -> RoutedMessage {
        var message = RoutedMessage(
            group: GroupID(2), incarnation: 1, kind: .workflow,
            message: Message(from: ReplicaID(1), to: ReplicaID(2), term: Term(5), body: body))
        if case .snapshot = body {
            message.snapshot = SnapshotOffer(
                size: 4096, checksum: 0xFFFF_FFFF, chunkBytes: 1 << 20, bytes: [])
        }
        return message
    }

    private func items(_ payload: [UInt8]) throws -> [PeerFrameItem] {
        var items: [PeerFrameItem] = []
        try PeerFrameReader.read(payload) { items.append($0) }
        return items
    }

    @Test("every kind of message survives the wire, many of them in one frame")
    func messagesRoundTrip() throws {
        var writer = PeerFrameWriter()
        for (body, _) in Self.bodies { writer.add(.message(Self.routed(body))) }
        let decoded = try items(writer.take()).compactMap { item in
            if case .message(let message) = item { message } else { nil }
        }
        #expect(decoded.map(\.message) == Self.bodies.map { Self.routed($0.0).message })
        #expect(decoded.allSatisfy { $0.group == GroupID(2) && $0.incarnation == 1 && $0.kind == .workflow })
        #expect(decoded.compactMap(\.snapshot).map(\.checksum) == [0xFFFF_FFFF])
    }

    @Test("hello, refusal, join and snapshot items survive the wire")
    func otherItemsRoundTrip() throws {
        let hello = Hello(
            cluster: 0xABCD, node: NodeID(3), instance: .max, boot: 9, featureLevel: 1, address: "127.0.0.1:7001",
            purpose: .bulk, capabilities: ["order_processing/1", "x/2"], life: 77, lastWrite: 1 << 41)
        let refusal = Refusal(code: .duplicateNode, message: "node 3 is a member")
        let id = SnapshotID(group: GroupID(2), incarnation: 1, index: LogIndex(100), term: Term(4))
        let request = SnapshotRequest(id: id, checksum: 9, offset: 1 << 20, pieceBytes: 1 << 16)
        let piece = SnapshotPiece(offset: 1 << 20, bytes: [1, 2, 3], checksum: 7, isFinal: true)
        let chunk = SnapshotChunk(id: id, piece: piece, isGone: false)
        var writer = PeerFrameWriter()
        writer.add(.hello(hello))
        writer.add(.refusal(refusal))
        writer.add(.joinResponse(JoinResponse(cluster: 7, refusal: refusal)))
        writer.add(.snapshotRequest(request))
        writer.add(.snapshotChunk(chunk))
        let question = NodeRequest(number: 8, body: [4, 5])
        let answers = [
            NodeAnswer(number: 8, body: [6]), NodeAnswer(number: 9, body: []), NodeAnswer(number: 10, body: nil),
        ]
        writer.add(.request(question))
        for answer in answers { writer.add(.answer(answer)) }
        let decoded = try items(writer.take())
        guard case .hello(let h) = decoded[0], case .refusal(let r) = decoded[1],
            case .joinResponse(let j) = decoded[2], case .snapshotRequest(let s) = decoded[3],
            case .snapshotChunk(let c) = decoded[4], case .request(let q) = decoded[5]
        else { return #expect(Bool(false), "\(decoded)") }
        let answered = decoded[6...].compactMap { if case .answer(let answer) = $0 { answer } else { nil } }
        #expect(q == question && answered == answers)
        #expect(h == hello && r == refusal && j.refusal == refusal && j.cluster == 7 && s == request && c == chunk)
    }

    @Test("TT-14: the public protoc decodes a real frame, and names everything in it", .enabled(if: Protoc.exists))
    func protocDecodes() throws {
        var writer = PeerFrameWriter()
        writer.add(.heartbeat(NodeHeartbeat(boot: 4, livenessEpoch: 1, lastWrite: 5)))
        for (body, _) in Self.bodies { writer.add(.message(Self.routed(body))) }
        let text = try Protoc.decode(writer.take(), as: "flotilla.v1.PeerFrame", in: "flotilla/v1/peer.proto")
        for (_, expected) in Self.bodies { #expect(text.contains(expected), "\(expected) is missing from:\n\(text)") }
        // protoc shows a field that the .proto file does not know by its number alone.
        let unknown = text.split(separator: "\n").filter { $0.drop { $0 == " " }.first?.isNumber == true }
        #expect(unknown == [])
    }

    @Test("TT-14: our reader reads what the public protoc encodes", .enabled(if: Protoc.exists))
    func protocEncodes() throws {
        let text = """
            heartbeat { boot: 300 liveness_epoch: 2 last_write: 400 }
            messages { group: 2 incarnation: 1 kind: 2 from: 1 to: 2 term: 5
              append { previous_index: 200 previous_term: 2 commit: 199
                entries { index: 201 term: 3 kind: ENTRY_COMMAND payload: "abc" } } }
            """
        let payload = try Protoc.encode(text, as: "flotilla.v1.PeerFrame", in: "flotilla/v1/peer.proto")
        let decoded = try items(payload)
        guard decoded.count == 2, case .heartbeat(let beat) = decoded[0], case .message(let message) = decoded[1]
        else { return #expect(Bool(false), "\(decoded)") }
        #expect(beat == NodeHeartbeat(boot: 300, livenessEpoch: 2, lastWrite: 400))
        #expect(
            message.message.body
                == .append(
                    .init(
                        previousIndex: LogIndex(200), previousTerm: Term(2), commit: LogIndex(199),
                        entries: [
                            Entry(index: LogIndex(201), term: Term(3), kind: .command, payload: Array("abc".utf8))
                        ])))
    }

    @Test("TT-14: an old reader passes over fields that a newer sender added")
    func unknownFieldsAreSkipped() throws {
        var newer = ProtobufWriter()
        newer.message(3) { writer in
            writer.varint(1, 4)
            writer.varint(2, 1)
            writer.string(99, "new")
        }
        newer.string(100, "newer")
        newer.message(4) { writer in
            writer.varint(1, 2)
            writer.message(77) { $0.varint(1, 1) }
        }
        let decoded = try items(newer.bytes)
        #expect(decoded.count == 1, "a message of an unknown kind is dropped, the heartbeat is read")
    }

    @Test("a frame cut or changed at any place is an error or another frame, never a crash")
    func mutatedFrames() throws {
        let seed = Simulation.seeds(1)[0]
        var generator = SeededGenerator(seed: seed)
        var writer = PeerFrameWriter()
        for (body, _) in Self.bodies { writer.add(.message(Self.routed(body))) }
        let good = writer.take()
        for cut in 0..<good.count { _ = try? items(Array(good[0..<cut])) }
        for _ in 0..<5_000 {
            var bad = good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bad[Int.random(in: 0..<bad.count, using: &generator)] = .random(in: .min ... .max, using: &generator)
            }
            _ = try? items(bad)
        }
        #expect(try items(good).count == Self.bodies.count, "seed \(seed)")
    }
}
