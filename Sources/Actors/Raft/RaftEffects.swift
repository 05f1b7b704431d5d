extension Raft {
    /// Whether `takeEffects()` would return anything.
    public var hasEffects: Bool {
        if status != outbox.reportedStatus || !outbox.failedReads.isEmpty { return true }
        if isFenced { return false }
        return !outbox.messages.isEmpty || !outbox.messagesWhenDurable.isEmpty
            || outbox.restore != nil
            || !outbox.readStates.isEmpty || needsWrite || canStartReadRound || !outbox.reads.isEmpty
            || log.hasCommitted(onlyDurable: options.appliesOnlyDurable)
            || log.needsPage(onlyDurable: options.appliesOnlyDurable)
    }

    /// Hands out what has to be done, each thing once.
    public mutating func takeEffects() -> Effects {
        var effects = Effects()
        if !isFenced {
            startReadRoundIfDue()
            effects.persist = takePersist()
            swap(&effects.messages, &outbox.messages)
            if effects.persist == nil, !outbox.messagesWhenDurable.isEmpty {
                // Nothing is on its way to the disk: what these promise is durable already.
                effects.messages.append(contentsOf: outbox.messagesWhenDurable)
                outbox.messagesWhenDurable.removeAll(keepingCapacity: true)
            }
            swap(&effects.restore, &outbox.restore)
            effects.committed = log.takeCommitted(
                bytesMax: options.maxCommittedBytesPerEffects, onlyDurable: options.appliesOnlyDurable)
            swap(&effects.reads, &outbox.reads)
            if log.needsPage(onlyDurable: options.appliesOnlyDurable) {
                effects.reads.append(
                    LogRead(
                        purpose: .apply, first: log.askForPage(), bytesMax: options.maxCommittedBytesPerEffects,
                        term: term))
            }
            swap(&effects.readStates, &outbox.readStates)
        }
        swap(&effects.failedReads, &outbox.failedReads)
        let status = self.status
        if status != outbox.reportedStatus {
            outbox.reportedStatus = status
            effects.statusChange = status
        }
        checkInvariants()
        return effects
    }

    /// A rise of the commit index alone is no reason: it is learned again from the next leader.
    private var needsWrite: Bool {
        log.hasUnwritten || term != outbox.writtenTerm || vote != outbox.writtenVote
            || outbox.restore != nil
            || outbox.hasWaitingAnswers
    }

    private mutating func takePersist() -> Persist? {
        let waits =
            !outbox.messagesWhenDurable.isEmpty && !outbox.outstanding.isEmpty
            && !mutated(.promisesBesideOutstandingWrites)
        guard needsWrite || waits else { return nil }
        let writesState =
            log.hasUnwritten || term != outbox.writtenTerm || vote != outbox.writtenVote
            || outbox.restore != nil
        var persist = Persist(
            hardState: writesState ? hardState : nil, entries: log.takeUnwritten(),
            snapshot: outbox.restore,
            messagesWhenDurable: [],
            receipt: Persist.Receipt(
                term: term, lastIndex: log.lastIndex, lastTerm: log.lastTerm,
                snapshotIndex: outbox.restore?.index ?? .zero))
        swap(&persist.messagesWhenDurable, &outbox.messagesWhenDurable)
        if mutated(.writesEntriesWithoutCommit) { persist.hardState?.commit = log.offset }
        outbox.writtenTerm = term
        outbox.writtenVote = vote
        outbox.handedOut(persist.receipt)
        return persist
    }

    // MARK: Sending

    mutating func send(_ body: Message.Body, to replica: ReplicaID) {
        outbox.messages.append(Message(from: id, to: replica, term: term, body: body))
    }

    /// For whatever promises a term, a vote, or entries.
    mutating func sendWhenDurable(
        _ body: Message.Body, to replica: ReplicaID, term promised: Term? = nil
    ) {
        let message = Message(from: id, to: replica, term: promised ?? term, body: body)
        if mutated(.asksBeforeVoteIsDurable), case .vote = body { return outbox.messages.append(message) }
        if mutated(.answersVotesAtOnce), case .voteResponse = body { return outbox.messages.append(message) }
        outbox.messagesWhenDurable.append(message)
    }
}
