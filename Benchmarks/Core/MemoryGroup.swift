import FlotillaRaft

/// A group whose replicas stand side by side in memory: every write is durable at once, every message arrives. What is
/// left is the work of the core.
struct MemoryGroup {
    /// As an actor would hold it.
    private final class Replica {
        var raft: Raft
        init(_ raft: consuming Raft) { self.raft = raft }
    }

    private let replicas: [Replica]
    private var inbox: [Message] = []

    init(replicas count: UInt64) {
        let members = (1...count).map { Configuration.Member(replica: ReplicaID($0), node: NodeID($0)) }
        let configuration = Configuration(
            members: members, voters: members.map(\.replica), outgoingVoters: [], learners: [], nextLearners: [],
            leavesAutomatically: false, nextReplica: ReplicaID(count + 1))
        let founding = SnapshotMetadata(index: LogIndex(1), term: Term(1), configuration: configuration)
        let state = HardState(term: Term(1), vote: nil, commit: LogIndex(1))
        let options = RaftOptions.Shared(RaftOptions())
        replicas = members.map { member in
            Replica(
                Raft(
                    member.replica, randomSeed: 1, options,
                    restored: RestoredReplica(hardState: state, snapshot: founding)))
        }
        replicas[0].raft.campaign()
        settle()
        precondition(replicas[0].raft.status.role == .leader, "three replicas that all answer elect the one that asks")
    }

    /// Proposes to the leader, until every replica has applied it.
    mutating func commit(_ payloads: [[UInt8]]) {
        guard case .appended(_, let last) = replicas[0].raft.propose(payloads) else {
            preconditionFailure("a leader with nothing to do takes a proposal")
        }
        settle()
        precondition(replicas.allSatisfy { $0.raft.appliedIndex == last }, "every replica applies what is committed")
    }

    /// Lets go of the log's applied entries, as after a snapshot.
    mutating func compact() {
        for replica in replicas {
            let index = replica.raft.appliedIndex
            replica.raft.snapshotTaken(
                SnapshotMetadata(
                    index: index, term: replica.raft.term(at: index)!, configuration: replica.raft.configuration),
                keepingEntriesBehind: 0)
        }
    }

    private mutating func settle() {
        var isMoving = true
        while isMoving {
            isMoving = false
            for replica in replicas {
                while replica.raft.hasEffects {
                    isMoving = true
                    act(on: replica.raft.takeEffects(), of: replica)
                }
            }
            var batch: [Message] = []
            swap(&batch, &inbox)
            for message in batch { replicas[Int(message.to.rawValue) - 1].raft.step(message) }
            if !batch.isEmpty { isMoving = true }
        }
    }

    private mutating func act(on effects: consuming Effects, of replica: Replica) {
        inbox.append(contentsOf: effects.messages)
        if let persist = effects.persist {
            replica.raft.persisted(persist.receipt)
            inbox.append(contentsOf: persist.messagesWhenDurable)
        }
        if let last = effects.committed.last { replica.raft.applied(through: last.index) }
    }
}
