/// Effects that were not taken yet, and the writes that were taken and did not complete yet.
struct Outbox: Sendable {
    /// May leave at once.
    var messages: [Message] = []
    /// Promise something that has to be durable first.
    var messagesWhenDurable: [Message] = []
    var restore: SnapshotMetadata?
    var readStates: [ReadState] = []
    var failedReads: [UInt64] = []
    /// A write is wanted even if it is empty, because its completion counts as this replica's own vote.
    var needsReceipt = false
    /// Term and vote as they were handed out last.
    var writtenTerm: Term
    var writtenVote: ReplicaID?
    var reportedStatus: Status
    /// Writes that were handed out and are not complete, oldest first.
    private(set) var outstanding: [Persist.Receipt] = []

    init(term: Term, vote: ReplicaID?, status: Status) {
        writtenTerm = term
        writtenVote = vote
        reportedStatus = status
    }

    mutating func handedOut(_ receipt: Persist.Receipt) { outstanding.append(receipt) }

    /// Writes complete in order: the oldest that bears this receipt is complete, and so is all that precedes it.
    /// - Returns: false for a receipt that nobody waits for.
    mutating func completed(_ receipt: Persist.Receipt) -> Bool {
        guard let position = outstanding.firstIndex(of: receipt) else { return false }
        if mutated(.lateCompletionLowersDurable) {
            outstanding.remove(at: position)
            return true
        }
        outstanding.removeFirst(position + 1)
        return true
    }

    mutating func removeAll() {
        messages = []
        messagesWhenDurable = []
        restore = nil
        readStates = []
        needsReceipt = false
        outstanding = []
    }
}
