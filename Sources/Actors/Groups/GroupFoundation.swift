public import FlotillaRaft

/// How a group begins: its first members start with the same configuration, which is the first entry of each one's log.
/// So none of them has to be told of the others, and none can begin with fewer.
public struct GroupFoundation: Hashable, Sendable {
    public var group: GroupID
    public var incarnation: UInt64
    public var kind: GroupKind
    /// Where its voters live, each node once. Their replica ids count from 1, in this order.
    public var voters: [NodeID]

    public init(group: GroupID, incarnation: UInt64, kind: GroupKind, voters: [NodeID]) {
        precondition(!voters.isEmpty && Set(voters).count == voters.count, "\(group) is founded on \(voters)")
        self.group = group
        self.incarnation = incarnation
        self.kind = kind
        self.voters = voters
    }

    /// The replica that a node hosts from the beginning, if it hosts one.
    public func replica(on node: NodeID) -> ReplicaIdentity? {
        voters.firstIndex(of: node).map {
            ReplicaIdentity(
                group: group, incarnation: incarnation, kind: kind, replica: ReplicaID(UInt64($0) + 1))
        }
    }

    /// What the log of a node's replica begins with.
    var entry: Entry {
        let change = ConfigurationChange(voters.map { .addVoter($0) })
        return Entry(index: LogIndex(1), term: Term(1), kind: .configuration, payload: change.encodedPayload())
    }

    /// It is committed: all members have it, or never were.
    var hardState: HardState { HardState(term: Term(1), vote: nil, commit: LogIndex(1)) }

    /// What a node finds of its replica's log when the first write is durable.
    public func log(of replica: ReplicaIdentity) -> RecoveredLog.Group {
        RecoveredLog.Group(replica: replica, hardState: hardState, outline: LogOutline(entries: [entry]))
    }
}

extension LogBatch.Write {
    /// The first write of a replica of a new group.
    public init(founding foundation: GroupFoundation, replica: ReplicaIdentity) {
        self.init(
            group: replica.group, incarnation: replica.incarnation, created: replica,
            hardState: foundation.hardState, entries: [foundation.entry])
    }
}
