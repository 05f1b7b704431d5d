import FlotillaIO
import FlotillaRaft

extension PeerFrameReader {
    /// Nil for a kind of message that this version does not know.
    static func routedMessage(_ reader: inout ProtobufReader) throws(WireError) -> RoutedMessage? {
        var group: UInt64 = 0
        var incarnation: UInt64 = 0
        var kind: UInt32 = 0
        var from: UInt64 = 0
        var to: UInt64 = 0
        var term: UInt64 = 0
        var body: Message.Body?
        var offer: SnapshotOffer?
        while let field = try reader.next() {
            switch field {
            case 1: group = try reader.varint()
            case 2: incarnation = try reader.varint()
            case 3: kind = try reader.uint32()
            case 4: from = try reader.varint()
            case 5: to = try reader.varint()
            case 6: term = try reader.varint()
            case 10...24:
                var inner = try reader.message()
                body = try messageBody(field, &inner, &offer)
            default: try reader.skip()
            }
        }
        return body.map {
            RoutedMessage(
                group: GroupID(group), incarnation: incarnation, kind: GroupKind(kind),
                message: Message(from: ReplicaID(from), to: ReplicaID(to), term: Term(term), body: $0), snapshot: offer)
        }
    }

    private static func messageBody(
        _ field: Int, _ reader: inout ProtobufReader, _ offer: inout SnapshotOffer?
    ) throws(WireError) -> Message.Body {
        switch field {
        case 10: return .preVote(try voteRequest(&reader))
        case 11: return .preVoteResponse(granted: try number(&reader) != 0)
        case 12: return .vote(try voteRequest(&reader))
        case 13: return .voteResponse(granted: try number(&reader) != 0)
        case 14: return .append(try append(&reader))
        case 15: return .appendResponse(try appendResponse(&reader))
        case 16:
            let (commit, round) = try numbers(&reader)
            return .heartbeat(.init(commit: LogIndex(commit), readRound: round))
        case 17: return .heartbeatResponse(.init(readRound: try number(&reader)))
        case 18: return .snapshot(try snapshot(&reader, &offer))
        case 19:
            var entries: [Entry] = []
            while let field = try reader.next() {
                guard field == 1 else {
                    try reader.skip()
                    continue
                }
                var inner = try reader.message()
                entries.append(try Entry(from: &inner, unknownFields: .skip))
            }
            return .forwardedProposal(entries)
        case 20: return .readIndex(.init(context: try number(&reader)))
        case 21:
            let (context, index) = try numbers(&reader)
            return .readIndexResponse(.init(context: context, index: LogIndex(index)))
        case 22: return .timeoutNow
        case 23: return .forwardedTransfer(to: ReplicaID(try number(&reader)))
        default:
            let (commit, epoch) = try numbers(&reader)
            return .quiesce(.init(commit: LogIndex(commit), livenessEpoch: epoch))
        }
    }

    /// A message whose fields are at most two numbers.
    private static func numbers(_ reader: inout ProtobufReader) throws(WireError) -> (UInt64, UInt64) {
        var first: UInt64 = 0
        var second: UInt64 = 0
        while let field = try reader.next() {
            switch field {
            case 1: first = try reader.varint()
            case 2: second = try reader.varint()
            default: try reader.skip()
            }
        }
        return (first, second)
    }

    private static func number(_ reader: inout ProtobufReader) throws(WireError) -> UInt64 { try numbers(&reader).0 }

    private static func voteRequest(_ reader: inout ProtobufReader) throws(WireError) -> Message.VoteRequest {
        var request = Message.VoteRequest(lastIndex: .zero, lastTerm: .zero, isTransfer: false)
        while let field = try reader.next() {
            switch field {
            case 1: request.lastIndex = LogIndex(try reader.varint())
            case 2: request.lastTerm = Term(try reader.varint())
            case 3: request.isTransfer = try reader.bool()
            default: try reader.skip()
            }
        }
        return request
    }

    private static func append(_ reader: inout ProtobufReader) throws(WireError) -> Message.Append {
        var append = Message.Append(previousIndex: .zero, previousTerm: .zero, commit: .zero, entries: [])
        while let field = try reader.next() {
            switch field {
            case 1: append.previousIndex = LogIndex(try reader.varint())
            case 2: append.previousTerm = Term(try reader.varint())
            case 3: append.commit = LogIndex(try reader.varint())
            case 4:
                var inner = try reader.message()
                let entry = try Entry(from: &inner, unknownFields: .skip)
                guard entry.index.rawValue == append.previousIndex.rawValue &+ UInt64(append.entries.count) &+ 1 else {
                    throw WireError(.invalidValue, "entry \(entry.index) of an append behind \(append.previousIndex)")
                }
                append.entries.append(entry)
            case 5: append.isNotice = try reader.bool()
            default: try reader.skip()
            }
        }
        return append
    }

    private static func appendResponse(_ reader: inout ProtobufReader) throws(WireError) -> Message.AppendResponse {
        var response = Message.AppendResponse(index: .zero)
        while let field = try reader.next() {
            switch field {
            case 1: response.index = LogIndex(try reader.varint())
            case 2: response.isRejected = try reader.bool()
            case 3: response.hintIndex = LogIndex(try reader.varint())
            case 4: response.hintTerm = Term(try reader.varint())
            case 5: response.isRecovering = try reader.bool()
            default: try reader.skip()
            }
        }
        return response
    }

    private static func snapshot(
        _ reader: inout ProtobufReader, _ offer: inout SnapshotOffer?
    ) throws(WireError) -> SnapshotMetadata {
        var metadata = SnapshotMetadata(index: .zero, term: .zero, configuration: .init())
        var found = SnapshotOffer(size: 0, checksum: 0, chunkBytes: 0)
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                metadata = try SnapshotMetadata(from: &inner, unknownFields: .skip)
            case 2: found.size = try reader.varint()
            case 3: found.checksum = try reader.uint32()
            case 4: found.chunkBytes = Int(try reader.uint32())
            case 5: found.bytes = try reader.bytes()
            default: try reader.skip()
            }
        }
        guard found.chunkBytes > 0 || found.bytes != nil else {
            throw WireError(.invalidValue, "a snapshot that is neither embedded nor cut into chunks")
        }
        offer = found
        return metadata
    }
}
