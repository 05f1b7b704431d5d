import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct RaftCodecTests {
    private func bytes(_ encode: (inout ProtobufWriter) -> Void) -> [UInt8] {
        var writer = ProtobufWriter()
        encode(&writer)
        return writer.bytes
    }

    private func change(_ bytes: [UInt8]) throws(WireError) -> ConfigurationChange {
        var reader = ProtobufReader(bytes)
        return try ConfigurationChange(from: &reader, unknownFields: .reject)
    }

    private func configuration(_ bytes: [UInt8]) throws(WireError) -> Configuration {
        var reader = ProtobufReader(bytes)
        return try Configuration(from: &reader, unknownFields: .reject)
    }

    private func encoded(_ configuration: Configuration) -> [UInt8] {
        bytes { configuration.encode(into: &$0) }
    }

    @Test("entries of every kind come back as they were")
    func entries() throws {
        let large = LogIndex(UInt64.max)
        for entry in [
            Entry(index: .zero, term: .zero, kind: .empty, payload: []),
            Entry(index: LogIndex(1), term: Term(300), kind: .command, payload: [1, 2, 3]),
            Entry(
                index: large, term: Term(.max), kind: .configuration,
                payload: Array(repeating: 7, count: 300)),
        ] {
            let encoding = bytes { entry.encode(into: &$0) }
            var reader = ProtobufReader(encoding)
            #expect(try Entry(from: &reader, unknownFields: .reject) == entry)
            #expect(bytes { entry.encode(9, into: &$0) } == bytes { $0.bytesAlways(9, encoding) })
        }
    }

    @Test("a vote for replica 0 is not the same as no vote")
    func hardState() throws {
        for vote in [nil, ReplicaID(0), ReplicaID(9)] {
            let state = HardState(term: Term(3), vote: vote, commit: LogIndex(8))
            var reader = ProtobufReader(bytes { state.encode(into: &$0) })
            #expect(try HardState(from: &reader, unknownFields: .reject) == state)
        }
    }

    @Test("a snapshot's metadata comes back with its joint configuration, and not without one")
    func snapshot() throws {
        let metadata = sampleSnapshot(900, term: 12)
        let encoding = bytes { metadata.encode(into: &$0) }
        var reader = ProtobufReader(encoding)
        #expect(try SnapshotMetadata(from: &reader, unknownFields: .reject) == metadata)
        var bare = ProtobufReader(bytes { $0.varint(1, 5) })
        #expect(throws: WireError.self) {
            try SnapshotMetadata(from: &bare, unknownFields: .reject)
        }
    }

    @Test(
        "a configuration change of every operation comes back, and leaving a joint configuration is no bytes"
    )
    func changes() throws {
        let all = ConfigurationChange(
            [
                .addLearner(NodeID(4)), .addVoter(NodeID(0)), .promote(ReplicaID(1)),
                .demote(ReplicaID(2)),
                .remove(ReplicaID(3)),
            ], transition: .jointExplicit)
        #expect(try change(bytes { all.encode(into: &$0) }) == all)
        #expect(bytes { ConfigurationChange([]).encode(into: &$0) }.isEmpty)
        #expect(try change([]) == ConfigurationChange([]))
    }

    @Test("unknown kinds are refused by name")
    func unknownKinds() throws {
        var entry = ProtobufReader(bytes { $0.varint(3, 3) })
        let error = #expect(throws: WireError.self) {
            try Entry(from: &entry, unknownFields: .skip)
        }
        #expect(error?.message.contains("kind 3") == true)
        #expect(throws: WireError.self) { try change(bytes { $0.varint(1, 3) }) }
        #expect(throws: WireError.self) { try change(bytes { $0.message(2) { _ in } }) }
        #expect(throws: WireError.self) {
            try change(
                bytes {
                    $0.message(2) { inner in
                        inner.varint(1, 1)
                        inner.varint(2, 1)
                    }
                })
        }
    }

    @Test("an unknown field is refused in stored data and skipped in messages")
    func unknownFields() throws {
        let entry = Entry(index: LogIndex(4), term: Term(2), kind: .command, payload: [9])
        let encoding = bytes {
            entry.encode(into: &$0)
            $0.string(15, "from the future")
        }
        var reader = ProtobufReader(encoding)
        #expect(try Entry(from: &reader, unknownFields: .skip) == entry)
        reader = ProtobufReader(encoding)
        let error = #expect(throws: WireError.self) {
            try Entry(from: &reader, unknownFields: .reject)
        }
        #expect(error?.code == .unknownField)

        let future = encoded(sampleConfiguration) + bytes { $0.varint(15, 1) }
        var lenient = ProtobufReader(future)
        #expect(try Configuration(from: &lenient, unknownFields: .skip) == sampleConfiguration)
        #expect(throws: WireError.self) { try configuration(future) }
    }

    @Test("a configuration whose parts do not agree is refused")
    func disagreement() throws {
        func variant(
            members: [UInt64] = [1, 2, 3], voters: [UInt64] = [1, 2], outgoing: [UInt64] = [],
            learners: [UInt64] = [3],
            nextLearners: [UInt64] = [], next: UInt64 = 4
        ) -> Configuration {
            Configuration(
                members: members.map { .init(replica: ReplicaID($0), node: NodeID($0)) },
                voters: voters.map { ReplicaID($0) },
                outgoingVoters: outgoing.map { ReplicaID($0) },
                learners: learners.map { ReplicaID($0) },
                nextLearners: nextLearners.map { ReplicaID($0) },
                leavesAutomatically: false, nextReplica: ReplicaID(next))
        }
        #expect(try configuration(encoded(variant())) == variant())
        #expect(try configuration(encoded(Configuration())) == Configuration())
        let broken = [
            variant(members: [1, 3, 2]), variant(members: [1, 2, 3, 3]), variant(voters: [2, 1]),
            variant(voters: [1, 1]), variant(voters: [1, 9]), variant(voters: [1, 2, 3]),
            variant(next: 3),
            variant(nextLearners: [1]), variant(outgoing: [4]), variant(learners: [7]),
            variant(
                members: Array(1...1025), voters: [1], learners: [], next: 2000),
        ]
        for (position, configuration) in broken.enumerated() {
            let error = #expect(throws: WireError.self, "variant \(position)") {
                try self.configuration(encoded(configuration))
            }
            #expect(error?.code == .invalidValue, "variant \(position)")
        }
    }

    @Test("no bytes make a decoder trap")
    func fuzz() {
        let seed = Simulation.seeds(1)[0]
        var random = SeededGenerator(seed: seed)
        let samples = [
            bytes { sampleSnapshot(900).encode(into: &$0) },
            bytes {
                ConfigurationChange([.addVoter(NodeID(1)), .remove(ReplicaID(2))]).encode(into: &$0)
            },
            bytes {
                HardState(term: Term(1), vote: ReplicaID(2), commit: LogIndex(3)).encode(into: &$0)
            },
            bytes { sampleEntry(5, "payload").encode(into: &$0) },
        ]
        var accepted = 0
        for _ in 0..<4000 {
            var bytes = samples.randomElement(using: &random)!
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let position = Int.random(in: 0..<bytes.count, using: &random)
                bytes[position] = .random(in: 0...255, using: &random)
            }
            bytes.removeLast(.random(in: 0...min(3, bytes.count - 1), using: &random))
            for policy in [UnknownFields.reject, .skip] {
                var readers = Array(repeating: ProtobufReader(bytes), count: 5)
                accepted += (try? Entry(from: &readers[0], unknownFields: policy)) == nil ? 0 : 1
                accepted +=
                    (try? HardState(from: &readers[1], unknownFields: policy)) == nil ? 0 : 1
                accepted +=
                    (try? SnapshotMetadata(from: &readers[2], unknownFields: policy)) == nil ? 0 : 1
                accepted +=
                    (try? Configuration(from: &readers[3], unknownFields: policy)) == nil ? 0 : 1
                accepted +=
                    (try? ConfigurationChange(from: &readers[4], unknownFields: policy)) == nil
                    ? 0 : 1
            }
        }
        #expect(accepted > 0, "FLOTILLA_SEED=\(seed)")
    }
}
