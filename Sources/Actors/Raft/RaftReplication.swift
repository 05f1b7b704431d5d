// The leader's side of replication: proposals, appends, acknowledgements, commit, heartbeats.

extension Raft {
    // MARK: Inputs

    /// Proposes commands. A leader appends them all or none; a follower passes them on to the leader.
    /// - Parameter isUrgent: whether other members wait for these as well: then a leader tells them at once what is
    ///   committed. Otherwise they hear of it with the next append or heartbeat, which spares a message each.
    public mutating func propose(_ payloads: [[UInt8]], isUrgent: Bool = true) -> ProposalOutcome {
        precondition(!payloads.isEmpty, "a proposal has at least one payload")
        if isFenced { return .refused(.fenced) }
        wake()
        defer { checkInvariants() }
        if role == .leader {
            if let refusal = refusal(ofBytes: payloads.reduce(0) { $0 + $1.count }) {
                return refuse(refusal)
            }
            let first = log.lastIndex.next
            for payload in payloads { appendOwn(kind: .command, payload: payload, isUrgent: isUrgent) }
            promiseOwnEntries()
            broadcastAppend()
            return .appended(first: first, last: log.lastIndex)
        }
        guard let leader else {
            return refuse(.noLeader)
        }
        let entries = payloads.map { Entry(index: .zero, term: .zero, kind: .command, payload: $0) }
        send(.forwardedProposal(entries), to: leader)
        return .forwarded(to: leader)
    }

    /// Proposals of a follower. They are never passed on once more, so they cannot run in circles; what is dropped
    /// here is asked again by whoever waits for it. A membership change comes alone.
    mutating func handleForwarded(_ entries: [Entry]) {
        guard role == .leader, let first = entries.first else {
            if leader == nil { _ = refuse(.noLeader) }
            return
        }
        if let refusal = refusal(ofBytes: entries.reduce(0) { $0 + $1.payload.count }) {
            _ = refuse(refusal)
            return
        }
        if first.kind == .configuration, entries.count == 1 {
            handleForwardedChange(first.payload)
        } else if entries.allSatisfy({ $0.kind == .command }) {
            for entry in entries { appendOwn(kind: .command, payload: entry.payload) }
            promiseOwnEntries()
            broadcastAppend()
        }
    }

    /// The transport could not reach a member: what is in flight to it is probably lost.
    public mutating func reportUnreachable(_ replica: ReplicaID) {
        guard !isFenced, role == .leader, let member = position(of: replica) else { return }
        if progress[member].state == .replicate { progress[member].becomeProbe() }
        note { .unreachable($0.memberProgress(member)) }
        checkInvariants()
    }

    mutating func refuse(_ refusal: ProposalRefusal) -> ProposalOutcome {
        note { .proposalRefused(refusal, transferee: $0.transferee, $0.term) }
        return .refused(refusal)
    }

    func refusal(ofBytes bytes: Int) -> ProposalRefusal? {
        if position(of: id) == nil { return .notMember }
        if options.removedLeader != .stays && !isVoter(id) { return .notMember }
        if transferee != nil { return .transferring }
        // One proposal is taken however large it is, and one without payload always.
        if bytes > 0, unappliedBytes > 0, unappliedBytes + bytes > options.maxUncommittedBytes {
            return .tooManyUncommitted
        }
        return nil
    }

    mutating func appendOwn(kind: Entry.Kind, payload: [UInt8], isUrgent: Bool = true) {
        unappliedBytes += payload.count
        log.append(Entry(index: log.lastIndex.next, term: term, kind: kind, payload: payload))
        if isUrgent { urgentThrough = log.lastIndex }
        let isAlone = mutated(.singleVoterCommitsAtOnce) && configuration.voters == [id]
        if isAlone || mutated(.leaderCountsItselfBeforeDisk), let own = position(of: id) {
            _ = progress[own].acknowledged(log.lastIndex)
        }
    }

    /// What was appended will count as this replica's own once its disk has it.
    mutating func promiseOwnEntries() { outbox.answer(.entries(through: log.lastIndex), term: term) }

    mutating func releaseUnappliedBytes(through index: LogIndex) {
        var next = max(log.applied.next, firstOwnIndex)
        while next <= index, let entry = log.entry(at: next) {
            unappliedBytes -= entry.payload.count
            next = next.next
        }
        precondition(unappliedBytes >= 0, "more was applied than appended: \(summary)")
    }

    // MARK: Sending

    mutating func broadcastAppend() {
        for member in progress.indices where progress[member].replica != id {
            sendAppend(to: member, evenIfEmpty: true)
        }
    }

    /// Sends what the member lacks next: entries, or the snapshot if they are compacted. Entries that are not in memory
    /// any more are asked for.
    /// - Returns: whether something was sent.
    @discardableResult
    mutating func sendAppend(to member: Int, evenIfEmpty: Bool) -> Bool {
        if progress[member].isThrottled { return false }
        let next = progress[member].next
        if log.term(at: next.previous) == nil { return sendSnapshot(to: member) }
        var entries: [Entry] = []
        // With a full window only an empty append goes out: it finds out whether all of the window was lost.
        if progress[member].state != .replicate || !progress[member].inflights.isFull {
            guard log.isInWindow(next) else {
                askForEntries(of: member)
                return false
            }
            // First, or the optimiser takes a copy of the log while it looks at the options.
            let bytesMax = options.maxAppendBytes
            entries = log.slice(from: next, through: log.lastIndex, bytesMax: bytesMax)
        }
        if entries.isEmpty && !evenIfEmpty { return false }
        sendAppend(entries, to: member)
        return true
    }

    /// - Parameter entries: what the member lacks next.
    mutating func sendAppend(_ entries: [Entry], to member: Int) {
        let previous = progress[member].next.previous
        guard let previousTerm = log.term(at: previous) else {
            preconditionFailure("entry \(previous) is compacted, and entries behind it are sent: \(summary)")
        }
        let bytes = entries.reduce(0) { $0 + $1.payload.count }
        let count = entries.count
        // Anyone else has to answer: what it holds is not known.
        let isNotice =
            options.sparesAnswersToNotices && entries.isEmpty && progress[member].state == .replicate
            && !progress[member].isRecovering
        send(
            .append(
                Message.Append(
                    previousIndex: previous, previousTerm: previousTerm, commit: log.commit,
                    entries: entries, isNotice: isNotice)),
            to: progress[member].replica)
        progress[member].sent(entries: count, bytes: bytes)
        progress[member].sent(commit: log.commit)
        progress[member].hasSentAppend = true
    }

    /// - Parameter skips: whether members that got an append since the last heartbeat are left out.
    mutating func broadcastHeartbeat(skippingBesideAppends skips: Bool = false) {
        for member in progress.indices where progress[member].replica != id {
            defer { progress[member].hasSentAppend = false }
            if skips, progress[member].hasSentAppend { continue }
            // Not the whole commit index: the member may hold something else at what it did not acknowledge.
            let commit = mutated(.heartbeatNamesWholeCommit) ? log.commit : min(progress[member].match, log.commit)
            let heartbeat = Message.Body.heartbeat(.init(commit: commit, readRound: reads.startedRound))
            if mutated(.heartbeatsWaitForDisk) {
                sendWhenDurable(heartbeat, to: progress[member].replica)
            } else {
                send(heartbeat, to: progress[member].replica)
            }
            progress[member].sent(commit: commit)
        }
    }

    // MARK: Answers

    mutating func handle(_ response: Message.AppendResponse, from replica: ReplicaID) {
        guard let member = position(of: replica) else {
            note { _ in .ignoredStranger(replica) }
            return
        }
        noteActive(member)
        let countsAgain = progress[member].isRecovering && !response.isRecovering
        progress[member].isRecovering = response.isRecovering
        if response.isRejected {
            handleRejection(response, from: member)
        } else if response.index > .zero, response.index <= log.lastIndex {
            // Index 0 acknowledges nothing; it only states a term, or that the member is recovering.
            handleAcknowledgement(response.index, from: member)
        }
        if countsAgain, advanceCommit() { tellCommit() }
        stepDownIfReplaced()
    }

    private mutating func handleRejection(_ response: Message.AppendResponse, from member: Int) {
        note { .appendWasRefused(response, by: $0.progress[member].replica) }
        var hint = response.hintIndex
        if response.hintTerm > .zero {
            // Skip whole terms, not single entries (Raft paper 5.3, in both directions as etcd does).
            hint = log.conflictHint(from: min(hint, log.lastIndex), term: response.hintTerm).index
        }
        if response.isRecovering, response.index <= progress[member].match,
            response.hintIndex < response.index
        {
            progress[member].lostTail(after: min(hint, response.hintIndex))
            sendAppend(to: member, evenIfEmpty: true)
        } else if progress[member].refused(response.index, hint: hint) {
            note { .movedBack($0.memberProgress(member)) }
            if progress[member].state == .replicate { progress[member].becomeProbe() }
            sendAppend(to: member, evenIfEmpty: true)
        }
    }

    private mutating func handleAcknowledgement(_ index: LogIndex, from member: Int) {
        let isNews = progress[member].acknowledged(index)
        guard isNews || (progress[member].match == index && progress[member].state == .probe) else {
            return
        }
        switch progress[member].state {
        case .probe: progress[member].becomeReplicate()
        case .replicate: progress[member].freeInflights(through: index)
        case .snapshot:
            // However it got there: what it lacks now is in the log.
            if progress[member].match.next >= log.firstIndex, !mutated(.staysInSnapshotState) {
                note { .caughtUpAfterSnapshot($0.memberProgress(member)) }
                progress[member].becomeProbe()
                progress[member].becomeReplicate()
            }
        }
        if advanceCommit() {
            tellCommit()
        } else if progress[member].sentCommit < urgentThrough, progress[member].lacks(commit: log.commit) {
            sendAppend(to: member, evenIfEmpty: true)
        }
        // The window may have room for several appends now.
        while sendAppend(to: member, evenIfEmpty: false) {}
        if transferee == progress[member].replica { completeTransferIfCaughtUp(member) }
    }

    mutating func handle(_ response: Message.HeartbeatResponse, from replica: ReplicaID) {
        guard let member = position(of: replica) else {
            note { _ in .ignoredStranger(replica) }
            return
        }
        noteActive(member)
        progress[member].isPaused = false
        // A member in the probe state, or one that claims to be recovering, has to answer an append to leave it.
        if progress[member].match < log.lastIndex || progress[member].state == .probe
            || progress[member].isRecovering
        {
            sendAppend(to: member, evenIfEmpty: true)
        }
        let round = mutated(.confirmsReadsByEarlierRounds) ? reads.startedRound : response.readRound
        if round <= reads.startedRound {
            progress[member].confirmedReadRound = max(progress[member].confirmedReadRound, round)
            confirmReads()
        }
    }

    private mutating func noteActive(_ member: Int) {
        progress[member].isRecentlyActive = true
        progress[member].heardAtTick = leaderTick
    }

    // MARK: Commit

    mutating func acknowledgeOwnDisk(through index: LogIndex) {
        guard let own = position(of: id) else {
            note { .ignoredStranger($0.id) }
            return
        }
        if progress[own].acknowledged(index), advanceCommit() { tellCommit() }
    }

    /// Tells the members what is committed, where somebody there may wait for it.
    private mutating func tellCommit() {
        for member in progress.indices where progress[member].replica != id {
            if progress[member].sentCommit < urgentThrough { sendAppend(to: member, evenIfEmpty: true) }
        }
    }

    /// The highest index that a quorum's disks hold. A recovering member does not count.
    var quorumIndex: LogIndex {
        LogIndex(
            Quorum.reached(by: countedVoters, and: configuration.outgoingVoters) { voter in
                guard let member = progress.first(where: { $0.replica == voter }) else {
                    return nil
                }
                return member.isRecovering ? nil : member.match.rawValue
            })
    }

    private var countedVoters: [ReplicaID] {
        if mutated(.countsLearners) { return configuration.members.map(\.replica) }
        if mutated(.removedLeaderCountsItself), !isVoter(id) {
            return configuration.voters + [id]
        }
        return configuration.voters
    }

    /// Commits what a quorum holds, if it ends with an entry of this term: an entry of an earlier term that a quorum
    /// holds can still be overwritten (Raft paper, figure 8).
    /// - Returns: whether the commit index rose.
    mutating func advanceCommit() -> Bool {
        if configuration.voters.isEmpty { return false }
        let index = quorumIndex
        if index <= log.commit { return false }
        if log.term(at: index) != term && !mutated(.commitsEarlierTermsByCounting) { return false }
        log.advanceCommit(to: index)
        return true
    }

    var hasCommittedInTerm: Bool { log.term(at: log.commit) == term }

    // MARK: Time

    mutating func tickAsLeader(_ count: Int) {
        heartbeatElapsed += count
        electionElapsed += count
        leaderTick += UInt64(count)
        if electionElapsed >= options.electionTicks {
            electionElapsed = 0
            if options.checksQuorum { stepDownUnlessQuorumIsActive() }
            if role != .leader { return }
            // A transfer that takes longer than an election would is given up.
            abortTransfer()
        }
        becomeQuietIfIdle(count)
        if isQuiet { return }
        if heartbeatElapsed >= options.heartbeatTicks {
            heartbeatElapsed = 0
            openLeaseRound()
            broadcastHeartbeat(skippingBesideAppends: options.skipsHeartbeatsBesideAppends && options.reads != .lease)
        }
        announceSnapshotsAgain()
    }

    private mutating func stepDownUnlessQuorumIsActive() {
        let verdict = Quorum.verdict(of: configuration.voters, and: configuration.outgoingVoters) {
            voter in
            voter == id
                || progress.contains { $0.replica == voter && $0.isRecentlyActive }
        }
        if verdict != .won {
            note { _ in .lostQuorum }
            if !mutated(.leadsWithoutQuorum) { becomeFollower(term, leader: nil) }
            return
        }
        for member in progress.indices where progress[member].replica != id {
            progress[member].isRecentlyActive = false
        }
    }

    // MARK: What an operator sees

    /// What this leader knows of a member; nil on others, and for strangers.
    public func progress(of replica: ReplicaID) -> MemberProgress? {
        guard role == .leader, let member = position(of: replica) else { return nil }
        return memberProgress(member)
    }

    func memberProgress(_ position: Int) -> MemberProgress {
        let member = progress[position]
        let state: MemberProgress.State =
            switch member.state {
            case .probe: .probe
            case .replicate: .replicate
            case .snapshot: .snapshot
            }
        return MemberProgress(
            replica: member.replica, match: member.match, next: member.next, state: state,
            isActive: wasHeardRecently(member), isLearner: member.isLearner,
            isRecovering: member.isRecovering, isPaused: member.isThrottled,
            pendingSnapshot: member.pendingSnapshot, inFlight: member.inflights.count,
            isWindowFull: member.inflights.isFull)
    }

    func wasHeardRecently(_ member: Progress) -> Bool {
        member.replica == id
            || (member.heardAtTick > 0
                && leaderTick - member.heardAtTick < UInt64(options.electionTicks))
    }
}
