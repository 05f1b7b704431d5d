import FlotillaIO
import FlotillaRaft

/// Decodes a frame's payload. Fields that this version does not know are passed over, so that a newer peer can add
/// some; a message whose kind it does not know is dropped, as if the network had lost it.
enum PeerFrameReader {
    /// - Parameter body: called for each item, in the order of the frame.
    static func read(_ payload: [UInt8], _ body: (PeerFrameItem) -> Void) throws(WireError) {
        var reader = ProtobufReader(payload)
        while let field = try reader.next() {
            guard (1...13).contains(field) else {
                try reader.skip()
                continue
            }
            var inner = try reader.message()
            if let item = try item(field, &inner) { body(item) }
        }
    }

    private static func item(_ field: Int, _ reader: inout ProtobufReader) throws(WireError) -> PeerFrameItem? {
        switch field {
        case 1: .hello(try hello(&reader))
        case 2: .refusal(try refusal(&reader))
        case 3: .heartbeat(try heartbeat(&reader))
        case 4: try routedMessage(&reader).map { .message($0) }
        case 5: .unknownGroup(try unknownGroup(&reader))
        case 6: .joinRequest(try joinRequest(&reader))
        case 7: .joinResponse(try joinResponse(&reader))
        case 8: .snapshotRequest(try snapshotRequest(&reader))
        case 9: .snapshotChunk(try snapshotChunk(&reader))
        case 10:
            .companionRequest(
                try companion(&reader) { id, number, body, _ in
                    CompanionRequest(id: id, number: number, question: body)
                })
        case 11:
            .companionAnswer(
                try companion(&reader) { CompanionAnswer(id: $0, number: $1, body: $2, isGone: $3) })
        case 12: .request(try nodeRequest(&reader))
        case 13: .answer(try nodeAnswer(&reader))
        default: nil
        }
    }

    private static func hello(_ reader: inout ProtobufReader) throws(WireError) -> Hello {
        var hello = Hello(
            protocolMin: 0, protocolMax: 0, cluster: 0, node: NodeID(0), instance: 0, boot: 0, featureLevel: 0,
            address: "", purpose: .consensus, capabilities: [])
        while let field = try reader.next() {
            switch field {
            case 1: hello.protocolMin = try reader.uint32()
            case 2: hello.protocolMax = try reader.uint32()
            case 3: hello.cluster = try reader.fixed64()
            case 4: hello.node = NodeID(try reader.varint())
            case 5: hello.instance = try reader.fixed64()
            case 6: hello.boot = try reader.varint()
            case 7: hello.featureLevel = try reader.uint32()
            case 8: hello.address = try reader.string()
            case 9:
                let raw = try reader.uint32()
                guard let purpose = Hello.Purpose(rawValue: raw) else {
                    throw WireError(.invalidValue, "connection purpose \(raw)")
                }
                hello.purpose = purpose
            case 10: hello.capabilities.append(try reader.string())
            case 11: hello.life = try reader.fixed64()
            case 12: hello.lastWrite = try reader.varint()
            default: try reader.skip()
            }
        }
        return hello
    }

    private static func refusal(_ reader: inout ProtobufReader) throws(WireError) -> Refusal {
        var refusal = Refusal(code: .other, message: "")
        while let field = try reader.next() {
            switch field {
            case 1: refusal.code = Refusal.Code(rawValue: try reader.uint32()) ?? .other
            case 2: refusal.message = try reader.string()
            default: try reader.skip()
            }
        }
        return refusal
    }

    private static func heartbeat(_ reader: inout ProtobufReader) throws(WireError) -> NodeHeartbeat {
        var heartbeat = NodeHeartbeat(boot: 0, livenessEpoch: 0)
        while let field = try reader.next() {
            switch field {
            case 1: heartbeat.boot = try reader.varint()
            case 2: heartbeat.livenessEpoch = try reader.varint()
            case 3: heartbeat.lastWrite = try reader.varint()
            case 4: heartbeat.isDistant = try reader.bool()
            default: try reader.skip()
            }
        }
        return heartbeat
    }

    private static func unknownGroup(_ reader: inout ProtobufReader) throws(WireError) -> UnknownGroup {
        var unknown = UnknownGroup(group: GroupID(0), incarnation: 0, replica: ReplicaID(0))
        while let field = try reader.next() {
            switch field {
            case 1: unknown.group = GroupID(try reader.varint())
            case 2: unknown.incarnation = try reader.varint()
            case 3: unknown.replica = ReplicaID(try reader.varint())
            default: try reader.skip()
            }
        }
        return unknown
    }

    private static func joinRequest(_ reader: inout ProtobufReader) throws(WireError) -> JoinRequest {
        var request = JoinRequest(node: NodeID(0), instance: 0, address: "", httpAddress: "", featureLevel: 0)
        while let field = try reader.next() {
            switch field {
            case 1: request.node = NodeID(try reader.varint())
            case 2: request.instance = try reader.fixed64()
            case 3: request.address = try reader.string()
            case 4: request.httpAddress = try reader.string()
            case 5: request.featureLevel = try reader.uint32()
            default: try reader.skip()
            }
        }
        return request
    }

    private static func joinResponse(_ reader: inout ProtobufReader) throws(WireError) -> JoinResponse {
        var response = JoinResponse(cluster: 0, refusal: nil)
        while let field = try reader.next() {
            switch field {
            case 1: response.cluster = try reader.fixed64()
            case 2:
                var inner = try reader.message()
                response.refusal = try refusal(&inner)
            default: try reader.skip()
            }
        }
        return response
    }

    private static func snapshotRequest(_ reader: inout ProtobufReader) throws(WireError) -> SnapshotRequest {
        var request = SnapshotRequest(id: .none, checksum: 0, offset: 0, pieceBytes: 0)
        while let field = try reader.next() {
            switch field {
            case 1: request.id.group = GroupID(try reader.varint())
            case 2: request.id.incarnation = try reader.varint()
            case 3: request.id.index = LogIndex(try reader.varint())
            case 4: request.id.term = Term(try reader.varint())
            case 5: request.offset = try reader.varint()
            case 6: request.checksum = try reader.uint32()
            case 7: request.pieceBytes = Int(try reader.uint32())
            default: try reader.skip()
            }
        }
        return request
    }

    /// The two messages have the same fields; a request is never gone.
    private static func companion<Item>(
        _ reader: inout ProtobufReader, _ make: (SnapshotID, UInt32, [UInt8], Bool) -> Item
    ) throws(WireError) -> Item {
        var (id, number, body, isGone) = (SnapshotID.none, UInt32(0), [UInt8](), false)
        while let field = try reader.next() {
            switch field {
            case 1: id.group = GroupID(try reader.varint())
            case 2: id.incarnation = try reader.varint()
            case 3: id.index = LogIndex(try reader.varint())
            case 4: id.term = Term(try reader.varint())
            case 5: number = try reader.uint32()
            case 6: body = try reader.bytes()
            case 7: isGone = try reader.bool()
            default: try reader.skip()
            }
        }
        return make(id, number, body, isGone)
    }

    private static func nodeRequest(_ reader: inout ProtobufReader) throws(WireError) -> NodeRequest {
        var request = NodeRequest(number: 0, body: [])
        while let field = try reader.next() {
            switch field {
            case 1: request.number = try reader.varint()
            case 2: request.body = try reader.bytes()
            default: try reader.skip()
            }
        }
        return request
    }

    private static func nodeAnswer(_ reader: inout ProtobufReader) throws(WireError) -> NodeAnswer {
        var answer = NodeAnswer(number: 0, body: [])
        while let field = try reader.next() {
            switch field {
            case 1: answer.number = try reader.varint()
            case 2: answer.body = try reader.bytes()
            case 3: if try reader.bool() { answer.body = nil }
            default: try reader.skip()
            }
        }
        return answer
    }

    private static func snapshotChunk(_ reader: inout ProtobufReader) throws(WireError) -> SnapshotChunk {
        var chunk = SnapshotChunk(
            id: .none, piece: SnapshotPiece(offset: 0, bytes: [], checksum: 0, isFinal: false), isGone: false)
        while let field = try reader.next() {
            switch field {
            case 1: chunk.piece.bytes = try reader.bytes()
            case 2: chunk.piece.offset = try reader.varint()
            case 3: chunk.piece.isFinal = try reader.bool()
            case 4: chunk.id.group = GroupID(try reader.varint())
            case 5: chunk.id.index = LogIndex(try reader.varint())
            case 6: chunk.id.term = Term(try reader.varint())
            case 7: chunk.isGone = try reader.bool()
            case 8: chunk.id.incarnation = try reader.varint()
            case 9: chunk.piece.checksum = try reader.uint32()
            default: try reader.skip()
            }
        }
        return chunk
    }
}

extension SnapshotID {
    fileprivate static let none = SnapshotID(group: GroupID(0), incarnation: 0, index: .zero, term: .zero)
}
