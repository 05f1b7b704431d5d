/// Effects that were not taken yet, and the writes that were taken and did not complete yet.
struct Outbox: Sendable {
    /// May leave at once.
    var messages: [Message] = []
    /// Promise something that has to be durable first.
    var messagesWhenDurable: [Message] = []
    var restore: SnapshotMetadata?
    var reads: [LogRead] = []
    var readStates: [ReadState] = []
    var failedReads: [UInt64] = []
    /// Term and vote as they were handed out last.
    var writtenTerm: Term
    var writtenVote: ReplicaID?
    var reportedStatus: Status
    /// What this replica tells itself when writes are durable, oldest first: first those that belong to writes which
    /// were handed out, then those that the next write takes along. A write is wanted for them even if it is empty.
    private(set) var ownAnswers: [OwnAnswer] = []
    private var handedOutAnswers = 0
    /// Writes that were handed out and are not complete, oldest first.
    private(set) var outstanding: [Write] = []

    struct Write: Sendable {
        var receipt: Persist.Receipt
        var answerCount: Int
    }

    init(term: Term, vote: ReplicaID?, status: Status) {
        writtenTerm = term
        writtenVote = vote
        reportedStatus = status
    }

    var hasWaitingAnswers: Bool { handedOutAnswers < ownAnswers.count }

    mutating func answer(_ promise: OwnAnswer.Promise, term: Term) {
        ownAnswers.append(OwnAnswer(promise: promise, term: term, precedingMessages: messagesWhenDurable.count))
    }

    mutating func handedOut(_ receipt: Persist.Receipt) {
        outstanding.append(Write(receipt: receipt, answerCount: ownAnswers.count - handedOutAnswers))
        handedOutAnswers = ownAnswers.count
    }

    /// Writes complete in order: the oldest that bears this receipt is complete, and so is all that precedes it.
    /// - Returns: how many of the own answers count now, or nil for a receipt that nobody waits for.
    mutating func completed(_ receipt: Persist.Receipt) -> Int? {
        guard let position = outstanding.firstIndex(where: { $0.receipt == receipt }) else { return nil }
        if mutated(.lateCompletionLowersDurable) { return outstanding.remove(at: position).answerCount }
        let answerCount = outstanding[...position].reduce(0) { $0 + $1.answerCount }
        outstanding.removeFirst(position + 1)
        handedOutAnswers -= answerCount
        return answerCount
    }

    mutating func dropOwnAnswers(_ count: Int) { ownAnswers.removeFirst(count) }

    /// Gives the memory of lists that are empty back.
    mutating func shrink() {
        if messages.isEmpty { messages = [] }
        if messagesWhenDurable.isEmpty { messagesWhenDurable = [] }
        if reads.isEmpty { reads = [] }
        if readStates.isEmpty { readStates = [] }
        if failedReads.isEmpty { failedReads = [] }
        if ownAnswers.isEmpty { ownAnswers = [] }
        if outstanding.isEmpty { outstanding = [] }
    }

    mutating func removeAll() {
        messages = []
        messagesWhenDurable = []
        restore = nil
        reads = []
        readStates = []
        ownAnswers = []
        handedOutAnswers = 0
        outstanding = []
    }
}

/// What a replica promises itself, which counts when a write is durable.
struct OwnAnswer: Sendable {
    enum Promise: Sendable {
        case preVote
        case vote
        case entries(through: LogIndex)
    }
    var promise: Promise
    var term: Term
    /// How many of the write's messages were made before it.
    var precedingMessages: Int
}
