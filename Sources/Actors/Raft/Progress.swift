/// What a leader knows of one member (etcd's `tracker.Progress`).
struct Progress: Sendable {
    enum State: Hashable, Sendable {
        /// Where the logs agree is not known: one append at a time, until one is answered.
        /// Can transition to: `replicate`, `snapshot`.
        case probe
        /// Appends are sent ahead of their acknowledgements.
        /// Can transition to: `probe`, `snapshot`.
        case replicate
        /// The member needs entries that are compacted: nothing is sent until it holds the snapshot.
        /// Can transition to: `probe`, `replicate`.
        case snapshot(pending: LogIndex)
    }

    let replica: ReplicaID
    /// The member's disk is known to hold the log up to here.
    private(set) var match: LogIndex
    /// The next entry to send. Always above `match`.
    private(set) var next: LogIndex
    /// The highest commit index sent; it tells whether an empty append would bring news.
    private(set) var sentCommit = LogIndex.zero
    private(set) var state = State.probe
    /// An append went out since the last heartbeat.
    var hasSentAppend = false
    /// One probe is on its way, or the window is full.
    var isPaused = false
    /// It answered since the last check of the quorum.
    var isRecentlyActive = false
    var isLearner: Bool
    /// It lost an ambiguous tail: what it acknowledges does not count yet.
    var isRecovering = false
    /// The newest read round that it confirmed in this term.
    var confirmedReadRound: UInt64 = 0
    /// The leader's tick at which it was heard from last; 0 is never.
    var heardAtTick: UInt64 = 0
    /// The leader's tick at which the pending snapshot was announced last.
    var announcedAtTick: UInt64 = 0
    /// The next entry, where it is being read from the disk. Until it is here nothing but a heartbeat is sent.
    var awaitedRead: LogIndex?
    private(set) var inflights: Inflights

    init(
        replica: ReplicaID, match: LogIndex = .zero, next: LogIndex, isLearner: Bool,
        inflights: Inflights
    ) {
        precondition(match < next, "\(replica): match \(match) must stay below next \(next)")
        self.replica = replica
        self.match = match
        self.next = next
        self.isLearner = isLearner
        self.inflights = inflights
    }

    var pendingSnapshot: LogIndex? {
        switch state {
        case .probe, .replicate: nil
        case .snapshot(let pending): pending
        }
    }

    /// Whether nothing but a heartbeat may be sent.
    var isThrottled: Bool {
        switch state {
        case .probe, .replicate: isPaused || awaitedRead != nil
        case .snapshot: true
        }
    }

    private mutating func enter(_ newState: State) {
        isPaused = false
        awaitedRead = nil
        state = newState
        inflights.removeAll()
    }

    mutating func becomeProbe() {
        // After a snapshot the first entry behind it is the one to try.
        if case .snapshot(let pending) = state {
            enter(.probe)
            next = max(match, pending).next
        } else {
            enter(.probe)
            next = match.next
        }
        sentCommit = min(sentCommit, next.previous)
    }

    mutating func becomeReplicate() {
        enter(.replicate)
        next = match.next
    }

    mutating func becomeSnapshot(_ index: LogIndex) {
        enter(.snapshot(pending: index))
        next = max(index, match).next
        sentCommit = index
    }

    /// The snapshot never arrived: probe from what is known, not from behind the snapshot.
    mutating func forgetSnapshot() {
        enter(.probe)
        next = match.next
        sentCommit = min(sentCommit, next.previous)
    }

    mutating func sent(entries: Int, bytes: Int) {
        switch state {
        case .replicate:
            if entries > 0 {
                next = next + entries
                inflights.add(lastIndex: next.previous, bytes: bytes)
            }
            // An empty append to a member with a full window goes out once per heartbeat, not at every turn.
            isPaused = inflights.isFull
        case .probe:
            if entries > 0 { isPaused = true }
        case .snapshot:
            preconditionFailure("no append may be sent to \(replica), which waits for a snapshot")
        }
    }

    mutating func sent(commit: LogIndex) { sentCommit = commit }

    /// Whether the member may lack `commit` and could use it.
    func lacks(commit: LogIndex) -> Bool { commit > sentCommit && sentCommit < next.previous }

    /// The member's disk holds the log up to `index`.
    /// - Returns: whether that was news; an acknowledgement that was overtaken never lowers anything.
    mutating func acknowledged(_ index: LogIndex) -> Bool {
        if index <= match && !mutated(.matchFallsWithAcknowledgement) { return false }
        match = index
        next = max(next, index.next)
        precondition(match < next, "\(replica): match \(match) must stay below next \(next)")
        isPaused = false
        return true
    }

    mutating func shrink() { inflights.shrink() }

    mutating func freeInflights(through index: LogIndex) { inflights.acknowledge(through: index) }

    /// The member refused an append that followed `rejected`; the logs agree at `hint` at best.
    /// - Returns: whether that was news.
    mutating func refused(_ rejected: LogIndex, hint: LogIndex) -> Bool {
        switch state {
        case .replicate:
            if mutated(.refusalLowersMatch) { match = min(match, hint) }
            if rejected <= match { return false }
            next = match.next
        case .probe, .snapshot:
            // Only the answer to the last probe tells anything.
            if next.previous != rejected { return false }
            if !mutated(.refusalMovesNothing) { next = max(min(rejected, hint.next), match.next) }
            isPaused = false
        }
        sentCommit = min(sentCommit, next.previous)
        return true
    }

    /// The member lost what it had acknowledged, and says so. It does not count until it has caught up, so
    /// that lowering `match` takes nothing away from what is committed.
    mutating func lostTail(after index: LogIndex) {
        precondition(isRecovering, "only a recovering replica may lose what it acknowledged")
        match = min(match, index)
        enter(.probe)
        next = match.next
        sentCommit = min(sentCommit, next.previous)
    }
}

/// What an operator sees of one member, on the leader.
public struct MemberProgress: Hashable, Sendable {
    public enum State: String, Sendable {
        case probe, replicate, snapshot
    }
    public var replica: ReplicaID
    /// Its disk is known to hold the log up to here.
    public var match: LogIndex
    /// The next entry to send.
    public var next: LogIndex
    public var state: State
    /// It answered within the last election timeout.
    public var isActive: Bool
    public var isLearner: Bool
    public var isRecovering: Bool
    /// Nothing but heartbeats goes out until it answers.
    public var isPaused: Bool
    /// The snapshot that it needs before the log helps it.
    public var pendingSnapshot: LogIndex?
    /// Appends without an acknowledgement yet, and whether there may be no more.
    public var inFlight: Int
    public var isWindowFull: Bool
}
