import FlotillaIO
import FlotillaRaft

/// What makes a retried command apply once: per client, the answers that it has not acknowledged yet.
///
/// Source: Ongaro's thesis, 6.3, with RIFL's acknowledgement of a prefix instead of an expiry by time, since replicas
/// may read no clock. A client is one boot of one replica; a later boot ends the sessions of earlier ones.
struct ClientSessions: Sendable {
    enum Lookup: Equatable {
        case fresh
        /// It was applied before, and answered so.
        case applied(Answer)
        /// Its client has had the answer already, has restarted since, or is no member any more: a late duplicate that
        /// nobody waits for.
        case stale
    }

    private struct Session: Sendable {
        var boot: UInt64
        var acknowledgedBelow: UInt64 = 0
        var answers: [UInt64: Answer] = [:]
    }

    private var sessions: [ReplicaID: Session] = [:]

    /// - Parameter configuration: the one in force where the request stands in the log. A removed replica's session is
    ///   gone, so that nobody knows what it had applied; a new member's requests come behind the change that added it.
    func lookUp(_ request: RequestID, in configuration: Configuration) -> Lookup {
        if mutated(.appliesRetriesAgain) { return .fresh }
        guard let session = sessions[request.client.replica] else {
            let isStranger = configuration.node(of: request.client.replica) == nil
            return isStranger && !mutated(.appliesCommandsOfStrangers) ? .stale : .fresh
        }
        guard request.client.boot <= session.boot else { return .fresh }
        guard request.client.boot == session.boot, request.sequence >= session.acknowledgedBelow else { return .stale }
        return session.answers[request.sequence].map { .applied($0) } ?? .fresh
    }

    /// Remembers the answer to a request that was `fresh`.
    mutating func record(_ answer: Answer, for request: RequestID) {
        let replica = request.client.replica
        if sessions[replica]?.boot != request.client.boot { sessions[replica] = Session(boot: request.client.boot) }
        sessions[replica]!.answers[request.sequence] = answer
        let acknowledged = min(request.acknowledgedBelow, request.sequence)
        if acknowledged > sessions[replica]!.acknowledgedBelow { forget(replica, below: acknowledged) }
    }

    /// Drops the sessions of replicas that are no members any more; their ids never come back.
    mutating func retain(membersOf configuration: Configuration) {
        let members = Set(configuration.members.map(\.replica))
        sessions = sessions.filter { members.contains($0.key) }
    }

    private mutating func forget(_ replica: ReplicaID, below sequence: UInt64) {
        var session = sessions.removeValue(forKey: replica)!
        let dropped = sequence - session.acknowledgedBelow
        if dropped < UInt64(session.answers.count) {
            for old in session.acknowledgedBelow..<sequence { session.answers[old] = nil }
        } else {
            session.answers = session.answers.filter { $0.key >= sequence }
        }
        session.acknowledgedBelow = sequence
        sessions[replica] = session
    }

    // MARK: Snapshots

    func encode(into writer: inout ProtobufWriter) {
        for (replica, session) in sessions.sorted(by: { $0.key < $1.key }) {
            writer.message(1) { writer in
                writer.varint(1, replica.rawValue)
                writer.varint(2, session.boot)
                writer.varint(3, session.acknowledgedBelow)
                for (sequence, answer) in session.answers.sorted(by: { $0.key < $1.key }) {
                    writer.message(4) { writer in
                        writer.varint(1, sequence)
                        writer.varint(2, UInt64(answer.code))
                        writer.bytes(3, answer.body)
                    }
                }
            }
        }
    }

    init() {}

    init(decoding reader: inout ProtobufReader) throws(WireError) {
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "client sessions") }
            var inner = try reader.message()
            try decodeSession(&inner)
        }
    }

    private mutating func decodeSession(_ reader: inout ProtobufReader) throws(WireError) {
        var replica = ReplicaID(0)
        var session = Session(boot: 0)
        while let field = try reader.next() {
            switch field {
            case 1: replica = ReplicaID(try reader.varint())
            case 2: session.boot = try reader.varint()
            case 3: session.acknowledgedBelow = try reader.varint()
            case 4:
                var inner = try reader.message()
                var sequence: UInt64 = 0
                var answer = Answer()
                while let field = try inner.next() {
                    switch field {
                    case 1: sequence = try inner.varint()
                    case 2: answer.code = try inner.uint32()
                    case 3: answer.body = try inner.bytes()
                    default: throw inner.unknownField(in: "an answer")
                    }
                }
                session.answers[sequence] = answer
            default: throw reader.unknownField(in: "a session")
            }
        }
        sessions[replica] = session
    }
}
