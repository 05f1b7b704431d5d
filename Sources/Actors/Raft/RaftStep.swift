extension Raft {
    /// Takes a message from a peer. Messages may be lost, late, repeated and out of order; those that make no
    /// sense here (for another replica, malformed, of an earlier term) change nothing.
    public mutating func step(_ message: Message) {
        if isFenced || message.to != id || message.from == id { return }
        if case .append(let append) = message.body, !isWellFormed(append, term: message.term),
            !mutated(.trustsMalformedAppends)
        {
            return
        }
        if isQuiet && breaksQuiet(message) { wake() }
        if message.isOfAnyTerm {
            // Whoever leads now may take it.
        } else if message.term > term {
            if !accept(laterTermOf: message) { return }
        } else if message.term < term, !(mutated(.countsAcknowledgementsOfEarlierTerms) && isAcknowledgement(message)) {
            answer(earlierTermOf: message)
            checkInvariants()
            return
        }
        switch message.body {
        case .preVote(let request): handle(request, isPreVote: true, message)
        case .vote(let request): handle(request, isPreVote: false, message)
        case .preVoteResponse(let isGranted): handlePreVoteResponse(message, isGranted: isGranted)
        case .voteResponse(let isGranted):
            if role == .candidate { recordVote(of: message.from, isGranted: isGranted) }
        case .append(let append):
            heard(from: message.from)
            handle(append, from: message.from)
        case .heartbeat(let heartbeat):
            heard(from: message.from)
            handle(heartbeat, from: message.from)
        case .snapshot(let metadata):
            if !mutated(.candidateTakesSnapshot) { heard(from: message.from) }
            handle(metadata, from: message.from)
        case .quiesce(let quiesce):
            heard(from: message.from)
            handle(quiesce, from: message.from)
        case .appendResponse(let response):
            if role == .leader { handle(response, from: message.from) }
        case .heartbeatResponse(let response):
            if role == .leader { handle(response, from: message.from) }
        case .forwardedProposal(let entries): handleForwarded(entries)
        case .readIndex(let request): handle(request, from: message.from)
        case .readIndexResponse(let state): finishForwardedRead(state)
        case .timeoutNow: campaignForTransfer(from: message.from)
        case .forwardedTransfer(let target):
            if role == .leader { transferLeadership(to: target) }
        }
        checkInvariants()
    }

    /// An answer to the last heartbeat before the quiet is often still on its way; it brings nothing new.
    private func breaksQuiet(_ message: Message) -> Bool {
        switch message.body {
        case .quiesce: false
        case .heartbeatResponse: message.term != term
        case .preVote, .preVoteResponse, .vote, .voteResponse, .append, .appendResponse, .heartbeat,
            .snapshot,
            .forwardedProposal, .readIndex, .readIndexResponse, .timeoutNow, .forwardedTransfer:
            true
        }
    }

    /// - Returns: false if the message is to be ignored, because a leader is alive.
    private mutating func accept(laterTermOf message: Message) -> Bool {
        switch message.body {
        case .preVote(let request):
            // Never changes a term: the sender has not got this one yet either.
            if mutated(.preVoteRaisesTerm) { becomeFollower(message.term, leader: nil) }
            return request.isTransfer || !withholdsVote(message)
        case .vote(let request):
            // A removed or cut-off replica must not disrupt a leader that others hear (thesis 4.2.3).
            if !request.isTransfer && withholdsVote(message) { return false }
            follow(laterTermOf: message, leader: nil)
        case .preVoteResponse(let isGranted):
            // A grant bears the term that was asked for; a refusal bears the one that the other is in.
            if !isGranted { follow(laterTermOf: message, leader: nil) }
        case .append, .heartbeat, .snapshot, .quiesce:
            follow(laterTermOf: message, leader: message.from)
        case .voteResponse, .appendResponse, .heartbeatResponse, .forwardedProposal, .readIndex,
            .readIndexResponse,
            .timeoutNow, .forwardedTransfer:
            follow(laterTermOf: message, leader: nil)
        }
        return true
    }

    private mutating func follow(laterTermOf message: Message, leader: ReplicaID?) {
        note { .receivedLaterTerm(message, own: $0.term) }
        becomeFollower(message.term, leader: leader)
    }

    private mutating func withholdsVote(_ message: Message) -> Bool {
        if !isInLease && !keepsLeasePromise { return false }
        note {
            .withheldVote(
                message, $0.voterState,
                ticksLeft: max($0.options.electionTicks - $0.electionElapsed, $0.leasePromiseTicks))
        }
        return true
    }

    private mutating func answer(earlierTermOf message: Message) {
        switch message.body {
        case .append, .heartbeat, .quiesce:
            // A leader of an earlier term cannot be replaced by a vote that nobody hears: tell it our term, so that
            // it steps down, and a replica that was cut off with a higher term can come back (etcd's "free stuck
            // candidate with check quorum").
            if (options.checksQuorum || options.usesPreVote) && !mutated(.ignoresLeaderOfEarlierTerm) {
                sendWhenDurable(
                    .appendResponse(.init(index: .zero, isRecovering: isRecovering)),
                    to: message.from)
            } else {
                note { .ignoredEarlierTerm(message, own: $0.term) }
            }
        case .preVote:
            // Answered, lest a replica with a longer log but an earlier term ask for ever.
            note { .refusedVote(message, $0.voterState) }
            if !mutated(.ignoresPreVoteOfEarlierTerm) {
                sendWhenDurable(.preVoteResponse(granted: false), to: message.from)
            }
        case .vote, .preVoteResponse, .voteResponse, .appendResponse, .snapshot, .heartbeatResponse,
            .forwardedProposal, .readIndex, .readIndexResponse, .timeoutNow, .forwardedTransfer:
            note { .ignoredEarlierTerm(message, own: $0.term) }
        }
    }

    /// Only for a mutant.
    private func isAcknowledgement(_ message: Message) -> Bool {
        if case .appendResponse(let response) = message.body { !response.isRejected } else { false }
    }

    /// A leader of this term spoke.
    private mutating func heard(from sender: ReplicaID) {
        precondition(
            role != .leader && (leaderOfTerm == nil || leaderOfTerm == sender)
                || mutated(.toleratesSecondLeader),
            "\(sender) leads in term \(term), but so does \(leaderOfTerm ?? id): \(summary)"
        )
        if role != .follower { becomeFollower(term, leader: sender) }
        setLeader(sender)
        promiseLease()
        electionElapsed = 0
        ticksUntilCampaign = nil
    }

    /// The entries follow the stated position one by one, and no term falls or exceeds the sender's.
    private func isWellFormed(_ append: Message.Append, term: Term) -> Bool {
        var index = append.previousIndex
        var entryTerm = append.previousTerm
        for entry in append.entries {
            if entry.index != index.next || entry.term < entryTerm || entry.term > term {
                return false
            }
            index = entry.index
            entryTerm = entry.term
        }
        return entryTerm <= term
    }
}

extension Message {
    /// Asks a leader for something and states nothing that a term would qualify.
    fileprivate var isOfAnyTerm: Bool {
        switch body {
        case .forwardedProposal, .readIndex: true
        case .preVote, .preVoteResponse, .vote, .voteResponse, .append, .appendResponse, .heartbeat,
            .heartbeatResponse, .snapshot, .readIndexResponse, .timeoutNow, .forwardedTransfer, .quiesce:
            false
        }
    }
}
