/// A decision of the core, in the order it was taken. Collected only where `RaftOptions.recordsEvents` is set; a
/// scenario, or an operator who wants to know why a group behaves as it does, reads them as a trace.
public enum RaftEvent: Sendable {
    // MARK: Roles
    case becameFollower(Term)
    case becamePreCandidate(Term)
    case becameCandidate(Term)
    case becameLeader(Term)
    /// A leader did not hear from a quorum for an election timeout.
    case lostQuorum
    case forgotLeader(ReplicaID, Term)
    /// Forgetting the leader would break the lease that its reads rest on.
    case keptLeaderForLease

    // MARK: Elections
    case startedElection(Term)
    case alreadyLeads
    case cannotCampaign
    /// A committed membership change has to be applied first.
    case campaignWaitsForChange(Term)
    case requestedVote(of: ReplicaID, isPreVote: Bool, lastIndex: LogIndex, lastTerm: Term, term: Term)
    case countedVote(of: ReplicaID, isPreVote: Bool, isGranted: Bool, term: Term, granted: Int, refused: Int)
    /// Someone asked for a vote; what the voter had then, and what it answered.
    case votedFor(Message, VoterState)
    case refusedVote(Message, VoterState)
    /// A leader was heard from within the shortest election timeout, which ends after so many ticks.
    case withheldVote(Message, VoterState, ticksLeft: Int)

    // MARK: Terms
    case receivedLaterTerm(Message, own: Term)
    case ignoredEarlierTerm(Message, own: Term)
    /// Only the sender's being in the group makes an answer worth a look.
    case ignoredStranger(ReplicaID)

    // MARK: Proposals
    case proposalRefused(ProposalRefusal, transferee: ReplicaID?, Term)
    case changeRefused(ChangeRefusal, Configuration)

    // MARK: Replication
    /// The receiver has `ownTerm` at the position that the append follows; nil where it has no entry there.
    case refusedAppend(Message.Append, from: ReplicaID, ownTerm: Term?)
    case appendWasRefused(Message.AppendResponse, by: ReplicaID)
    case movedBack(MemberProgress)
    case unreachable(MemberProgress)
    /// The leader's entries replace what stands here from `index` on. Everything before `firstNotDurable` is on disk.
    case replacedTail(from: LogIndex, ownTerm: Term, leaderTerm: Term, firstNotDurable: LogIndex)
    /// A completion told of an entry that is durable already, or was replaced since by one of `ownTerm`.
    case completionWithoutNews(LogIndex, Term, ownTerm: Term?, firstNotDurable: LogIndex)
    case completionOfEarlierTerm(Term, own: Term)

    // MARK: Snapshots
    case sentSnapshot(
        SnapshotMetadata, firstIndex: LogIndex, commit: LogIndex, before: MemberProgress, after: MemberProgress)
    case caughtUpAfterSnapshot(MemberProgress)
    case restoring(SnapshotMetadata, RestoredLog)
    case restored(SnapshotMetadata, commit: LogIndex)
    /// The log holds all that the snapshot stands for.
    case fastForwarded(to: SnapshotMetadata, commit: LogIndex, lastIndex: LogIndex, lastTerm: Term)
    case snapshotNotNeeded(SnapshotMetadata, commit: LogIndex)

    // MARK: Membership
    case switchedConfiguration(Configuration)
    case leavesJointConfiguration(Configuration)

    // MARK: Transfer
    case transferStarted(to: ReplicaID, Term)
    /// The target has the whole log: it is told to campaign. `isAtOnce` if that was so when the transfer began.
    case toldToCampaign(ReplicaID, isAtOnce: Bool)
    case transferIgnored(to: ReplicaID, Term, TransferRefusal)
    case transferReplaced(ReplicaID, Term)
    case campaignsForTransfer(from: ReplicaID, Term)

    public struct VoterState: Sendable {
        public var lastIndex: LogIndex
        public var lastTerm: Term
        public var vote: ReplicaID?
        public var term: Term
    }

    public enum ChangeRefusal: Sendable {
        case pending(LogIndex, applied: LogIndex)
        case alreadyJoint
        case notJoint
    }

    public enum TransferRefusal: Sendable {
        case isLearner, isUnderWay, isLeader, isStranger, noLeader
    }

    /// A log as it was before a snapshot replaced it.
    public struct RestoredLog: Sendable {
        public var commit: LogIndex
        public var applied: LogIndex
        public var handedOut: LogIndex
        /// The first entry that is not durable, and the first that was not handed to the disk.
        public var firstNotDurable: LogIndex
        public var firstUnwritten: LogIndex
        public var notDurableCount: Int
    }
}

extension Raft {
    /// The decisions since this was called last; empty unless `RaftOptions.recordsEvents` is set.
    public mutating func takeEvents() -> [RaftEvent] {
        defer { events.removeAll() }
        return events
    }

    /// The event is not even made where nobody asked for it.
    @inline(__always)
    mutating func note(_ event: (borrowing Raft) -> RaftEvent) {
        if options.recordsEvents { events.append(event(self)) }
    }

    var voterState: RaftEvent.VoterState {
        .init(lastIndex: log.lastIndex, lastTerm: log.lastTerm, vote: vote, term: term)
    }

    var restoredLog: RaftEvent.RestoredLog {
        let durable = max(log.durable, log.offset)
        return .init(
            commit: log.commit, applied: log.applied,
            handedOut: log.installing == nil ? log.handedOut : log.applied, firstNotDurable: durable.next,
            firstUnwritten: max(log.written, log.offset).next, notDurableCount: durable.distance(to: log.lastIndex))
    }
}
