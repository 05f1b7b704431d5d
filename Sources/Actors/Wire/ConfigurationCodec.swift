public import FlotillaIO
public import FlotillaRaft

extension Configuration {
    /// How many members a configuration may have; a larger one is refused when decoded.
    public static let maximumMembers = 1024

    public func encode(into writer: inout ProtobufWriter) {
        for member in members {
            writer.message(1) { inner in
                inner.varint(1, member.replica.rawValue)
                inner.varint(2, member.node.rawValue)
            }
        }
        writer.packed(2, voters.lazy.map(\.rawValue))
        writer.packed(3, outgoingVoters.lazy.map(\.rawValue))
        writer.packed(4, learners.lazy.map(\.rawValue))
        writer.packed(5, nextLearners.lazy.map(\.rawValue))
        writer.bool(6, leavesAutomatically)
        writer.varint(7, nextReplica.rawValue)
    }

    public init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        var members: [Member] = []
        var voters: [UInt64] = []
        var outgoingVoters: [UInt64] = []
        var learners: [UInt64] = []
        var nextLearners: [UInt64] = []
        var leavesAutomatically = false
        var nextReplica: UInt64 = 0
        while let field = try reader.next() {
            switch field {
            case 1:
                var inner = try reader.message()
                members.append(try Member(from: &inner, unknownFields: policy))
            case 2: try reader.packed(into: &voters)
            case 3: try reader.packed(into: &outgoingVoters)
            case 4: try reader.packed(into: &learners)
            case 5: try reader.packed(into: &nextLearners)
            case 6: leavesAutomatically = try reader.bool()
            case 7: nextReplica = try reader.varint()
            default: try reader.unknown(in: "Configuration", policy)
            }
        }
        self.init(
            members: members, voters: voters.map(ReplicaID.init),
            outgoingVoters: outgoingVoters.map(ReplicaID.init),
            learners: learners.map(ReplicaID.init),
            nextLearners: nextLearners.map(ReplicaID.init),
            leavesAutomatically: leavesAutomatically,
            nextReplica: ReplicaID(nextReplica))
        if let problem { throw WireError(.invalidValue, "a configuration \(problem)") }
    }

    /// What is wrong with a decoded configuration, or nil.
    private var problem: String? {
        guard members.count <= Self.maximumMembers else { return "of \(members.count) members" }
        let ids = members.map(\.replica)
        let lists = [
            ("members", ids), ("voters", voters), ("outgoing voters", outgoingVoters),
            ("learners", learners), ("next learners", nextLearners),
        ]
        let known = Set(ids)
        for (name, list) in lists {
            guard zip(list, list.dropFirst()).allSatisfy({ $0 < $1 }) else {
                return "whose \(name) are not in ascending order"
            }
            if let stranger = list.first(where: { !known.contains($0) }) {
                return "whose \(name) name \(stranger), which is no member"
            }
        }
        if let last = ids.last, nextReplica <= last {
            return "that would issue \(nextReplica) again, after \(last)"
        }
        if !Set(learners).isDisjoint(with: voters) { return "in which a learner votes" }
        if !Set(nextLearners).isSubset(of: outgoingVoters) {
            return "in which a next learner is no outgoing voter"
        }
        return nil
    }
}

extension Configuration.Member {
    fileprivate init(from reader: inout ProtobufReader, unknownFields policy: UnknownFields)
        throws(WireError)
    {
        self.init(replica: ReplicaID(0), node: NodeID(0))
        while let field = try reader.next() {
            switch field {
            case 1: replica = ReplicaID(try reader.varint())
            case 2: node = NodeID(try reader.varint())
            default: try reader.unknown(in: "Configuration.Member", policy)
            }
        }
    }
}
