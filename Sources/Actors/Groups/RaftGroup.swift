import FlotillaIO
public import FlotillaRaft

/// One replica of one group on this node: the core, its state machine, and those who wait for it.
///
/// It lives on its loop. The scheduler enters it there by `assumeOnLoop`, so the path of a command never awaits;
/// tasks reach it through the `GroupClient` methods, which suspend in the caller's own context.
public actor RaftGroup: LoopConfined {
    public nonisolated let identity: ReplicaIdentity
    nonisolated let context: GroupContext
    nonisolated let inbox = GroupInbox()

    var core: Raft
    let stateMachine: any StateMachine
    var sessions = ClientSessions()
    /// The group's time: the maximum of the stamps of all commands applied so far.
    var time: Int64 = 0
    var pending = PendingProposals()
    var reads: PendingReads
    /// Where replicas live that the configuration in force does not know: by where their last message came from, or by the
    /// configuration before.
    private(set) var strangers: [ReplicaID: NodeID] = [:]
    /// Whom management wants as members; nil until it has said so.
    var desiredMembers: DesiredMembers?
    var wish = MembershipWish()
    /// Members' nodes that died and have not written to this replica since.
    var silentNodes: Set<NodeID> = []
    /// Set once: the group has another incarnation. This one takes no further part and only applies what is committed.
    var withdrawal: GroupError?
    var unapplied: [Entry] = []
    /// The term of the last applied entry.
    var appliedTerm = Term.zero
    /// Records that are to be written beside what the core asks for.
    var recordsToWrite: [LogBatch.Write] = []
    /// What goes over the bulk connections.
    var bulkItems: [(NodeID, PeerFrameItem)] = []
    /// Set once: the group takes no further part on this node.
    private(set) var stopReason: GroupError?
    var snapshots: SnapshotState
    var largeMessages: LargeMessages
    var leaderWatchers = LeaderWatchers()
    /// Whether this replica's identity is part of a write already.
    var isRecorded: Bool
    /// Kept by the scheduler: whether the group stands in its dirty list.
    var isDirty = false
    /// Kept by the scheduler: whether the group is among those that see the ticks.
    var seesTicks = false
    /// Tasks have asked for something since the last pass.
    private var hasRequests = false
    /// How often the first member of a new group has asked the others again.
    var repeatedCampaigns: UInt8 = 0
    /// The configuration in force has other members than the scheduler knows.
    var hasNewMembers = false
    var metrics = GroupMetrics()
    var quorumTimer = QuorumTimer()

    init(
        _ identity: ReplicaIdentity, in context: GroupContext, recovered: RecoveredLog.Group?,
        _ stateMachine: sending any StateMachine
    ) {
        self.identity = identity
        self.context = context
        self.stateMachine = stateMachine
        let seed = context.seed(of: identity.group)
        reads = PendingReads(contextBase: seed & 0xFFFF_FFFF << 32)
        isRecorded = recovered != nil
        snapshots = SnapshotState(newest: recovered?.snapshot)
        largeMessages = LargeMessages(limit: context.settings.consensusMessageLimit)
        core = Raft(
            identity.replica, randomSeed: seed, context.raftOptions,
            restored: RestoredReplica(
                hardState: recovered?.hardState ?? HardState(), snapshot: recovered?.snapshot,
                outline: recovered?.outline ?? LogOutline(), recoveringUntil: recovered?.recoveringUntil))
    }

    public nonisolated var unownedExecutor: UnownedSerialExecutor { context.executor }
    public nonisolated var node: NodeID { context.node }
    /// This replica's own session.
    nonisolated var client: RequestID.Client { RequestID.Client(replica: identity.replica, boot: context.boot) }
    nonisolated var loop: any Loop { context.loop }
    nonisolated var settings: GroupSettings { context.settings }
    nonisolated var logger: FlotillaLogger { context.logger }
    nonisolated var snapshotStore: SnapshotStore { context.snapshotStore }

    /// Puts the group into the scheduler's next pass.
    func wake() { context.scheduler?.assumeOnLoop { $0.markDirty(self) } }

    /// Hands a request to the loop, and wakes it if need be. Any thread.
    nonisolated func submit(_ request: GroupInbox.Request) throws(GroupError) {
        guard try inbox.submit(request) else { return }
        loop.execute {
            self.assumeOnLoop { group in
                group.hasRequests = true
                group.wake()
            }
        }
    }

    // MARK: Called by the scheduler, on the loop

    /// Whether somebody waits for this replica, so that it must see the ticks even while the group is quiet.
    var needsTicks: Bool {
        if withdrawal != nil { return stopReason == nil && !unapplied.isEmpty }
        return stopReason == nil
            && (!core.isQuiet || !unapplied.isEmpty || !pending.isEmpty || !reads.isEmpty || snapshots.isTransferring)
    }

    /// Nothing happens here for now: gives back what only a busy group needs.
    func shrink() {
        core.shrink()
        pending.shrink()
        sessions.shrink()
        // Nobody is owed an answer any more; who writes again says where it lives.
        strangers = [:]
        if snapshots.transfers?.isEmpty == true { snapshots.transfers = nil }
    }

    func tick() {
        guard stopReason == nil, withdrawal == nil else { return }
        core.tick(1)
        campaignAgain()
        reconcileMembership()
        let now = loop.now
        retryProposals(now: now)
        retryReads(now: now)
        expireTransfers(now: now)
    }

    func receive(_ message: Message, from node: NodeID) {
        guard stopReason == nil, withdrawal == nil else { return }
        noteSender(of: message, node)
        if !silentNodes.isEmpty { silentNodes.remove(node) }
        // A member that cannot apply takes no more entries, or they would fill its memory: they count as lost.
        if case .append(let append) = message.body, !append.entries.isEmpty, !unapplied.isEmpty,
            !stateMachine.isReadyToApply
        {
            return
        }
        // Before the answer itself, which makes the core send what it then thinks is next.
        if largeMessages.received(message) { core.reportUnreachable(message.from) }
        core.step(message)
    }

    /// Whether a pass of the scheduler would do anything here. Mostly a message says what nobody waits for any more: the
    /// second acknowledgement of two, the end of a follower's write.
    var needsPass: Bool {
        core.hasEffects || hasRequests || !unapplied.isEmpty || !recordsToWrite.isEmpty || !bulkItems.isEmpty
            || snapshots.transfers != nil || hasNewMembers || seesTicks != needsTicks
            || reads.isReady(at: core.appliedIndex)
    }

    /// Takes what tasks asked for since the last pass.
    func drainInbox() {
        guard hasRequests else { return }
        hasRequests = false
        var proposals: [GroupInbox.Proposal] = []
        var barriers: [Completion<Void>] = []
        for request in inbox.drain() {
            switch request {
            case .propose(let proposal): proposals.append(proposal)
            case .barrier(let completion): barriers.append(completion)
            case .perform(let body): body(self)
            }
        }
        if !proposals.isEmpty { propose(proposals) }
        if !barriers.isEmpty { read(barriers) }
    }

    /// What the core wants done. Committed entries stay here until `applyCommitted`.
    func collect() -> GroupOutput {
        guard stopReason == nil else { return GroupOutput() }
        var effects = core.takeEffects()
        if withdrawal == nil {
            context.observer?.replica(identity, boot: client.boot, stepped: core, into: effects)
        } else {
            effects.messages = []
            effects.persist = nil
        }
        var output = GroupOutput()
        output.messages = route(effects.messages)
        if let transfers = snapshots.transfers {
            output.messages += transfers.announcements
            transfers.announcements = []
        }
        // Before what the core asks for, which may be a newer snapshot than the one that is recorded here.
        for record in recordsToWrite { output.writes.append(.init(record: record)) }
        recordsToWrite = []
        if let persist = effects.persist { output.writes.append(write(for: persist)) }
        output.reads = effects.reads
        swap(&output.bulkItems, &bulkItems)
        if let restore = effects.restore { install(restore) }
        // The core did not need a snapshot that was fetched: its log had caught up meanwhile.
        snapshots.transfers?.installing = nil
        if !effects.committed.isEmpty {
            if unapplied.isEmpty { swap(&unapplied, &effects.committed) } else { unapplied += effects.committed }
        }
        for state in effects.readStates { reads.confirm(state) }
        for context in effects.failedReads { reads.fail(context) }
        if let status = effects.statusChange {
            statusDidChange(status)
            // What waited was handed to the core again: in this pass, not at the next tick.
            if core.hasEffects { wake() }
        }
        let status = core.status
        quorumTimer.observe(
            isLeader: status.role == .leader, term: status.term, last: core.lastIndex, commit: core.commitIndex, loop)
        let hasReads = reads.isReady(at: core.appliedIndex) && !mutated(.forgetsConfirmedReads)
        output.hasCommitted = !unapplied.isEmpty || hasReads
        return output
    }

    /// A write is durable: the core counts it, and what waited for it may leave.
    func writeDidComplete(_ write: GroupOutput.Write) -> [GroupOutput.Send] {
        guard stopReason == nil else { return [] }
        if let receipt = write.receipt { core.persisted(receipt) }
        if let snapshot = write.record.snapshot { compactSnapshots(snapshot) }
        return write.messagesWhenDurable
    }

    /// Entries that the core asked for are here, or cannot be read. Then this replica has lost what it acknowledged: it
    /// takes no further part, and never hands on what has rotted.
    func readDidComplete(_ read: LogRead, _ outcome: Result<[Entry], LogError>) {
        guard stopReason == nil else { return }
        let problem: String
        switch outcome {
        case .success(let entries):
            if core.readCompleted(read, entries: entries) { return }
            problem = "entry \(read.first) is missing"
        case .failure(let error): problem = error.description
        }
        logger.error("the log cannot be read; the group stops on this node", ["reason": problem])
        stop(GroupError(.stopped, "the log of \(identity.group) cannot be read: \(problem)"))
    }

    /// Ends this replica's part for good. It can still be looked at. Idempotent.
    func stop(_ reason: GroupError) {
        guard stopReason == nil else { return }
        stopReason = reason
        core.storageFailed()
        unapplied = []
        refuse(inbox.refuse(reason), reason)
        for completion in pending.removeAll() { completion.finish(.failure(reason)) }
        for completion in reads.removeAll() { completion.finish(.failure(reason)) }
        stateMachine.didApplyBatch()
        if withdrawal == nil { stateMachine.didStop() }
        leaderWatchers.finish()
    }

    /// Takes no further part in the group; whoever waits for something of it hears `reason`. What it has stays, and can
    /// still be looked at. Idempotent.
    func withdraw(_ reason: GroupError) {
        guard stopReason == nil, withdrawal == nil else { return }
        withdrawal = reason
        core.withdraw()
        for completion in pending.removeAll() { completion.finish(.failure(reason)) }
        for completion in reads.removeAll() { completion.finish(.failure(reason)) }
        if let transfers = snapshots.transfers { (transfers.fetch, transfers.completion) = (nil, nil) }
        stateMachine.didApplyBatch()
        stateMachine.didStop()
        wake()
    }

    /// The node ends: nothing is asked of the group any more.
    func end(_ reason: GroupError) {
        stop(reason)
        refuse(inbox.close(reason), reason)
    }

    private func refuse(_ requests: [GroupInbox.Request], _ reason: GroupError) {
        for request in requests {
            switch request {
            case .propose(let proposal): proposal.completion.finish(.failure(reason))
            case .barrier(let completion): completion.finish(.failure(reason))
            case .perform(let body): body(self)
            }
        }
    }

    // MARK: Where replicas live

    func node(of replica: ReplicaID) -> NodeID? { core.configuration.node(of: replica) ?? strangers[replica] }

    func noteSender(of message: Message, _ node: NodeID) {
        guard core.configuration.node(of: message.from) == nil else { return }
        strangers[message.from] = node
    }

    /// Other members are in force than `former`. Those that left may still be owed an answer.
    func membersDidChange(from former: Configuration) {
        for member in former.members { strangers[member.replica] = member.node }
        let configuration = core.configuration
        strangers = strangers.filter { configuration.node(of: $0.key) == nil }
        hasNewMembers = true
    }

    // MARK: Helpers

    private func route(_ messages: [Message]) -> [GroupOutput.Send] {
        messages.compactMap { message in
            guard let node = self.node(of: message.to) else { return nil }
            guard case .snapshot(let metadata) = message.body else {
                return GroupOutput.Send(node: node, message: message)
            }
            announce(message, metadata, to: node)
            return nil
        }
    }

    private func write(for persist: Persist) -> GroupOutput.Write {
        let record = LogBatch.Write(
            group: identity.group, incarnation: identity.incarnation, created: isRecorded ? nil : identity,
            hardState: persist.hardState, entries: persist.entries, snapshot: persist.snapshot)
        isRecorded = true
        return GroupOutput.Write(
            record: record, receipt: persist.receipt, messagesWhenDurable: route(persist.messagesWhenDurable))
    }

    private func statusDidChange(_ status: Status) {
        let leader = status.leader.flatMap { node(of: $0) }
        logger.info(
            "\(identity.group) is \(status.role.rawValue) at term \(status.term)",
            ["leader": leader.map(\.description) ?? "none"])
        leaderWatchers.tell(LeaderChange(term: status.term, leader: leader, isLocal: status.role == .leader))
        stateMachine.roleDidChange(isLeader: status.role == .leader)
        if status.leader != nil { leaderDidChange(term: status.term) }
    }
}

/// What one group adds to a pass of the scheduler.
struct GroupOutput: Sendable {
    struct Send: Sendable {
        var node: NodeID
        var message: Message
        var offer: SnapshotOffer?
    }
    struct Write: Sendable {
        var record: LogBatch.Write
        var receipt: Persist.Receipt?
        var messagesWhenDurable: [Send] = []
        /// Of a record that belongs to no group that steps.
        var recordNumber: UInt64?
    }
    var messages: [Send] = []
    var writes: [Write] = []
    var reads: [LogRead] = []
    var bulkItems: [(NodeID, PeerFrameItem)] = []
    var hasCommitted = false
}
