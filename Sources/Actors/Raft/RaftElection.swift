// Elections: timeouts, pre-vote, votes, and the lease that keeps a leader from being disrupted.

extension Raft {
    private enum Campaign {
        case preVote, vote, transfer
    }

    // MARK: Inputs

    /// Tries to become leader now. Nothing happens on a leader, on a replica that may not lead, or while a committed
    /// membership change is not applied; nor where reads by lease bind this replica to a leader.
    public mutating func campaign() {
        if isFenced { return }
        wake()
        if keepsLeasePromise {
            note { _ in .cannotCampaign }
        } else {
            startCampaign(options.usesPreVote ? .preVote : .vote)
        }
        checkInvariants()
    }

    /// The node of the leader is known to be dead: forgets the leader, and with it the lease that would withhold
    /// votes, and campaigns after a short random delay, so that two followers rarely do so at once.
    public mutating func leaderLost() {
        if isFenced || role == .leader { return }
        wake()
        // It may be alive for others, and answer their reads: the election timeout decides.
        if options.reads == .lease { return }
        setLeader(nil)
        if role == .follower, isPromotable {
            let delay = random.below(options.electionTicks / 2)
            ticksUntilCampaign = delay
            if delay == 0 { campaign() }
        }
        checkInvariants()
    }

    /// Forgets who leads, without a campaign: votes are granted again, and the election timer goes on.
    public mutating func forgetLeader() {
        guard !isFenced, role == .follower else { return }
        if options.reads == .lease {
            // The leader of that lease may be answering reads right now.
            note { _ in .keptLeaderForLease }
            return
        }
        guard let leader else { return }
        wake()
        note { .forgotLeader(leader, $0.term) }
        setLeader(nil)
        checkInvariants()
    }

    mutating func tickElection(_ count: Int) {
        electionElapsed += count
        if let remaining = ticksUntilCampaign {
            ticksUntilCampaign = max(0, remaining - count)
        }
        if !isPromotable { return askForLeader() }
        if electionElapsed >= randomizedElectionTicks || ticksUntilCampaign == 0 {
            electionElapsed = 0
            ticksUntilCampaign = nil
            startCampaign(options.usesPreVote ? .preVote : .vote)
        }
    }

    /// A replica that may not campaign, such as a learner, has no other way to hear of the leader of a quiet group that
    /// it took for dead: the others know nothing of that, and stay quiet. As after a message of quiescence that it
    /// cannot agree to, what it sends acknowledges nothing, but wakes the leader.
    private mutating func askForLeader() {
        guard options.quietAfterTicks > 0, electionElapsed >= randomizedElectionTicks else { return }
        electionElapsed = 0
        for member in configuration.members where member.replica != id && isVoter(member.replica) {
            sendWhenDurable(
                .appendResponse(.init(index: .zero, isRecovering: isRecovering)), to: member.replica)
        }
    }

    /// A leadership transfer asks for a campaign at once, without a pre-vote (thesis 3.10).
    mutating func campaignForTransfer(from leader: ReplicaID) {
        guard role == .follower else { return }
        note { .campaignsForTransfer(from: leader, $0.term) }
        startCampaign(.transfer)
    }

    // MARK: Rules

    /// Whether this replica may lead: a voter, as far as it knows, with a complete log.
    var isPromotable: Bool {
        (isVoter(id) || mutated(.campaignsWithoutVote))
            && (!log.hasPendingSnapshot || mutated(.campaignsWithPendingSnapshot))
            && (!isRecovering || mutated(.recoveringReplicaCampaigns)) && !isFenced
    }

    func isVoter(_ replica: ReplicaID) -> Bool {
        configuration.voters.contains(replica) || configuration.outgoingVoters.contains(replica)
    }

    /// A leader was heard from within the shortest election timeout.
    var isInLease: Bool {
        options.checksQuorum && leader != nil && electionElapsed < options.electionTicks
            && !mutated(.ignoresLeaseOfLeader)
    }

    // MARK: Campaigns

    private mutating func startCampaign(_ kind: Campaign) {
        if role == .leader {
            note { _ in .alreadyLeads }
            return
        }
        if !isPromotable {
            note { _ in .cannotCampaign }
            return
        }
        // The change that is not applied yet decides whose votes count.
        if log.hasUnappliedConfiguration, !mutated(.campaignsWithUnappliedChange) {
            note { .campaignWaitsForChange($0.term) }
            return
        }
        if role != .preCandidate || kind == .preVote { note { .startedElection($0.term) } }
        runCampaign(kind)
    }

    private mutating func runCampaign(_ kind: Campaign) {
        let isPreVote = kind == .preVote
        if isPreVote { becomePreCandidate() } else { becomeCandidate() }
        let request = Message.VoteRequest(
            lastIndex: log.lastIndex, lastTerm: log.lastTerm, isTransfer: kind == .transfer)
        for member in configuration.members where isVoter(member.replica) {
            if member.replica == id {
                // The own vote counts when it is durable, together with the log that it speaks for.
                outbox.answer(isPreVote ? .preVote : .vote, term: term)
                if mutated(.countsOwnVoteAtOnce) { recordVote(of: id, isGranted: true) }
                continue
            }
            note {
                .requestedVote(
                    of: member.replica, isPreVote: isPreVote, lastIndex: $0.log.lastIndex, lastTerm: $0.log.lastTerm,
                    term: $0.term)
            }
            if isPreVote {
                outbox.messages.append(
                    Message(
                        from: id, to: member.replica, term: term.next,
                        body: .preVote(request)))
            } else {
                // Not before the own vote and the whole log are durable. Otherwise: C asks for votes with an entry
                // that is in its memory only; B grants; C crashes, loses the entry, campaigns in the same term again,
                // and takes B's answer for a vote for the shorter log.
                sendWhenDurable(.vote(request), to: member.replica)
            }
        }
    }

    mutating func recordVote(of voter: ReplicaID, isGranted: Bool) {
        // The vote of a removed replica counts for nothing.
        if !isVoter(voter) && !mutated(.countsVotesOfStrangers) { return }
        if !votes.contains(where: { $0.voter == voter }) { votes.append(Vote(voter: voter, isGranted: isGranted)) }
        note {
            .countedVote(
                of: voter, isPreVote: $0.role == .preCandidate, isGranted: isGranted, term: $0.term,
                granted: $0.votes.count { $0.isGranted }, refused: $0.votes.count { !$0.isGranted })
        }
        var verdict = Quorum.verdict(of: configuration.voters, and: configuration.outgoingVoters) {
            voter in
            votes.first { $0.voter == voter }?.isGranted
        }
        if mutated(.countsVotesOfStrangers),
            2 * votes.count(where: { $0.isGranted }) > configuration.voters.count
        {
            verdict = .won
        }
        switch (verdict, role) {
        case (.won, .preCandidate): startCampaign(.vote)
        case (.won, .candidate):
            becomeLeader()
            broadcastAppend()
        case (.lost, .preCandidate): becomeFollower(term, leader: nil)
        case (.lost, .candidate):
            becomeFollower(term, leader: nil)
            campaignSoon()
        case (.pending, .candidate): if !isGranted { campaignSoon() }
        case (.pending, _), (.won, _), (.lost, _): break
        }
    }

    /// Whoever was refused after a majority had agreed in the pre-vote that nobody leads was beaten by another candidate of
    /// the same moment, and perhaps neither wins: one of the two asks again before an election timeout, unless a leader
    /// writes first.
    private mutating func campaignSoon() {
        guard options.usesPreVote else { return }
        ticksUntilCampaign = 1 + random.below(max(1, options.electionTicks / 2))
    }

    mutating func handlePreVoteResponse(_ message: Message, isGranted: Bool) {
        if role != .preCandidate { return }
        // A grant that was given for an earlier round says nothing about this one.
        if isGranted && message.term != term.next && !mutated(.countsStalePreVotes) { return }
        recordVote(of: message.from, isGranted: isGranted)
    }

    /// Answers a request for a vote or a pre-vote. A learner answers as well: the candidate may know better than
    /// this replica that it is a voter by now.
    mutating func handle(_ request: Message.VoteRequest, isPreVote: Bool, _ message: Message) {
        let mayVote =
            vote == message.from || (vote == nil && leader == nil)
            || (isPreVote && message.term > term)
        let isGranted =
            mayVote && (!isRecovering || mutated(.recoveringReplicaVotes)) && isComplete(request)
            && (request.isTransfer || !keepsLeasePromise || mutated(.votesAgainstLeasePromise))
            && (isVoter(id) || !mutated(.learnerRefusesVote))
        let promised = isGranted ? message.term : term
        note { isGranted ? .votedFor(message, $0.voterState) : .refusedVote(message, $0.voterState) }
        if isPreVote {
            sendWhenDurable(.preVoteResponse(granted: isGranted), to: message.from, term: promised)
            return
        }
        if isGranted {
            electionElapsed = 0
            ticksUntilCampaign = nil
            cast(voteFor: message.from)
        }
        sendWhenDurable(.voteResponse(granted: isGranted), to: message.from, term: promised)
    }

    /// Whether the candidate's log holds everything that may be committed.
    ///
    /// A replica that a change took the vote from still votes for those who do not know yet that the change is
    /// committed, but its uncommitted tail must not stand against them: it may not campaign with it. Otherwise: 2 leads
    /// {1, 2}, demotes 1, tells it so together with an entry that 2's own disk has not got, and crashes. 2 needs the
    /// vote of 1, which refuses because its log is longer, for ever.
    ///
    /// Why that is safe: what the tail holds can have been committed by a quorum of the configuration before or after
    /// the change only, and each of those contains a majority of the voters after it (`isOutvoted` says so), as does
    /// the candidate's quorum: it has the change in its log, so it knows the configuration right before it. Both
    /// majorities share a voter that compares whole logs. A later change in the tail would spoil this.
    private func isComplete(_ request: Message.VoteRequest) -> Bool {
        if log.isUpToDate(lastIndex: request.lastIndex, lastTerm: request.lastTerm) { return true }
        guard isOutvoted, !mutated(.outvotedKeepsTail), !log.hasConfigurationBehindApplied,
            let commitTerm = log.term(at: log.commit)
        else { return false }
        return request.lastTerm > commitTerm
            || (request.lastTerm == commitTerm && request.lastIndex >= log.commit)
    }

    // MARK: Roles

    mutating func becomeFollower(_ newTerm: Term, leader newLeader: ReplicaID?) {
        resetRole(newTerm)
        role = .follower
        progress = []
        setLeader(newLeader)
        note { .becameFollower($0.term) }
    }

    private mutating func becomePreCandidate() {
        precondition(role != .leader, "a leader asks for no pre-vote: \(summary)")
        votes.removeAll(keepingCapacity: true)
        role = .preCandidate
        setLeader(nil)
        note { .becamePreCandidate($0.term) }
    }

    private mutating func becomeCandidate() {
        precondition(role != .leader, "a leader does not campaign: \(summary)")
        resetRole(term.next)
        cast(voteFor: id)
        role = .candidate
        note { .becameCandidate($0.term) }
    }

    private mutating func cast(voteFor candidate: ReplicaID) {
        precondition(
            vote == nil || vote == candidate, "a second vote in term \(term), for \(candidate): \(summary)")
        vote = candidate
    }

    private mutating func becomeLeader() {
        precondition(
            role == .candidate && leaderOfTerm == nil,
            "only a candidate of a term without leader may lead: \(summary)")
        resetRole(term)
        role = .leader
        setLeader(id)
        leaderTick = 1
        urgentThrough = .zero
        progress = freshProgress
        if let own = position(of: id) {
            progress[own].becomeReplicate()
            progress[own].isRecentlyActive = true
        }
        // Whatever the log holds may be a membership change.
        if !mutated(.takesChangeAtOnce) { pendingChangeIndex = log.lastIndex }
        firstOwnIndex = log.lastIndex.next
        appendOwn(kind: .empty, payload: [])
        promiseOwnEntries()
        note { .becameLeader($0.term) }
    }

    private mutating func resetRole(_ newTerm: Term) {
        precondition(newTerm >= term, "the term would fall from \(term) to \(newTerm): \(summary)")
        if newTerm > term {
            term = newTerm
            vote = nil
            leaderOfTerm = nil
        }
        if mutated(.forgetsVoteOnStepDown) { vote = nil }
        setLeader(nil)
        failOwnReads()
        electionElapsed = 0
        heartbeatElapsed = 0
        ticksUntilCampaign = nil
        drawElectionTimeout()
        votes.removeAll(keepingCapacity: true)
        transferee = nil
        pendingChangeIndex = .zero
        if !mutated(.leaksUnappliedBytes) { unappliedBytes = 0 }
        isQuiet = false
        idleTicks = 0
    }

    mutating func drawElectionTimeout() {
        randomizedElectionTicks = options.electionTicks + random.below(options.electionTicks)
    }

    mutating func setLeader(_ newLeader: ReplicaID?) {
        if leader == newLeader { return }
        leader = newLeader
        if let newLeader { leaderOfTerm = newLeader }
        failForwardedReads()
    }

    // MARK: The members that a leader keeps track of

    func position(of replica: ReplicaID) -> Int? { progress.firstIndex { $0.replica == replica } }

    /// What a leader begins with.
    var freshProgress: ContiguousArray<Progress> {
        var progress = ContiguousArray<Progress>()
        progress.reserveCapacity(configuration.members.count)
        for member in configuration.members {
            let isSelf = member.replica == id
            progress.append(
                Progress(
                    replica: member.replica, match: isSelf ? log.durable : .zero, next: log.lastIndex.next,
                    isLearner: configuration.learners.contains(member.replica), inflights: emptyInflights))
        }
        return progress
    }

    var emptyInflights: Inflights {
        Inflights(countMax: options.maxAppendsInFlight, bytesMax: options.maxInFlightBytes)
    }
}
