import FlotillaIO
import FlotillaRaft

/// Collects what goes to one peer into one frame's payload. Nothing is kept between: what is added is encoded at once.
struct PeerFrameWriter {
    private var writer: ProtobufWriter

    init(reservingCapacity capacity: Int = 512) { writer = ProtobufWriter(reservingCapacity: capacity) }

    var isEmpty: Bool { writer.bytes.isEmpty }
    var count: Int { writer.bytes.count }

    /// The frame's payload; the writer starts anew.
    mutating func take() -> [UInt8] {
        let bytes = writer.bytes
        writer = ProtobufWriter(reservingCapacity: min(bytes.count, 64 << 10))
        return bytes
    }

    mutating func add(_ item: PeerFrameItem) {
        switch item {
        case .hello(let hello): add(hello)
        case .refusal(let refusal): writer.message(2) { $0.encode(refusal) }
        case .heartbeat(let heartbeat): add(heartbeat)
        case .message(let message): _ = add(message)
        case .unknownGroup(let unknown): add(unknown)
        case .joinRequest(let request): add(request)
        case .joinResponse(let response): add(response)
        case .snapshotRequest(let request): add(request)
        case .snapshotChunk(let chunk): add(chunk)
        case .companionRequest(let request): add(request)
        case .companionAnswer(let answer): add(answer)
        case .request(let request): add(request)
        case .answer(let answer): add(answer)
        }
    }

    private mutating func add(_ heartbeat: NodeHeartbeat) {
        writer.message(3) { writer in
            writer.varint(1, heartbeat.boot)
            writer.varint(2, heartbeat.livenessEpoch)
            writer.varint(3, heartbeat.lastWrite)
            writer.bool(4, heartbeat.isDistant)
        }
    }

    private mutating func add(_ unknown: UnknownGroup) {
        writer.message(5) { writer in
            writer.varint(1, unknown.group.rawValue)
            writer.varint(2, unknown.incarnation)
            writer.varint(3, unknown.replica.rawValue)
        }
    }

    private mutating func add(_ request: JoinRequest) {
        writer.message(6) { writer in
            writer.varint(1, request.node.rawValue)
            writer.fixed64(2, request.instance)
            writer.string(3, request.address)
            writer.string(4, request.httpAddress)
            writer.varint(5, UInt64(request.featureLevel))
        }
    }

    private mutating func add(_ response: JoinResponse) {
        writer.message(7) { writer in
            writer.fixed64(1, response.cluster)
            if let refusal = response.refusal { writer.message(2) { $0.encode(refusal) } }
        }
    }

    private mutating func add(_ request: SnapshotRequest) {
        writer.message(8) { writer in
            writer.varint(1, request.id.group.rawValue)
            writer.varint(2, request.id.incarnation)
            writer.varint(3, request.id.index.rawValue)
            writer.varint(4, request.id.term.rawValue)
            writer.varint(5, request.offset)
            writer.varint(6, UInt64(request.checksum))
            writer.varint(7, UInt64(request.pieceBytes))
        }
    }

    private mutating func add(_ chunk: SnapshotChunk) {
        writer.message(9) { writer in
            writer.bytes(1, chunk.piece.bytes)
            writer.varint(2, chunk.piece.offset)
            writer.bool(3, chunk.piece.isFinal)
            writer.varint(4, chunk.id.group.rawValue)
            writer.varint(5, chunk.id.index.rawValue)
            writer.varint(6, chunk.id.term.rawValue)
            writer.bool(7, chunk.isGone)
            writer.varint(8, chunk.id.incarnation)
            writer.varint(9, UInt64(chunk.piece.checksum))
        }
    }

    private mutating func add(_ request: CompanionRequest) {
        writer.message(10) { writer in
            writer.encode(request.id, number: request.number)
            writer.bytes(6, request.question)
        }
    }

    private mutating func add(_ answer: CompanionAnswer) {
        writer.message(11) { writer in
            writer.encode(answer.id, number: answer.number)
            writer.bytes(6, answer.body)
            writer.bool(7, answer.isGone)
        }
    }

    private mutating func add(_ request: NodeRequest) {
        writer.message(12) { writer in
            writer.varint(1, request.number)
            writer.bytes(2, request.body)
        }
    }

    private mutating func add(_ answer: NodeAnswer) {
        writer.message(13) { writer in
            writer.varint(1, answer.number)
            if let body = answer.body { writer.bytes(2, body) } else { writer.bool(3, true) }
        }
    }

    private mutating func add(_ hello: Hello) {
        writer.message(1) { writer in
            writer.varint(1, UInt64(hello.protocolMin))
            writer.varint(2, UInt64(hello.protocolMax))
            writer.fixed64(3, hello.cluster)
            writer.varint(4, hello.node.rawValue)
            writer.fixed64(5, hello.instance)
            writer.varint(6, hello.boot)
            writer.varint(7, UInt64(hello.featureLevel))
            writer.string(8, hello.address)
            writer.varint(9, UInt64(hello.purpose.rawValue))
            for capability in hello.capabilities { writer.stringAlways(10, capability) }
            writer.fixed64(11, hello.life)
            writer.varint(12, hello.lastWrite)
        }
    }

    /// - Returns: the size of the payload so far.
    mutating func add(_ routed: RoutedMessage) -> Int {
        writer.message(4) { writer in
            writer.varint(1, routed.group.rawValue)
            writer.varint(2, routed.incarnation)
            writer.varint(3, UInt64(routed.kind.rawValue))
            writer.varint(4, routed.message.from.rawValue)
            writer.varint(5, routed.message.to.rawValue)
            writer.varint(6, routed.message.term.rawValue)
            writer.encode(routed.message.body, snapshot: routed.snapshot)
        }
        return count
    }
}

extension ProtobufWriter {
    fileprivate mutating func encode(_ refusal: Refusal) {
        varint(1, UInt64(refusal.code.rawValue))
        string(2, refusal.message)
    }

    /// The first five fields of a companion's messages.
    fileprivate mutating func encode(_ id: SnapshotID, number: UInt32) {
        varint(1, id.group.rawValue)
        varint(2, id.incarnation)
        varint(3, id.index.rawValue)
        varint(4, id.term.rawValue)
        varint(5, UInt64(number))
    }

    fileprivate mutating func encode(_ body: Message.Body, snapshot offer: SnapshotOffer?) {
        switch body {
        case .preVote(let request): message(10) { $0.encode(request) }
        case .preVoteResponse(let granted): message(11) { $0.bool(1, granted) }
        case .vote(let request): message(12) { $0.encode(request) }
        case .voteResponse(let granted): message(13) { $0.bool(1, granted) }
        case .append(let append):
            message(14) { writer in
                writer.varint(1, append.previousIndex.rawValue)
                writer.varint(2, append.previousTerm.rawValue)
                writer.varint(3, append.commit.rawValue)
                for entry in append.entries { entry.encode(4, into: &writer) }
                writer.bool(5, append.isNotice)
            }
        case .appendResponse(let response):
            message(15) { writer in
                writer.varint(1, response.index.rawValue)
                writer.bool(2, response.isRejected)
                writer.varint(3, response.hintIndex.rawValue)
                writer.varint(4, response.hintTerm.rawValue)
                writer.bool(5, response.isRecovering)
            }
        case .heartbeat(let heartbeat):
            message(16) { writer in
                writer.varint(1, heartbeat.commit.rawValue)
                writer.varint(2, heartbeat.readRound)
            }
        case .heartbeatResponse(let response): message(17) { $0.varint(1, response.readRound) }
        case .snapshot(let metadata):
            message(18) { writer in
                writer.message(1) { metadata.encode(into: &$0) }
                writer.varint(2, offer?.size ?? 0)
                writer.varint(3, UInt64(offer?.checksum ?? 0))
                writer.varint(4, UInt64(offer?.chunkBytes ?? 0))
                if let bytes = offer?.bytes { writer.bytesAlways(5, bytes) }
            }
        case .forwardedProposal(let entries):
            message(19) { writer in
                for entry in entries { entry.encode(1, into: &writer) }
            }
        case .readIndex(let request): message(20) { $0.varint(1, request.context) }
        case .readIndexResponse(let state):
            message(21) { writer in
                writer.varint(1, state.context)
                writer.varint(2, state.index.rawValue)
            }
        case .timeoutNow: message(22) { _ in }
        case .forwardedTransfer(let replica): message(23) { $0.varint(1, replica.rawValue) }
        case .quiesce(let quiesce):
            message(24) { writer in
                writer.varint(1, quiesce.commit.rawValue)
                writer.varint(2, quiesce.livenessEpoch)
            }
        }
    }

    private mutating func encode(_ request: Message.VoteRequest) {
        varint(1, request.lastIndex.rawValue)
        varint(2, request.lastTerm.rawValue)
        bool(3, request.isTransfer)
    }
}

extension PeerFrameItem {
    /// About how many bytes it takes in a frame.
    var sizeHint: Int {
        if case .snapshotChunk(let chunk) = self { return chunk.piece.bytes.count + 512 }
        return 512
    }
}
