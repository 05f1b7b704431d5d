@testable import FlotillaRaft

extension Cluster {
    /// Everything that was handed out is on disk and reported at once, by the newest receipt. The older completions come
    /// late and bring nothing new.
    func persistTogether(_ id: ReplicaID) {
        guard replicas[id]!.isUp, let last = replicas[id]!.writes.last else { return }
        let writes = replicas[id]!.writes
        replicas[id]!.writes = []
        for write in writes { replicas[id]!.disk.write(write) }
        replicas[id]!.raft.persisted(last.receipt)
        for write in writes { post(write.messagesWhenDurable) }
        let durable = replicas[id]!.durableIndex
        for write in writes.dropLast() { replicas[id]!.raft.persisted(write.receipt) }
        if replicas[id]!.durableIndex < durable {
            fail("a late completion took something back: \(replicas[id]!.summary)")
        }
        if !replicas[id]!.raft.isRecovering { replicas[id]!.disk.recoveringUntil = nil }
        check(id)
    }

    /// A crash after which the last entries cannot be read any more, though they were acknowledged. Term and vote stand
    /// in another record, which is whole.
    func damage(_ id: ReplicaID, lost count: Int) {
        crash(id)
        let replica = replicas[id]!
        // Nobody needs those that the snapshot covers.
        let covered = replica.disk.snapshot?.index ?? .zero
        let needed = replica.disk.entries.count { $0.index > covered }
        guard count > 0, needed > 0, let last = replica.disk.entries.last?.index else { return restart(id) }
        replica.disk.entries.removeLast(min(count, needed))
        replica.disk.recoveringUntil = max(last, replica.disk.recoveringUntil ?? .zero)
        let end = replica.disk.entries.last?.index ?? replica.disk.snapshot?.index ?? .zero
        replica.disk.hardState.commit = min(replica.disk.hardState.commit, end)
        restart(id)
    }
}
