import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaActors

@Suite struct ClientSessionsTests {
    private let members = ClientSessionsTests.configuration(of: 1)

    private static func configuration(of replicas: UInt64...) -> Configuration {
        Configuration(
            members: replicas.map { .init(replica: ReplicaID($0), node: NodeID($0)) },
            voters: replicas.map(ReplicaID.init), outgoingVoters: [], learners: [], nextLearners: [],
            leavesAutomatically: false, nextReplica: ReplicaID(100))
    }

    private func request(_ sequence: UInt64, acknowledged: UInt64 = 0, boot: UInt64 = 1) -> RequestID {
        RequestID(
            client: .init(replica: ReplicaID(1), boot: boot), sequence: sequence, acknowledgedBelow: acknowledged)
    }

    @Test("a retry of a request that was applied gets its first answer")
    func retryGetsFirstAnswer() {
        var sessions = ClientSessions()
        #expect(sessions.lookUp(request(1), in: members) == .fresh)
        sessions.record(Answer(code: 3, body: [9]), for: request(1))
        #expect(sessions.lookUp(request(1), in: members) == .applied(Answer(code: 3, body: [9])))
        #expect(sessions.lookUp(request(2), in: members) == .fresh)
    }

    @Test("requests may be applied out of order, each once")
    func outOfOrder() {
        var sessions = ClientSessions()
        sessions.record(Answer(code: 5), for: request(5))
        #expect(sessions.lookUp(request(4), in: members) == .fresh)
        sessions.record(Answer(code: 4), for: request(4))
        #expect(sessions.lookUp(request(5), in: members) == .applied(Answer(code: 5)))
    }

    @Test("what the client has acknowledged is forgotten, and a late duplicate of it is stale, not fresh")
    func acknowledgedIsStale() {
        var sessions = ClientSessions()
        for sequence in 1...10 { sessions.record(Answer(), for: request(UInt64(sequence))) }
        sessions.record(Answer(), for: request(11, acknowledged: 10))
        #expect(sessions.lookUp(request(9), in: members) == .stale)
        #expect(sessions.lookUp(request(10), in: members) == .applied(Answer()))
    }

    @Test("a later boot ends the sessions of earlier ones: their late commands are stale")
    func laterBoot() {
        var sessions = ClientSessions()
        sessions.record(Answer(), for: request(1, boot: 1))
        #expect(sessions.lookUp(request(1, boot: 2), in: members) == .fresh)
        sessions.record(Answer(), for: request(1, boot: 2))
        #expect(sessions.lookUp(request(2, boot: 1), in: members) == .stale)
    }

    @Test("a late duplicate of a command whose replica was removed meanwhile is stale, not applied again")
    func removedReplica() {
        var sessions = ClientSessions()
        sessions.record(Answer(code: 7), for: request(5))
        #expect(sessions.lookUp(request(5), in: members) == .applied(Answer(code: 7)))
        let without = Self.configuration(of: 2, 3)
        sessions.retain(membersOf: without)
        #expect(sessions.lookUp(request(5), in: without) == .stale)
    }

    @Test("sessions survive a snapshot, and equal sessions give equal bytes")
    func snapshot() throws {
        var sessions = ClientSessions()
        for sequence in [3, 1, 2] {
            sessions.record(Answer(code: UInt32(sequence), body: [7]), for: request(UInt64(sequence)))
        }
        var writer = ProtobufWriter()
        sessions.encode(into: &writer)
        var reader = ProtobufReader(writer.bytes)
        let restored = try ClientSessions(decoding: &reader)
        #expect(restored.lookUp(request(2), in: members) == .applied(Answer(code: 2, body: [7])))
        var again = ProtobufWriter()
        restored.encode(into: &again)
        #expect(again.bytes == writer.bytes)
    }

    @Test("equal answers of a quiet group's members are one in memory, and others stay what they are")
    func sharedAnswers() throws {
        let replicas: [UInt64] = [1, 2, 3, 4]
        var sessions = ClientSessions()
        func request(_ replica: UInt64) -> RequestID {
            RequestID(client: .init(replica: ReplicaID(replica), boot: 1), sequence: 1, acknowledgedBelow: 0)
        }
        for replica in replicas {
            // A literal would be one already.
            sessions.record(
                Answer(code: 0, body: [replica == 3 ? 8 : 7, UInt8(replicas.count)]), for: request(replica))
        }
        sessions.shrink()
        let bodies = try replicas.map { replica -> [UInt8] in
            let found = sessions.lookUp(request(replica), in: Self.configuration(of: 1, 2, 3, 4))
            guard case .applied(let answer) = found else {
                throw GroupError(.timedOut, "the answer to replica \(replica) is \(found)")
            }
            return answer.body
        }
        #expect(bodies == [[7, 4], [7, 4], [8, 4], [7, 4]])
        let places = bodies.map { $0.withUnsafeBufferPointer { $0.baseAddress } }
        #expect(places[1] == places[0] && places[3] == places[0] && places[2] != places[0])
    }
}
