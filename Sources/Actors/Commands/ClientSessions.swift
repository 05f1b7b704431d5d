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
        let replica: ReplicaID
        var boot: UInt64
        var acknowledgedBelow: UInt64 = 0
        var answers = KeptAnswers()
    }

    /// Ascending by replica: a group has few members.
    private var sessions: [Session] = []

    /// - Parameter configuration: the one in force where the request stands in the log. A removed replica's session is
    ///   gone, so that nobody knows what it had applied; a new member's requests come behind the change that added it.
    func lookUp(_ request: RequestID, in configuration: Configuration) -> Lookup {
        if mutated(.appliesRetriesAgain) { return .fresh }
        guard let position = position(of: request.client.replica) else {
            let isStranger = configuration.node(of: request.client.replica) == nil
            return isStranger && !mutated(.appliesCommandsOfStrangers) ? .stale : .fresh
        }
        let boot = sessions[position].boot
        guard request.client.boot <= boot else { return .fresh }
        guard request.client.boot == boot, request.sequence >= sessions[position].acknowledgedBelow else {
            return .stale
        }
        return sessions[position].answers[request.sequence].map { .applied($0) } ?? .fresh
    }

    /// Remembers the answer to a request that was `fresh`.
    mutating func record(_ answer: Answer, for request: RequestID) {
        let position = begin(request.client)
        let acknowledged = min(request.acknowledgedBelow, request.sequence)
        if acknowledged > sessions[position].acknowledgedBelow {
            sessions[position].answers.forget(below: acknowledged)
            sessions[position].acknowledgedBelow = acknowledged
        }
        sessions[position].answers.insert(answer, for: request.sequence)
    }

    /// Drops the sessions of replicas that are no members any more; their ids never come back.
    mutating func retain(membersOf configuration: Configuration) {
        sessions.removeAll { configuration.node(of: $0.replica) == nil }
    }

    private func position(of replica: ReplicaID) -> Int? { sessions.firstIndex { $0.replica == replica } }

    /// - Returns: where the client's session is, which ends that of an earlier boot.
    private mutating func begin(_ client: RequestID.Client) -> Int {
        let new = Session(replica: client.replica, boot: client.boot)
        guard let position = position(of: client.replica) else { return insert(new) }
        if sessions[position].boot != client.boot { sessions[position] = new }
        return position
    }

    private mutating func insert(_ session: Session) -> Int {
        let position = sessions.firstIndex { $0.replica > session.replica } ?? sessions.endIndex
        // Without room for more: the members of a group are soon all there.
        sessions.reserveCapacity(sessions.count + 1)
        sessions.insert(session, at: position)
        return position
    }

    /// For a group where nothing happens for now: equal answers share their bytes. Mostly all are, since what its members said
    /// last is that they are there.
    mutating func shrink() {
        for position in sessions.indices {
            for earlier in sessions[..<position] { sessions[position].answers.share(with: earlier.answers) }
        }
    }

    // MARK: Snapshots

    func encode(into writer: inout ProtobufWriter) {
        for session in sessions {
            writer.message(1) { writer in
                writer.varint(1, session.replica.rawValue)
                writer.varint(2, session.boot)
                writer.varint(3, session.acknowledgedBelow)
                for (sequence, answer) in session.answers.sorted {
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
        var boot: UInt64 = 0
        var acknowledgedBelow: UInt64 = 0
        var answers = KeptAnswers()
        while let field = try reader.next() {
            switch field {
            case 1: replica = ReplicaID(try reader.varint())
            case 2: boot = try reader.varint()
            case 3: acknowledgedBelow = try reader.varint()
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
                answers.insert(answer, for: sequence)
            default: throw reader.unknownField(in: "a session")
            }
        }
        sessions.removeAll { $0.replica == replica }
        _ = insert(Session(replica: replica, boot: boot, acknowledgedBelow: acknowledgedBelow, answers: answers))
    }
}

/// A client's answers that it has not acknowledged. A client that has been quiet for long has one: it acknowledges the
/// last answer with its next request.
private struct KeptAnswers: Sendable {
    private enum Storage: Sendable {
        case none
        case one(UInt64, Answer)
        case many(AnswerList)
    }

    private var storage = Storage.none

    subscript(sequence: UInt64) -> Answer? {
        switch storage {
        case .none: nil
        case .one(let known, let answer): known == sequence ? answer : nil
        case .many(let answers): answers[sequence]
        }
    }

    mutating func insert(_ answer: Answer, for sequence: UInt64) {
        switch storage {
        case .none: storage = .one(sequence, answer)
        case .one(let known, let first):
            guard known != sequence else {
                storage = .one(sequence, answer)
                return
            }
            var answers = AnswerList()
            answers.insert(first, for: known)
            answers.insert(answer, for: sequence)
            storage = .many(answers)
        case .many(var answers):
            // Else the change would copy all of them.
            storage = .none
            answers.insert(answer, for: sequence)
            storage = .many(answers)
        }
    }

    mutating func forget(below sequence: UInt64) {
        switch storage {
        case .none: break
        case .one(let known, _): if known < sequence { storage = .none }
        case .many(var answers):
            storage = .none
            answers.forget(below: sequence)
            if answers.count > 1 {
                storage = .many(answers)
            } else if let (last, answer) = answers.items.first {
                storage = .one(last, answer)
            }
        }
    }

    /// Where both hold one answer, and the same, they hold it once.
    mutating func share(with other: Self) {
        guard case .one(let sequence, let answer) = storage, case .one(_, let known) = other.storage, answer == known
        else { return }
        storage = .one(sequence, known)
    }

    /// In the order of the requests.
    var sorted: [(sequence: UInt64, answer: Answer)] {
        switch storage {
        case .none: []
        case .one(let sequence, let answer): [(sequence, answer)]
        case .many(let answers): Array(answers.items)
        }
    }
}

/// Answers, ascending by the number of their request. They come nearly in order and go from the front, so a list finds and
/// keeps them with less than a dictionary would.
private struct AnswerList: Sendable {
    private var all: [(sequence: UInt64, answer: Answer)] = []
    /// Before it everything is forgotten.
    private var begin = 0

    var items: ArraySlice<(sequence: UInt64, answer: Answer)> { all[begin...] }
    var count: Int { all.count - begin }

    /// - Returns: where the request is, or where it would be.
    private func place(of sequence: UInt64) -> Int {
        guard let last = all.last, last.sequence >= sequence else { return all.count }
        var (low, high) = (begin, all.count)
        while low < high {
            let middle = (low + high) / 2
            if all[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    subscript(sequence: UInt64) -> Answer? {
        let place = place(of: sequence)
        return place < all.count && all[place].sequence == sequence ? all[place].answer : nil
    }

    mutating func insert(_ answer: Answer, for sequence: UInt64) {
        let place = place(of: sequence)
        if place < all.count, all[place].sequence == sequence {
            all[place].answer = answer
        } else {
            all.insert((sequence, answer), at: place)
        }
    }

    mutating func forget(below sequence: UInt64) {
        while begin < all.count, all[begin].sequence < sequence {
            all[begin].answer = Answer()
            begin += 1
        }
        if begin >= 64, begin > all.count / 2 {
            all.removeFirst(begin)
            begin = 0
        }
    }
}
