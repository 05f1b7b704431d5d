// Membership changes. A configuration takes effect when its entry is applied, on every replica; at most one change
// waits for that at a time, and nobody campaigns while a committed one does (etcd's rules).

extension Raft {
    // MARK: Inputs

    /// Proposes a membership change, which the shell has encoded as the entry's payload: no bytes for a change without
    /// operations. A leader takes one at a time; a follower passes it on, without any promise.
    public mutating func proposeChange(
        _ change: ConfigurationChange, encoded: [UInt8]
    ) -> ProposalOutcome {
        proposeChange(isLeave: change.operations.isEmpty, encoded: encoded) {
            (next: inout ConfigurationChanger) throws(ConfigurationChanger.Problem) in try next.apply(change)
        }
    }

    /// - Parameter apply: what the change does to the present configuration.
    mutating func proposeChange(
        isLeave: Bool, encoded: [UInt8],
        apply: (inout ConfigurationChanger) throws(ConfigurationChanger.Problem) -> Void
    ) -> ProposalOutcome {
        if isFenced { return .refused(.fenced) }
        wake()
        defer { checkInvariants() }
        guard role == .leader else {
            guard let leader else { return refuse(.noLeader) }
            let entry = Entry(index: .zero, term: .zero, kind: .configuration, payload: encoded)
            send(.forwardedProposal([entry]), to: leader)
            return .forwarded(to: leader)
        }
        if let refusal = refusal(ofBytes: encoded.count) ?? refusal(ofChangeThatLeaves: isLeave) {
            return refuse(refusal)
        }
        if options.validatesChanges {
            do throws(ConfigurationChanger.Problem) {
                var trial = changer
                try apply(&trial)
            } catch {
                return .refused(.invalidChange(error.explanation))
            }
        }
        appendChange(encoded)
        return .appended(first: log.lastIndex, last: log.lastIndex)
    }

    /// A change that a follower passed on. It cannot be tried here, because the core does not read payloads; one that
    /// does not fit does nothing when it is applied.
    mutating func handleForwardedChange(_ encoded: [UInt8]) {
        if refusal(ofChangeThatLeaves: encoded.isEmpty) == nil { appendChange(encoded) }
    }

    private mutating func refusal(ofChangeThatLeaves isLeave: Bool) -> ProposalRefusal? {
        if !options.validatesChanges { return nil }
        if pendingChangeIndex > log.applied, !mutated(.takesTwoChanges) {
            note { .changeRefused(.pending($0.pendingChangeIndex, applied: $0.log.applied), $0.configuration) }
            return .changePending
        }
        if configuration.isJoint == isLeave { return nil }
        note { .changeRefused(isLeave ? .notJoint : .alreadyJoint, $0.configuration) }
        let problem: ConfigurationChanger.Problem = isLeave ? .notJoint : .alreadyJoint
        return .invalidChange(problem.explanation)
    }

    /// The shell applies a `.configuration` entry: the change takes effect here. An entry without payload means a
    /// change without operations, which leaves the joint configuration.
    /// - Parameter change: nil where the entry cannot be read; it then changes nothing, on any replica.
    /// - Returns: the configuration that is in force now. A change that does not fit changes nothing.
    public mutating func applyConfiguration(_ change: ConfigurationChange?) -> Configuration {
        guard let change else { return configuration }
        return applyConfiguration {
            (next: inout ConfigurationChanger) throws(ConfigurationChanger.Problem) in try next.apply(change)
        }
    }

    mutating func applyConfiguration(
        _ apply: (inout ConfigurationChanger) throws(ConfigurationChanger.Problem) -> Void
    ) -> Configuration {
        if isFenced { return configuration }
        do throws(ConfigurationChanger.Problem) {
            var next = changer
            try apply(&next)
            noteLostVote(from: configuration, to: next.configuration)
            configuration = next.configuration
            if role == .leader { progress = next.progress }
        } catch {
            return configuration
        }
        note { .switchedConfiguration($0.configuration) }
        configurationChanged()
        checkInvariants()
        return configuration
    }

    // MARK: Consequences

    private var changer: ConfigurationChanger {
        ConfigurationChanger(
            configuration: configuration, progress: role == .leader ? progress : freshProgress,
            lastIndex: log.lastIndex, inflights: emptyInflights)
    }

    private mutating func appendChange(_ payload: [UInt8]) {
        appendOwn(kind: .configuration, payload: payload)
        promiseOwnEntries()
        pendingChangeIndex = log.lastIndex
        broadcastAppend()
    }

    /// Every quorum of a joint configuration contains a majority of the incoming voters; and where one voter leaves an
    /// even number of them, every quorum contains a majority of the rest.
    private mutating func noteLostVote(from before: Configuration, to after: Configuration) {
        let had = isVoter(id)
        let has =
            after.voters.contains(id)
            || after.outgoingVoters.contains(id)
        let needsIt = !before.isJoint && before.voters.count % 2 == 1
        isOutvoted = had && !has && (!needsIt || mutated(.outvotedIgnoresTail))
    }

    private mutating func configurationChanged() {
        for member in progress.indices
        where progress[member].isRecentlyActive && progress[member].heardAtTick == 0 {
            progress[member].heardAtTick = leaderTick
        }
        let isLearner = configuration.learners.contains(id)
        switch role {
        case .follower: return
        case .preCandidate, .candidate:
            if !isVoter(id) { becomeFollower(term, leader: nil) }
            return
        case .leader: break
        }
        if position(of: id) == nil || isLearner {
            switch options.removedLeader {
            case .stays: return
            case .stepsDownAtOnce:
                becomeFollower(term, leader: nil)
                return
            case .stepsDownWhenReplaceable: break
            }
        }
        if advanceCommit() {
            broadcastAppend()
        } else {
            // New members need not wait for a heartbeat.
            for member in progress.indices where progress[member].replica != id {
                sendAppend(to: member, evenIfEmpty: false)
            }
        }
        if let transferee, !isVoter(transferee) { self.transferee = nil }
        suspendLease()
        confirmReads()
        stepDownIfReplaced()
    }

    /// Whoever does not count must not lead for long; the others elect one of their own. But not before one of them
    /// has the whole log and was told what is committed. Otherwise: 1 leaves {1, 2} with an entry that 2 lacks; 2 does
    /// not know that the change is committed and needs the vote of 1, which refuses because its log is longer, and may
    /// not campaign itself because it knows that it was removed.
    mutating func stepDownIfReplaced() {
        guard role == .leader, options.removedLeader == .stepsDownWhenReplaceable,
            !isVoter(id)
        else { return }
        let hasSuccessor = progress.contains {
            configuration.voters.contains($0.replica) && $0.match == log.lastIndex
                && !$0.isRecovering
                && $0.sentCommit >= log.commit
        }
        if hasSuccessor || mutated(.removedLeaderLeavesAtOnce) { becomeFollower(term, leader: nil) }
    }

    /// The leader leaves a joint configuration by itself. A transfer that is under way defers it: either the new
    /// leader does it, or this one when the transfer is given up. It is proposed once per joint configuration.
    mutating func leaveJointConfigurationIfDue() {
        guard role == .leader, configuration.isJoint, configuration.leavesAutomatically,
            log.applied >= pendingChangeIndex || mutated(.leavesJointRepeatedly), refusal(ofBytes: 0) == nil
        else { return }
        note { .leavesJointConfiguration($0.configuration) }
        appendChange([])
    }
}
