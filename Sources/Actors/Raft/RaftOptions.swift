/// How a replica behaves. Every member of a group should use the same values.
public struct RaftOptions: Sendable {
    /// A follower that hears nothing for a random number of ticks in `electionTicks ..< 2 * electionTicks` campaigns.
    public var electionTicks = 10
    /// Ticks between two heartbeats of a leader. Less than `electionTicks`.
    public var heartbeatTicks = 1
    /// Whether a campaign asks first whether it could win, without touching anyone's term (thesis 9.6). With this and
    /// `checksQuorum` both off, a voter that campaigned among former members may be ahead of the leader's term for ever:
    /// nobody tells the leader.
    public var usesPreVote = true
    /// Whether a leader steps down that did not hear from a quorum for `electionTicks`, and whether votes are
    /// withheld while a leader is heard from (thesis 6.2, 4.2.3).
    public var checksQuorum = true
    /// Bytes of entries in one append; an entry that is larger goes alone.
    public var maxAppendBytes = 1 << 20
    /// Appends on their way to one follower. At the limit, the rest waits for an acknowledgement.
    public var maxAppendsInFlight = 4
    /// Bytes on their way to one follower. A message may overshoot it; the next one then waits.
    public var maxInFlightBytes = 8 << 20
    /// Bytes of this leader's payloads that are not applied yet. At the limit, proposals are refused.
    public var maxUncommittedBytes = 64 << 20
    /// Bytes of committed entries that are handed out and not applied yet; at the limit, no more are handed out.
    public var maxCommittedBytesPerEffects = 4 << 20
    /// Bytes of entries that stay in memory although they are applied and on disk, for members that lag a little; what
    /// lies before them is read from the disk. The default is one full append: a member that keeps up is hardly ever
    /// further behind, and a thousand busy groups take no more than a gibibyte.
    public var windowBytes = 1 << 20
    /// Ticks without anything to do after which a group goes quiet; 0 never.
    public var quietAfterTicks = 3
    /// What becomes of a leader that a change removed or demoted, once it applied the change.
    public var removedLeader = RemovedLeader.stepsDownWhenReplaceable
    /// A leader announces a pending snapshot again after this many ticks without an answer; 0 never. The
    /// announcement, or the report of its failure, may have been lost.
    public var snapshotAnnouncementTicks = 40
    /// Whether committed entries are held back until this replica's own disk has them. A state machine with a disk
    /// of its own wants that: otherwise a crash could leave it ahead of its log.
    public var appliesOnlyDurable = false
    public var reads = ReadConsistency.quorum
    /// Whether `takeEvents()` tells of every decision. Costs nothing where it is off.
    public var recordsEvents = false
    /// Whether a member to which an append went since the last heartbeat gets none: the append told it as much. Reads by
    /// lease need every heartbeat.
    public var skipsHeartbeatsBesideAppends = false
    /// Whether members need not answer an append that brings nothing but the commit index.
    public var sparesAnswersToNotices = false
    /// Whether membership changes are checked against the present configuration when they are proposed. An
    /// unsuitable change is harmless without it as well: it does nothing when it is applied.
    public var validatesChanges = true

    public init() {}

    /// Options that many replicas have in common, once for all of them: a process may have thousands.
    public final class Shared: Sendable {
        public let options: RaftOptions
        public init(_ options: RaftOptions) { self.options = options }
    }
}

/// What becomes of a leader that is no voter any more.
public enum RemovedLeader: Sendable {
    /// It goes on leading, without counting itself, until something else ends its reign.
    case stays
    /// It steps down as soon as it applied the change, whatever the others have of its log.
    case stepsDownAtOnce
    /// It steps down as soon as one of the voters has all of its log, so that this one can follow it at once.
    case stepsDownWhenReplaceable
}

/// How a leader makes sure that nobody else leads when it answers a read.
public enum ReadConsistency: Sendable {
    /// By a round of heartbeats that a quorum answers. Needs no clock.
    case quorum
    /// By its lease: a quorum answered heartbeats that were sent within the last `electionTicks`. Rests on all
    /// members' ticks being equally long, and on `checksQuorum`; a paused process or a slow clock can make such a read
    /// stale. Where the lease has run out, the read takes a round of heartbeats.
    case lease
}

/// What a replica starts with. A new group starts with its founding configuration, which is either the snapshot's
/// (at index 1 or later, so that no member can get the log without it) or the log's first entry.
public struct RestoredReplica: Sendable {
    public var hardState: HardState
    public var snapshot: SnapshotMetadata?
    /// All entries that the disk holds. It may begin before the snapshot's end.
    public var outline: LogOutline
    /// The last of those entries, as many as are to be in memory at once. The others are read when they are needed.
    public var entries: [Entry]
    /// The log ended in damage that may have been acknowledged: no votes, and not counted, until a leader has brought
    /// this replica past here.
    public var recoveringUntil: LogIndex?

    /// A replica whose log is on disk.
    public init(
        hardState: HardState = .init(), snapshot: SnapshotMetadata? = nil, outline: LogOutline,
        recoveringUntil: LogIndex? = nil
    ) {
        self.hardState = hardState
        self.snapshot = snapshot
        self.outline = outline
        entries = []
        self.recoveringUntil = recoveringUntil
    }

    /// A replica whose log is in memory.
    /// - Parameter entries: contiguous, from just behind the snapshot (or 1) on; those that it covers do not count.
    public init(
        hardState: HardState = .init(), snapshot: SnapshotMetadata? = nil, entries: [Entry] = [],
        recoveringUntil: LogIndex? = nil
    ) {
        let base = snapshot.map { LogPosition(index: $0.index, term: $0.term) } ?? .zero
        let behind = entries.filter { $0.index > base.index }
        self.init(
            hardState: hardState, snapshot: snapshot, outline: LogOutline(base: base, entries: behind),
            recoveringUntil: recoveringUntil)
        self.entries = behind
    }
}

/// What became of a proposal.
public enum ProposalOutcome: Hashable, Sendable {
    /// Appended here, as leader. Another leader may still overwrite it: whoever waits compares the term as well.
    case appended(first: LogIndex, last: LogIndex)
    /// Passed on to the leader, without any promise.
    case forwarded(to: ReplicaID)
    case refused(ProposalRefusal)
}

/// Why a proposal was not taken. Nothing was appended.
public enum ProposalRefusal: Hashable, Sendable {
    /// No leader is known. Ask again after an election.
    case noLeader
    /// Leadership is being handed over; ask again.
    case transferring
    /// `maxUncommittedBytes` are waiting to be applied; ask again later.
    case tooManyUncommitted
    /// This leader was removed from the group.
    case notMember
    /// A membership change is not applied yet; one at a time.
    case changePending
    /// The change does not fit the present configuration; the text says why.
    case invalidChange(String)
    /// This replica's storage failed.
    case fenced
}
