@testable import FlotillaRaft

/// A log line of a scenario.
struct LogLine {
    enum Level: Int, CaseIterable {
        case debug, info, warn, error, fatal, none
        var name: String { "\(self)".uppercased() }
    }
    var level: Level
    var text: String

    init(_ level: Level, _ text: String) {
        self.level = level
        self.text = text
    }
}

extension RaftEvent {
    /// The lines that scenarios have for a decision of replica `own`.
    func lines(of own: ReplicaID) -> [LogLine] {
        let me = own.hex
        switch self {
        case .becameFollower(let term): return [.init(.info, "\(me) became follower at term \(term)")]
        case .becamePreCandidate(let term): return [.init(.info, "\(me) became pre-candidate at term \(term)")]
        case .becameCandidate(let term): return [.init(.info, "\(me) became candidate at term \(term)")]
        case .becameLeader(let term): return [.init(.info, "\(me) became leader at term \(term)")]
        case .lostQuorum: return [.init(.warn, "\(me) stepped down to follower since quorum is not active")]
        case .forgotLeader(let leader, let term):
            return [.init(.info, "\(me) forgetting leader \(leader.hex) at term \(term)")]
        case .keptLeaderForLease: return [.init(.error, "ignoring MsgForgetLeader due to ReadOnlyLeaseBased")]
        case .startedElection(let term): return [.init(.info, "\(me) is starting a new election at term \(term)")]
        case .alreadyLeads: return [.init(.debug, "\(me) ignoring MsgHup because already leader")]
        case .cannotCampaign: return [.init(.warn, "\(me) is unpromotable and can not campaign")]
        case .campaignWaitsForChange(let term):
            let reason = "there are still pending configuration changes to apply"
            return [.init(.warn, "\(me) cannot campaign at term \(term) since \(reason)")]
        case .requestedVote(let voter, let isPreVote, let lastIndex, let lastTerm, let term):
            let kind = isPreVote ? "MsgPreVote" : "MsgVote"
            let log = "[logterm: \(lastTerm), index: \(lastIndex)]"
            return [.init(.info, "\(me) \(log) sent \(kind) request to \(voter.hex) at term \(term)")]
        case .countedVote(let voter, let isPreVote, let isGranted, let term, let granted, let refused):
            let kind = isPreVote ? "MsgPreVoteResp" : "MsgVoteResp"
            let what = isGranted ? kind : kind + " rejection"
            return [
                .init(.info, "\(me) received \(what) from \(voter.hex) at term \(term)"),
                .init(.info, "\(me) has received \(granted) \(kind) votes and \(refused) vote rejections"),
            ]
        case .votedFor(let message, let voter): return [.init(.info, answer("cast", "for", message, voter, me))]
        case .refusedVote(let message, let voter):
            return [.init(.info, answer("rejected", "from", message, voter, me))]
        case .withheldVote(let message, let voter, let ticksLeft):
            let text = answer("ignored", "from", message, voter, me)
            return [.init(.info, "\(text): lease is not expired (remaining ticks: \(ticksLeft))")]
        case .receivedLaterTerm(let message, let own):
            let what = "received a \(message.scenarioKind) message with higher term"
            return [.init(.info, "\(me) [term: \(own)] \(what) from \(message.from.hex) [term: \(message.term)]")]
        case .ignoredEarlierTerm(let message, let own):
            let what = "ignored a \(message.scenarioKind) message with lower term"
            return [.init(.info, "\(me) [term: \(own)] \(what) from \(message.from.hex) [term: \(message.term)]")]
        case .ignoredStranger(let other): return [.init(.debug, "\(me) no progress available for \(other.hex)")]
        case .proposalRefused, .changeRefused: return []
        case .refusedAppend, .appendWasRefused, .movedBack, .unreachable, .replacedTail, .completionWithoutNews,
            .completionOfEarlierTerm:
            return replicationLines(me)
        case .sentSnapshot, .caughtUpAfterSnapshot, .restoring, .restored, .fastForwarded, .snapshotNotNeeded:
            return snapshotLines(me)
        case .switchedConfiguration(let configuration):
            return [.init(.info, "\(me) switched to configuration \(configuration.scenarioText)")]
        case .leavesJointConfiguration(let configuration):
            let what = "initiating automatic transition out of joint configuration"
            return [.init(.info, "\(what) \(configuration.scenarioText)")]
        case .transferStarted, .toldToCampaign, .transferIgnored, .transferReplaced, .campaignsForTransfer:
            return transferLines(me)
        }
    }

    private func answer(
        _ verb: String, _ preposition: String, _ message: Message, _ voter: VoterState, _ me: String
    ) -> String {
        var request: Message.VoteRequest?
        if case .vote(let body) = message.body { request = body }
        if case .preVote(let body) = message.body { request = body }
        let own = "[logterm: \(voter.lastTerm), index: \(voter.lastIndex), vote: \(voter.vote?.hex ?? "0")]"
        let theirs = "[logterm: \(request?.lastTerm ?? .zero), index: \(request?.lastIndex ?? .zero)]"
        return "\(me) \(own) \(verb) \(message.scenarioKind) \(preposition) \(message.from.hex) \(theirs) "
            + "at term \(voter.term)"
    }

    private func replicationLines(_ me: String) -> [LogLine] {
        switch self {
        case .refusedAppend(let append, let sender, let ownTerm):
            let own = "[logterm: \(ownTerm ?? .zero), index: \(append.previousIndex)]"
            let theirs = "[logterm: \(append.previousTerm), index: \(append.previousIndex)]"
            return [.init(.debug, "\(me) \(own) rejected MsgApp \(theirs) from \(sender.hex)")]
        case .appendWasRefused(let response, let sender):
            let hint = "(index \(response.hintIndex), term \(response.hintTerm))"
            let what = "received MsgAppResp(rejected, hint: \(hint))"
            return [.init(.debug, "\(me) \(what) from \(sender.hex) for index \(response.index)")]
        case .movedBack(let progress):
            let what = "decreased progress of \(progress.replica.hex)"
            return [.init(.debug, "\(me) \(what) to [\(progress.scenarioText)]")]
        case .unreachable(let progress):
            let what = "failed to send message to \(progress.replica.hex) because it is unreachable"
            return [.init(.debug, "\(me) \(what) [\(progress.scenarioText)]")]
        case .replacedTail(let index, let ownTerm, let leaderTerm, let firstNotDurable):
            let terms = "[existing term: \(ownTerm), conflicting term: \(leaderTerm)]"
            let what =
                index <= firstNotDurable ? "replace the unstable entries from" : "truncate the unstable entries before"
            return [
                .init(.info, "found conflict at index \(index) \(terms)"),
                .init(.info, "\(what) index \(index)"),
            ]
        case .completionWithoutNews(let index, let term, let ownTerm, let firstNotDurable):
            guard let ownTerm, ownTerm != term, index >= firstNotDurable else {
                return [.init(.info, "entry at index \(index) missing from unstable log; ignoring")]
            }
            let what = "entry at (index,term)=(\(index),\(term)) mismatched with entry at (\(index),\(ownTerm))"
            return [.init(.info, "\(what) in unstable log; ignoring")]
        case .completionOfEarlierTerm(let term, let own):
            let what = "ignored entry appends from a MsgStorageAppendResp message with lower term"
            return [.init(.info, "\(me) [term: \(own)] \(what) [term: \(term)]")]
        default: return []
        }
    }

    private func snapshotLines(_ me: String) -> [LogLine] {
        switch self {
        case .sentSnapshot(let snapshot, let firstIndex, let commit, let before, let after):
            let to = after.replica.hex
            return [
                .init(
                    .debug,
                    "\(me) [firstindex: \(firstIndex), commit: \(commit)] sent snapshot\(snapshot.position) to \(to) "
                        + "[\(before.scenarioText)]"),
                .init(.debug, "\(me) paused sending replication messages to \(to) [\(after.scenarioText)]"),
            ]
        case .caughtUpAfterSnapshot(let progress):
            let what = "recovered from needing snapshot, resumed sending replication messages"
            return [.init(.debug, "\(me) \(what) to \(progress.replica.hex) [\(progress.scenarioText)]")]
        case .restoring(let snapshot, let log):
            let state =
                "committed=\(log.commit), applied=\(log.applied), applying=\(log.handedOut), "
                + "unstable.offset=\(log.firstNotDurable), unstable.offsetInProgress=\(log.firstUnwritten), "
                + "len(unstable.Entries)=\(log.notDurableCount)"
            return [.init(.info, "log [\(state)] starts to restore snapshot \(snapshot.position)")]
        case .restored(let snapshot, let commit):
            let end = "lastindex: \(snapshot.index), lastterm: \(snapshot.term)"
            return [
                .init(.info, "\(me) switched to configuration \(snapshot.configuration.scenarioText)"),
                .init(.info, "\(me) [commit: \(commit), \(end)] restored snapshot \(snapshot.position)"),
                .init(.info, "\(me) [commit: \(commit)] restored snapshot \(snapshot.position)"),
            ]
        case .fastForwarded(let snapshot, let commit, let lastIndex, let lastTerm):
            let state = "[commit: \(commit), lastindex: \(lastIndex), lastterm: \(lastTerm)]"
            return [.init(.info, "\(me) \(state) fast-forwarded commit to snapshot \(snapshot.position)")]
        case .snapshotNotNeeded(let snapshot, let commit):
            return [.init(.info, "\(me) [commit: \(commit)] ignored snapshot \(snapshot.position)")]
        default: return []
        }
    }

    private func transferLines(_ me: String) -> [LogLine] {
        switch self {
        case .transferStarted(let target, let term):
            return [.init(.info, "\(me) [term \(term)] starts to transfer leadership to \(target.hex)")]
        case .toldToCampaign(let target, let isAtOnce):
            let to = target.hex
            let reason = "immediately as \(to) already has up-to-date log"
            return [
                isAtOnce
                    ? .init(.info, "\(me) sends MsgTimeoutNow to \(to) \(reason)")
                    : .init(.info, "\(me) sent MsgTimeoutNow to \(to) after received MsgAppResp")
            ]
        case .transferIgnored(let target, let term, let reason):
            let to = target.hex
            switch reason {
            case .isLearner: return [.init(.debug, "\(to) is learner. Ignored transferring leadership")]
            case .isUnderWay:
                let what = "transfer leadership to \(to) is in progress, ignores request to same node \(to)"
                return [.init(.info, "\(me) [term \(term)] \(what)")]
            case .isLeader:
                return [.init(.debug, "\(me) is already leader. Ignored transferring leadership to self")]
            case .isStranger: return [.init(.debug, "\(me) no progress available for \(to)")]
            case .noLeader: return [.init(.info, "\(me) no leader at term \(term); dropping leader transfer msg")]
            }
        case .transferReplaced(let target, let term):
            return [.init(.info, "\(me) [term \(term)] abort previous transferring leadership to \(target.hex)")]
        case .campaignsForTransfer(let leader, let term):
            let what = "received MsgTimeoutNow from \(leader.hex) and starts an election to get leadership."
            return [.init(.info, "\(me) [term \(term)] \(what)")]
        default: return []
        }
    }

    /// Why a proposal was refused; a change is named by whoever proposed it.
    func refusalLines(of own: ReplicaID, change: ProposedChange?) -> [LogLine] {
        let me = own.hex
        switch self {
        case .proposalRefused(let refusal, let transferee, let term):
            switch refusal {
            case .noLeader: return [.init(.info, "\(me) no leader at term \(term); dropping proposal")]
            case .transferring:
                let what = "transfer leadership to \(transferee?.hex ?? "0") is in progress; dropping proposal"
                return [.init(.debug, "\(me) [term \(term)] \(what)")]
            case .tooManyUncommitted:
                let what = "appending new entries to log would exceed uncommitted entry size limit"
                return [.init(.warn, "\(me) \(what); dropping proposal")]
            case .notMember, .changePending, .invalidChange, .fenced: return []
            }
        case .changeRefused(let refusal, let configuration):
            guard let change else { return [] }
            let reason =
                switch refusal {
                case .pending(let index, let applied):
                    "possible unapplied conf change at index \(index) (applied to \(applied))"
                case .alreadyJoint: "must transition out of joint config first"
                case .notJoint: "not in joint state; refusing empty conf change"
                }
            let what = "ignoring conf change \(change.scenarioText) at config \(configuration.scenarioText)"
            return [.init(.info, "\(me) \(what): \(reason)")]
        default: return []
        }
    }
}

extension ReplicaID {
    var hex: String { String(rawValue, radix: 16) }
}

extension SnapshotMetadata {
    fileprivate var position: String { "[index: \(index), term: \(term)]" }
}
