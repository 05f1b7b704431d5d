import FlotillaIO
public import FlotillaRaft

// MARK: What tasks may ask, from anywhere

extension RaftGroup: GroupClient {
    public nonisolated func propose(_ operations: [Operation], ownerEpoch: UInt64) async throws -> Answer {
        let completion = Completion<Answer>()
        try submit(.propose(.init(operations: operations, ownerEpoch: ownerEpoch, completion: completion)))
        return try await completion.wait()
    }

    /// The same without a task that waits.
    /// - Parameter completion: called once, on the loop; by the caller where the group takes nothing.
    package nonisolated func propose(
        _ operations: [Operation], ownerEpoch: UInt64,
        completion: @escaping @Sendable (Result<Answer, any Error>) -> Void
    ) {
        let completion = Completion(completion)
        do {
            try submit(.propose(.init(operations: operations, ownerEpoch: ownerEpoch, completion: completion)))
        } catch {
            completion.finish(.failure(error))
        }
    }

    public nonisolated func barrier() async throws {
        let completion = Completion<Void>()
        try submit(.barrier(completion))
        try await completion.wait()
    }

    public nonisolated func withState<Result: Sendable>(
        _ body: @escaping @Sendable (any StateMachine) -> Result
    ) async throws -> Result {
        try await perform { group in body(group.stateMachine) }
    }

    /// Runs `body` on the loop, in the group.
    nonisolated func perform<Result: Sendable>(
        _ body: @escaping @Sendable (isolated RaftGroup) -> Result
    ) async throws -> Result {
        let completion = Completion<Result>()
        try submit(.perform { group in completion.finish(.success(body(group))) })
        return try await completion.wait()
    }
}

// MARK: On the loop

extension RaftGroup {
    /// Takes the proposals of one pass: the core gets them at once, so that they share append messages.
    func propose(_ proposals: [GroupInbox.Proposal]) {
        let (now, timestamp) = (loop.now, loop.wallNow.nanoseconds)
        var sequences: [UInt64] = []
        sequences.reserveCapacity(proposals.count)
        for proposal in proposals where !proposal.completion.isFinished {
            do throws(GroupError) {
                sequences.append(try enqueue(proposal, now: now, timestamp: timestamp))
            } catch {
                proposal.completion.finish(.failure(error))
            }
        }
        send(sequences, now: now)
    }

    private func enqueue(
        _ proposal: GroupInbox.Proposal, now: MonotonicTime, timestamp: Int64
    ) throws(GroupError) -> UInt64 {
        if let reason = stopReason ?? withdrawal ?? context.proposalRefusal { throw reason }
        guard pending.count < settings.pendingProposalLimit else {
            throw GroupError(
                .overloaded, "\(pending.count) commands of \(identity.group) wait for their outcome; try again later")
        }
        let (sequence, acknowledgedBelow) = pending.next
        let isForOthers = proposal.operations.contains { stateMachine.isForOthers($0) }
        let command = Command(
            kind: identity.kind, featureLevel: context.featureLevel.agreed,
            request: RequestID(client: client, sequence: sequence, acknowledgedBelow: acknowledgedBelow),
            timestamp: timestamp, ownerEpoch: proposal.ownerEpoch, operations: proposal.operations)
        let payload = command.encoded()
        guard payload.count <= Command.sizeLimit else {
            throw GroupError(.tooLarge, "a command of \(payload.count) bytes; the limit is \(Command.sizeLimit)")
        }
        return pending.append(
            .init(
                completion: proposal.completion, payload: payload, isForOthers: isForOthers,
                deadline: now.advanced(by: settings.requestTimeLimit), retryAt: now))
    }

    /// In portions: the core takes a list as a whole or not at all, and passes it on in one message.
    private func send(_ sequences: [UInt64], now: MonotonicTime) {
        var portion: [UInt64] = []
        var bytes = 0
        for sequence in sequences {
            let size = pending.with(sequence) { $0.payload.count }
            if !portion.isEmpty, bytes + size > GroupScheduler.frameTarget {
                sendPortion(portion, now: now)
                portion = []
                bytes = 0
            }
            portion.append(sequence)
            bytes += size
        }
        if !portion.isEmpty { sendPortion(portion, now: now) }
    }

    private func sendPortion(_ sequences: [UInt64], now: MonotonicTime) {
        var (payloads, isUrgent) = ([[UInt8]](), false)
        payloads.reserveCapacity(sequences.count)
        for sequence in sequences {
            pending.with(sequence) { item in
                payloads.append(item.payload)
                isUrgent = isUrgent || item.isForOthers
            }
        }
        let outcome = core.propose(payloads, isUrgent: isUrgent)
        let term = core.status.term
        for sequence in sequences {
            pending.with(sequence) { item in
                switch outcome {
                case .appended: item.appendedIn = term
                case .forwarded:
                    item.appendedIn = nil
                    item.retryAt = now.advanced(by: settings.proposalRetryInterval)
                case .refused:
                    // Sent when a leader is known, or at the next tick.
                    item.appendedIn = nil
                    item.retryAt = now
                }
            }
        }
    }

    /// Everything that waits goes to the new leader; what the old one had replicated is recognised when it is applied.
    func leaderDidChange(term: Term) {
        let now = loop.now
        send(pending.sequences.filter { pending[$0]!.appendedIn != term }, now: now)
        askAgain(now: now) { _ in true }
    }

    func retryProposals(now: MonotonicTime) {
        guard !pending.isEmpty else { return }
        let term = core.status.term
        var due: [UInt64] = []
        for sequence in pending.sequences {
            let item = pending[sequence]!
            if item.completion.isFinished {
                _ = pending.remove(sequence)
            } else if item.deadline <= now {
                _ = pending.remove(sequence)
                let message =
                    "no majority of \(identity.group) confirmed the command within \(settings.requestTimeLimit)"
                item.completion.finish(.failure(GroupError(.timedOut, message)))
            } else if item.retryAt <= now, item.appendedIn != term {
                due.append(sequence)
            }
        }
        send(due, now: now)
    }

    /// All reads of one pass share one round.
    func read(_ completions: [Completion<Void>]) {
        if let reason = stopReason ?? withdrawal {
            for completion in completions { completion.finish(.failure(reason)) }
            return
        }
        let now = loop.now
        ask(.init(completions: completions, deadline: now.advanced(by: settings.requestTimeLimit), retryAt: now), now)
    }

    private func ask(_ round: PendingReads.Round, _ now: MonotonicTime) {
        var round = round
        round.retryAt = now.advanced(by: settings.proposalRetryInterval)
        core.readIndex(context: reads.ask(round))
    }

    func retryReads(now: MonotonicTime) {
        askAgain(now: now) { $0.retryAt <= now }
    }

    private func askAgain(now: MonotonicTime, where isDue: (PendingReads.Round) -> Bool) {
        for context in reads.contexts {
            guard let round = reads.asked[context] else { continue }
            if round.deadline <= now {
                _ = reads.take(context)
                let message = "no leader of \(identity.group) confirmed the read within \(settings.requestTimeLimit)"
                for completion in round.completions { completion.finish(.failure(GroupError(.timedOut, message))) }
            } else if isDue(round) {
                _ = reads.take(context)
                let waiting = round.completions.filter { !$0.isFinished }
                if !waiting.isEmpty { ask(.init(completions: waiting, deadline: round.deadline, retryAt: now), now) }
            }
        }
    }
}

extension RaftGroup {
    /// On the loop: where this replica leads, looks at the state and proposes what `body` returns, one command each.
    /// Nobody waits for the outcome.
    /// - Parameter body: gets the members in force as well.
    /// - Returns: whether something was proposed, and what else `body` had to say; nil where this replica does not lead.
    public nonisolated func assumeIsolatedOnLeader<Result: Sendable>(
        _ body: @Sendable (any StateMachine, Configuration) -> (operations: [Operation], result: Result)
    ) -> (hasProposed: Bool, result: Result)? {
        assumeOnLoop { group in
            guard group.core.status.role == .leader else { return nil }
            let (operations, result) = body(group.stateMachine, group.core.configuration)
            group.proposeUnobserved(operations)
            return (!operations.isEmpty, result)
        }
    }

    /// On the loop: proposes what `body` asks for, if anything.
    /// - Returns: whether nothing is left to ask for, or this replica can no longer propose.
    public nonisolated func assumeIsolatedProposing(_ body: @Sendable (any StateMachine) -> Operation?) -> Bool {
        assumeOnLoop { group in
            guard group.stopReason == nil, group.withdrawal == nil, let operation = body(group.stateMachine) else {
                return true
            }
            if group.pending.isEmpty { group.proposeUnobserved([operation]) }
            return false
        }
    }

    private func proposeUnobserved(_ operations: [Operation]) {
        guard stopReason == nil, !operations.isEmpty else { return }
        propose(operations.map { .init(operations: [$0], ownerEpoch: 0, completion: Completion()) })
        wake()
    }
}
