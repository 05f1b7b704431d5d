import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Entries for a number of groups, in batches, as a node's log writer gives them to its store.
struct LogLoad {
    let store: any LogStore
    private let payload: [UInt8]
    private var incarnation: UInt64 = 0
    /// The last index of each group.
    private var last: [UInt64]

    init(_ store: any LogStore, groups: Int, bytes: Int) throws {
        self.store = store
        payload = [UInt8](repeating: 0xA7, count: bytes)
        last = [UInt64](repeating: 0, count: groups)
        _ = try store.open()
        try store.persistIdentity(NodeIdentity(cluster: 1, node: NodeID(1), instance: 1))
        try beginGroups()
    }

    private func write(_ group: Int) -> LogBatch.Write {
        LogBatch.Write(group: GroupID(UInt64(group) + 1), incarnation: incarnation)
    }

    private mutating func beginGroups() throws {
        incarnation += 1
        var batch = LogBatch()
        for group in last.indices {
            var created = write(group)
            created.created = ReplicaIdentity(
                group: created.group, incarnation: incarnation, kind: .benchmark, replica: ReplicaID(1))
            created.hardState = HardState(term: Term(1), vote: ReplicaID(1))
            batch.writes.append(created)
            last[group] = 0
        }
        try store.write(batch)
    }

    /// Ends the life of every group and begins the next one, so that nothing that was written is live.
    mutating func beginAgain() throws {
        var batch = LogBatch()
        for group in last.indices {
            var removed = write(group)
            removed.isRemoved = true
            batch.writes.append(removed)
        }
        try store.write(batch)
        try beginGroups()
    }

    /// One write of so many entries for each of some groups, with the commit index that goes with them.
    mutating func append(_ entries: Int, to groups: some Sequence<Int>) throws {
        try store.write(prepare(entries, of: groups))
    }

    /// The same, not yet written.
    mutating func prepare(_ entries: Int, of groups: some Sequence<Int>) -> LogBatch {
        var batch = LogBatch()
        for group in groups {
            var one = write(group)
            one.entries.reserveCapacity(entries)
            for _ in 0..<entries {
                last[group] += 1
                one.entries.append(
                    Entry(index: LogIndex(last[group]), term: Term(1), kind: .command, payload: payload))
            }
            one.hardState = HardState(term: Term(1), vote: ReplicaID(1), commit: LogIndex(last[group]))
            batch.writes.append(one)
        }
        return batch
    }

    /// Takes an empty snapshot of a group: nothing up to its end is needed any more.
    func compact(_ group: Int) throws {
        var one = write(group)
        let metadata = SnapshotMetadata(
            index: LogIndex(last[group]), term: Term(1),
            configuration: Configuration(
                members: [.init(replica: ReplicaID(1), node: NodeID(1))], voters: [ReplicaID(1)], outgoingVoters: [],
                learners: [], nextLearners: [], leavesAutomatically: false, nextReplica: ReplicaID(2)))
        one.snapshot = metadata
        var batch = LogBatch()
        batch.writes = [one]
        try store.write(batch)
    }
}
