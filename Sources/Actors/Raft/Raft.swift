/// The Raft consensus core of one replica of one group: a value that takes messages, ticks, proposals and storage
/// completions, and gives back `Effects`. It knows no clock, no disk and no network, and never waits.
///
/// The algorithm is that of Ongaro's thesis (2014) in the form that etcd-io/raft gave it: pre-vote, check-quorum,
/// joint consensus with configurations that take effect when they are *applied*, learners, batched read index,
/// flow control per follower, and storage writes that complete later (thesis 10.2.1).
///
/// Whoever owns it calls one method at a time, then `takeEffects()`, and acts on them in the order that `Effects`
/// states. Safety rules are preconditions, also in release builds: a violated one means that a peer, or this
/// replica's disk, broke its promises, and that going on would lose data.
public struct Raft: ~Copyable, Sendable {
    enum Role: Hashable, Sendable {
        /// Can transition to: `preCandidate`, `candidate`.
        case follower
        /// Asks whether it could win. Can transition to: `candidate`, `follower`.
        case preCandidate
        /// Asks for votes. Can transition to: `leader`, `follower`, `preCandidate`, `candidate` of a later term.
        case candidate
        /// Can transition to: `follower`.
        case leader
    }

    struct Vote: Sendable {
        var voter: ReplicaID
        var isGranted: Bool
    }

    /// Who this replica is. It may not be in the configuration yet, or not any more.
    let id: ReplicaID
    private let sharedOptions: RaftOptions.Shared
    var options: RaftOptions { sharedOptions.options }

    // MARK: Durable state
    var term: Term
    var vote: ReplicaID?
    var log: RaftLog

    // MARK: Role
    var role = Role.follower
    var leader: ReplicaID?
    /// The first leader that was seen in this term. There is no second one.
    var leaderOfTerm: ReplicaID?
    var votes: [Vote] = []
    var recoveringUntil: LogIndex?
    /// The change that was applied last took this replica's vote, and no quorum from before it needs it.
    var isOutvoted = false
    var isFenced = false

    // MARK: Time, in ticks
    var electionElapsed = 0
    var heartbeatElapsed = 0
    var randomizedElectionTicks: Int
    /// Ticks until a follower whose leader's node died campaigns; nil if there is no such plan.
    var ticksUntilCampaign: Int?
    var random: SplitMix64
    /// Ticks for which this replica owes its vote to the leader that it heard last; only reads by lease need it.
    var leasePromiseTicks = 0

    // MARK: Members
    /// Who belongs to the group, as far as this replica has applied the log.
    public internal(set) var configuration: Configuration
    /// One per member, ascending by replica id; empty where this replica does not lead.
    var progress: ContiguousArray<Progress> = []

    // MARK: Leading
    /// No other membership change may be proposed before this index is applied.
    var pendingChangeIndex = LogIndex.zero
    var transferee: ReplicaID?
    /// The first entry of this reign; what `unappliedBytes` counts starts here.
    var firstOwnIndex = LogIndex.zero
    var unappliedBytes = 0
    /// The others are told at once when this is committed, and what precedes it. Of what lies behind it they hear with the
    /// next append or heartbeat.
    var urgentThrough = LogIndex.zero
    /// Ticks of this reign, from 1 on; progress refers to it.
    var leaderTick: UInt64 = 1

    var reads = ReadQueue()

    // MARK: Quiescence
    public internal(set) var isQuiet = false
    var idleTicks = 0
    var livenessEpoch: UInt64 = 0

    var outbox: Outbox
    /// What `takeEvents()` hands out next.
    var events: [RaftEvent] = []

    /// Starts a replica with what its disk holds. The configuration is the snapshot's, or empty; committed entries
    /// behind the snapshot are handed out again.
    /// - Parameter randomSeed: one seed, one history of election timeouts. The replica's id is mixed in.
    public init(
        _ id: ReplicaID, randomSeed: UInt64, _ sharedOptions: RaftOptions.Shared, restored: RestoredReplica
    ) {
        let options = sharedOptions.options
        precondition(
            options.electionTicks > options.heartbeatTicks && options.heartbeatTicks > 0,
            "electionTicks (\(options.electionTicks)) must exceed heartbeatTicks (\(options.heartbeatTicks))"
        )
        self.id = id
        self.sharedOptions = sharedOptions
        // A local: an optimised build crashed where `&&` deferred a look at a part of `self` that is not whole yet.
        let log = RaftLog(restoring: restored, windowBytes: options.windowBytes)
        self.log = log
        // A log whose end is damaged may have lost the newest hard state as well. A group's founding snapshot was
        // written without any reign, and says so by a commit index without a term.
        let isFounding =
            restored.hardState == HardState(commit: log.offset) && log.lastIndex == log.offset
        let knowsTerm =
            isFounding || restored.hardState.term >= log.lastTerm && !mutated(.restartsInTermOfLog)
        term = knowsTerm ? restored.hardState.term : log.lastTerm
        vote = knowsTerm ? restored.hardState.vote : nil
        configuration = restored.snapshot?.configuration ?? Configuration()
        // Through the generator once: seeds that differ by a multiple of its increment give one sequence, shifted, and two
        // candidates that fall into step would then draw equal timeouts for ever.
        var mixer = SplitMix64(seed: randomSeed ^ (id.rawValue << 32))
        random = SplitMix64(seed: mixer.next())
        randomizedElectionTicks = options.electionTicks
        outbox = Outbox(
            term: restored.hardState.term, vote: restored.hardState.vote,
            status: Status(role: .follower, term: restored.hardState.term, leader: nil))

        // Entries that were known to be committed are missing: the disk lost what it had acknowledged.
        var missing = restored.hardState.commit > log.lastIndex ? restored.hardState.commit : nil
        if mutated(.forgetsMissingCommit) { missing = nil }
        if let claimed = [restored.recoveringUntil, missing].compactMap({ $0 }).max() {
            recoveringUntil = claimed
        }
        endRecoveryIfDone()
        drawElectionTimeout()
        if restored.hardState.term > .zero { promiseLease() }
        checkInvariants()
    }

    // MARK: Inputs (the others are in the files named after their topic)

    /// Time has passed. Many ticks at once count like one long silence: at most one heartbeat, check or campaign.
    public mutating func tick(_ count: Int = 1) {
        if isFenced || (isQuiet && !mutated(.quietReplicaCountsTicks)) || count <= 0 { return }
        expireForwardedReads(count)
        tickLeasePromise(count)
        switch role {
        case .leader: tickAsLeader(count)
        case .follower, .preCandidate, .candidate: tickElection(count)
        }
        checkInvariants()
    }

    /// The write with this receipt, and all that were handed out before it, are durable.
    public mutating func persisted(_ receipt: Persist.Receipt) {
        guard !isFenced, let answerCount = outbox.completed(receipt) else { return }
        becameDurable(receipt)
        for position in 0..<answerCount { handle(outbox.ownAnswers[position]) }
        outbox.dropOwnAnswers(answerCount)
        if role == .leader, let own = position(of: id) {
            precondition(progress[own].match <= log.durable, "counts before its disk: \(summary)")
        }
        endRecoveryIfDone()
        checkInvariants()
    }

    /// What the completion of a write means for the log alone.
    /// - Returns: whether more of the log is durable now.
    @discardableResult
    mutating func becameDurable(_ receipt: Persist.Receipt) -> Bool {
        log.snapshotBecameDurable(receipt.snapshotIndex)
        // What a write of an earlier term contained may have been overwritten since, and overwritten again with the
        // very same entries, which are then still on their way (the ABA race). A write of this term follows.
        if receipt.term == term || mutated(.countsCompletionsOfEarlierTerms) {
            return log.becameDurable(through: receipt.lastIndex, term: receipt.lastTerm)
        }
        note { .completionOfEarlierTerm(receipt.term, own: $0.term) }
        return false
    }

    /// What this replica's own disk now stands for: its vote, or entries that it appended as leader. It counts like
    /// any other replica's, and no earlier (thesis 10.2.1). An answer of another term or role says nothing any more.
    mutating func handle(_ answer: OwnAnswer) {
        if answer.term != term { return }
        switch (answer.promise, role) {
        case (.preVote, .preCandidate), (.vote, .candidate):
            recordVote(of: id, isGranted: true)
        case (.entries(through: let index), .leader): acknowledgeOwnDisk(through: index)
        case (.preVote, _), (.vote, _), (.entries, _): break
        }
    }

    /// The state machine has applied everything up to `index`, a snapshot that was to be restored included.
    public mutating func applied(through index: LogIndex) {
        if isFenced { return }
        if role == .leader { releaseUnappliedBytes(through: index) }
        let wasInstalling = log.installing != nil
        log.advanceApplied(to: index, bytesMax: options.maxCommittedBytesPerEffects)
        if wasInstalling && log.installing == nil { adoptSnapshotConfiguration() }
        leaveJointConfigurationIfDue()
        checkInvariants()
    }

    /// The disk failed: this replica cannot keep a promise any more. It steps down and takes part in nothing.
    public mutating func storageFailed() {
        if isFenced { return }
        outbox.removeAll()
        becomeFollower(term, leader: nil)
        outbox.removeAll()
        isQuiet = false
        isFenced = !mutated(.votesAfterStorageFailure)
    }

    /// This replica is to take no further part: it steps down. From now on the shell hands on nothing of what it says,
    /// nothing that others say to it, and no ticks; what is committed is still applied.
    public mutating func withdraw() {
        if isFenced { return }
        wake()
        becomeFollower(term, leader: nil)
        outbox.removeAll()
    }

    /// The group is given up for another one that begins with the state of this replica, which has withdrawn: all that is
    /// in its log counts as committed, whoever else has it.
    /// - Returns: the last entry, up to which the shell applies.
    public mutating func commitOwnLog() -> LogIndex {
        if isFenced { return log.applied }
        log.advanceCommit(to: log.lastIndex)
        checkInvariants()
        return log.lastIndex
    }

    // MARK: What others see

    public var status: Status {
        let publicRole: Status.Role =
            switch role {
            case .follower: configuration.learners.contains(id) ? .learner : .follower
            case .preCandidate: .preCandidate
            case .candidate: .candidate
            case .leader: .leader
            }
        return Status(role: publicRole, term: term, leader: leader)
    }

    public var hardState: HardState {
        let commit = mutated(.persistsPagedCommit) ? log.handedOut : log.commit
        return HardState(term: term, vote: vote, commit: commit)
    }
    public var lastIndex: LogIndex { log.lastIndex }
    /// Of the last entry.
    public var lastTerm: Term { log.lastTerm }
    public var commitIndex: LogIndex { log.commit }
    public var appliedIndex: LogIndex { log.applied }
    /// The disk holds the log up to here.
    public var durableIndex: LogIndex { log.durable }
    /// The first index that is still in the log.
    public var firstIndex: LogIndex { log.firstIndex }
    public var snapshot: SnapshotMetadata? { log.snapshot }
    public var isRecovering: Bool { recoveringUntil != nil }
    /// Whether it takes part in nothing any more, because its storage failed.
    public var isStopped: Bool { isFenced }
    /// The term of an entry, or nil where it is compacted or not there yet.
    public func term(at index: LogIndex) -> Term? { log.term(at: index) }
    /// Bytes of this leader's payloads that are not applied yet.
    public var uncommittedBytes: Int { unappliedBytes }
}
