import FlotillaIO
public import FlotillaRaft

/// Steps the groups of one loop, in phases: what tasks asked for and what arrived, then every dirty group, then one
/// frame per peer, then one write for all groups, then what is committed is applied and its waiters resume.
///
/// A group that has nothing to do is not visited: it has no timer of its own and sends nothing.
public actor GroupScheduler: LoopConfined {
    nonisolated let context: GroupContext
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    var serving: SnapshotQueue

    var groups: [GroupID: RaftGroup] = [:]
    /// Groups that see the ticks.
    var active: [GroupID: RaftGroup] = [:]
    var dirty: [RaftGroup] = []
    private var isPassScheduled = false
    private var isInPass = false
    private var outbox: [NodeID: PeerFrameWriter] = [:]
    var logWriter: LogWriter
    private var logReader: LogReader
    private var transport: Transport?
    private var tickTimer: TimerToken?
    /// Groups that a peer said it does not host, and until when nothing is sent to it for them.
    var backoffs: [UnknownGroupKey: UnknownGroupBackoff] = [:]
    var isFenced = false
    /// Set when the node ends: nothing is taken any more.
    private(set) var stopReason: GroupError?
    /// Why no proposals are taken: the log's disk is full.
    private var diskFull: GroupError? { didSet { context.setProposalRefusal(diskFull) } }
    var desired: [GroupID: DesiredMembers] = [:]
    var groupsByNode = GroupsByNode()
    /// Quiet groups that are to look at their leaders again, because a node may have been silent without knowing it. They wake
    /// at once for a message, a command, or the death of their leader's node.
    var wakes = GroupQueue()
    private var worked: UInt64 = 0
    /// How often the next tick was put off, and may be: then ticks are a small part of what an overloaded node does.
    private var delayedTicks = 0
    private static let delayedTicksMax = 9
    /// What groups that became quiet leave behind, of the time when they were busy.
    private let freed = FreedMemory(few: 100, many: 4_096)
    /// New groups whose beginning is on its way to the disk, and who waits for them.
    var founding: [GroupID: [WriteCompletion]] = [:]
    var records = PendingRecords()
    /// Called with every tick, on the loop.
    var onTick: (() -> Void)?
    var metrics = SchedulerMetrics()
    /// Makes a replica for a group that a leader speaks of; nil where that is not to be hosted.
    var makeReplica: ((RoutedMessage) -> RaftGroup?)?

    /// What must not happen twice in a row without the loop looking at its sockets.
    static let roundsPerPass = 8
    /// A frame is sent before it grows beyond this; with the largest message it stays below the network's limit.
    static let frameTarget = 1 << 20

    init(_ context: GroupContext, store: any LogStore, logWorker: any Worker, readWorker: any Worker) {
        self.context = context
        unownedExecutor = context.executor
        logWriter = LogWriter(store: store, worker: logWorker, loop: context.loop)
        logReader = LogReader(store: store, worker: readWorker, loop: context.loop)
        serving = SnapshotQueue(bytesPerSecond: context.settings.snapshotBytesPerSecond, now: context.loop.now)
    }

    public nonisolated var node: NodeID { context.node }
    nonisolated var loop: any Loop { context.loop }
    nonisolated var settings: GroupSettings { context.settings }
    nonisolated var logger: FlotillaLogger { context.logger }
    nonisolated var snapshotStore: SnapshotStore { context.snapshotStore }

    // MARK: Life

    func start(transport: Transport) {
        self.transport = transport
        armTick()
    }

    func add(_ group: RaftGroup) {
        let id = group.identity.group
        precondition(groups[id] == nil, "\(id) is hosted already")
        groups[id] = group
        let epoch = livenessEpoch
        let desired = desired[id]
        group.assumeOnLoop { group in
            group.desiredMembers = desired
            group.core.setLivenessEpoch(epoch)
        }
        membersDidChange(of: group)
        markDirty(group)
    }

    func group(_ id: GroupID) -> RaftGroup? { groups[id] }

    var livenessEpoch: UInt64 { transport?.assumeOnLoop { $0.livenessEpoch } ?? 0 }

    var groupsInOrder: [RaftGroup] { groups.sorted { $0.key < $1.key }.map(\.value) }

    /// Ends every group and all timers. What the disk has taken is finished by its worker.
    func stop(_ reason: GroupError) {
        stopReason = stopReason ?? reason
        if let tickTimer { loop.cancel(tickTimer) }
        tickTimer = nil
        stopServing()
        logReader.stop()
        for group in groupsInOrder { group.assumeOnLoop { $0.end(reason) } }
        failRecords(reason)
        active = [:]
        dirty = []
        makeReplica = nil
        onTick = nil
        transport = nil
    }

    // MARK: Input

    /// Puts a group into the next pass. Loop only.
    func markDirty(_ group: RaftGroup) {
        let isNew = group.assumeOnLoop { group in
            defer { group.isDirty = true }
            return !group.isDirty
        }
        if isNew { dirty.append(group) }
        schedulePass()
    }

    /// One message of a frame from `node`. The pass that answers it comes once, after everything that has arrived.
    func receive(_ routed: RoutedMessage, from node: NodeID) {
        guard let group = host(routed, from: node) else { return }
        let message = routed.message
        if case .quiesce(let quiesce) = message.body,
            transport?.assumeOnLoop({ $0.livenessEpoch(of: node) }) != quiesce.livenessEpoch,
            !mutated(.ignoresLivenessEpoch)
        {
            return
        }
        metrics.messagesIn += 1
        showLife()
        endBackoff(routed.group, node)
        let needsPass = group.assumeOnLoop { group in
            if case .snapshot(let metadata) = message.body, let offer = routed.snapshot {
                group.receiveSnapshot(message, metadata, offer, from: node)
            } else {
                group.receive(message, from: node)
            }
            return group.needsPass
        }
        if needsPass { markDirty(group) }
    }

    // MARK: Ticks

    private func armTick() {
        let due = loop.now.advanced(by: settings.tickInterval)
        tickTimer = loop.schedule(at: due) { [weak self] in self?.assumeOnLoop { $0.tick(due: due) } }
    }

    /// However late it comes, it counts as one tick: time in which this loop stood still is not the leader's silence.
    ///
    /// One that is late is put off, since more than a turn of the loop can do has arrived, and may be what the groups wait
    /// for: where thousands begin at once, ticks that come between would make elections of it, and more to do.
    private func tick(due: MonotonicTime) {
        if due.advanced(by: settings.tickInterval) < loop.now, delayedTicks < Self.delayedTicksMax {
            delayedTicks += 1
            return armTick()
        }
        delayedTicks = 0
        wakes.refill()
        wakeNext()
        retryUnknownGroups()
        let epoch = livenessEpoch
        for (_, group) in active.sorted(by: { $0.key < $1.key }) {
            group.assumeOnLoop { group in
                group.core.setLivenessEpoch(epoch)
                group.tick()
            }
            markDirty(group)
            showLife()
        }
        onTick?()
        if diskFull != nil {
            logWriter.endStall()
            startWriting()
        }
        armTick()
    }

    /// Called for everything that is done to a group. Time is only looked at now and then.
    private func showLife() {
        worked &+= 1
        if worked.isMultiple(of: 32) { transport?.assumeOnLoop { $0.showLife() } }
    }

    // MARK: The pass

    private func schedulePass() {
        guard !isPassScheduled, !isInPass else { return }
        isPassScheduled = true
        loop.execute { [weak self] in self?.assumeOnLoop { $0.pass() } }
    }

    private func pass() {
        isPassScheduled = false
        isInPass = true
        metrics.passes += 1
        var rounds = 0
        while !dirty.isEmpty, rounds < Self.roundsPerPass {
            rounds += 1
            var stepping: [RaftGroup] = []
            swap(&stepping, &dirty)
            var applying: [RaftGroup] = []
            for group in stepping {
                let (output, hasNewMembers) = group.assumeOnLoop { group in
                    group.isDirty = false
                    group.drainInbox()
                    return (group.collect(), group.hasNewMembers)
                }
                if hasNewMembers { membersDidChange(of: group) }
                for send in output.messages { post(send, of: group) }
                for (node, item) in output.bulkItems { _ = sendBulk(item, to: node) }
                logWriter.add(output.writes)
                logReader.add(output.reads, of: group.identity)
                if mutated(.sendsPromisesWithTheWrite) {
                    for send in output.writes.flatMap(\.messagesWhenDurable) { post(send, of: group) }
                }
                if output.hasCommitted { applying.append(group) }
                showLife()
            }
            flushOutbox()
            startWriting()
            startReading()
            for group in applying {
                apply(group)
                showLife()
            }
            for group in stepping { watchTicks(of: group) }
        }
        isInPass = false
        if !dirty.isEmpty { schedulePass() }
    }

    /// Whoever only looked at a quiet group has not woken it.
    private func watchTicks(of group: RaftGroup) {
        let (needsTicks, seesTicks) = group.assumeOnLoop { ($0.needsTicks, $0.seesTicks) }
        let id = group.identity.group
        guard needsTicks != seesTicks, groups[id] === group else { return }
        group.assumeOnLoop { $0.seesTicks = needsTicks }
        if needsTicks {
            active[id] = group
        } else if active.removeValue(forKey: id) != nil {
            group.assumeOnLoop { $0.shrink() }
            // Thousands may have been busy at once.
            if active.isEmpty { active = [:] }
            freed.note(isLast: active.isEmpty)
        }
    }

    private func apply(_ group: RaftGroup) {
        let (hasMore, hasNewMembers) = group.assumeOnLoop { group in
            group.applyCommitted()
            return (group.core.hasEffects, group.hasNewMembers)
        }
        if hasNewMembers { membersDidChange(of: group) }
        if hasMore { markDirty(group) }
    }

    func startWriting() {
        guard !isFenced else { return }
        logWriter.startIfIdle { [weak self] writes, failure in
            self?.assumeOnLoop { $0.writeDidComplete(writes, failure) }
        }
    }

    private func writeDidComplete(_ writes: [GroupOutput.Write], _ failure: LogError?) {
        if let failure, failure.code == .diskFull {
            logWriter.didStall(writes)
            return diskDidFill(failure)
        }
        logWriter.didComplete(writes)
        if let failure, !mutated(.ignoresFailedWrites) {
            return fence(failure)
        }
        if diskFull != nil { diskHasRoom() }
        for write in writes {
            if let number = write.recordNumber { finishRecord(number) }
            guard let group = groups[write.record.group] else { continue }
            let (sends, needsPass) = group.assumeOnLoop { ($0.writeDidComplete(write), $0.needsPass) }
            for send in sends { post(send, of: group) }
            if needsPass { markDirty(group) }
        }
        flushOutbox()
        startWriting()
    }

    private func startReading() {
        logReader.start { [weak self] request, outcome in
            self?.assumeOnLoop { $0.readDidComplete(request, outcome) }
        }
    }

    private func readDidComplete(_ request: LogReader.Request, _ outcome: Result<[Entry], LogError>) {
        logReader.didComplete()
        guard let group = groups[request.replica.group], group.identity == request.replica else {
            return startReading()
        }
        metrics.logReads += 1
        group.assumeOnLoop { $0.readDidComplete(request.read, outcome) }
        markDirty(group)
        startReading()
    }

    /// What waits for the disk goes on waiting, and is tried again with every tick; reads and heartbeats need no disk.
    private func diskDidFill(_ failure: LogError) {
        guard diskFull == nil else { return }
        logger.error("the log's disk is full; no proposals are taken until there is room", ["reason": failure.message])
        diskFull = GroupError(.diskFull, failure.message)
    }

    private func diskHasRoom() {
        logger.info("the log's disk has room again; proposals are taken")
        diskFull = nil
    }

    /// A failed write is never tried again: nobody knows what the disk holds now. The node takes no further part
    /// until a restart has verified its log.
    private func fence(_ failure: LogError) {
        isFenced = true
        logger.error("the log could not be written; all groups of this node stop", ["reason": failure.description])
        let reason = GroupError(.stopped, "the log could not be written (\(failure)); restart the node to verify it")
        for group in groupsInOrder { group.assumeOnLoop { $0.stop(reason) } }
        // Peers must take it for dead: while it goes on sending heartbeats, quiet groups trust a leader that is none,
        // and its workflows stay with it.
        transport?.assumeOnLoop { $0.stop() }
        failRecords(reason)
    }

    // MARK: Output

    private func post(_ send: GroupOutput.Send, of group: RaftGroup) {
        guard let transport, transport.assumeOnLoop({ $0.isConnected(to: send.node) }) else { return }
        let identity = group.identity
        guard !isBackingOff(identity.group, send.node) else { return }
        let way = group.assumeOnLoop { $0.largeMessages.way(of: send.message, now: loop.now) }
        guard way != .none else { return }
        metrics.messagesOut += 1
        let routed = RoutedMessage(
            group: identity.group, incarnation: identity.incarnation, kind: identity.kind, message: send.message,
            snapshot: send.offer)
        guard way == .consensus else {
            if !sendBulk(.message(routed), to: send.node) {
                group.assumeOnLoop { _ = $0.largeMessages.lost(send.message.to) }
            }
            return
        }
        let count = outbox[send.node, default: PeerFrameWriter()].add(routed)
        if count >= Self.frameTarget { transmit(&outbox[send.node]!, to: send.node) }
    }

    func post(_ item: PeerFrameItem, to node: NodeID) {
        outbox[node, default: PeerFrameWriter()].add(item)
    }

    func flushOutbox() {
        for node in outbox.keys.sorted() where !outbox[node]!.isEmpty {
            var writer = outbox.removeValue(forKey: node)!
            transmit(&writer, to: node)
            outbox[node] = writer
        }
    }

    private func transmit(_ writer: inout PeerFrameWriter, to node: NodeID) {
        let payload = writer.take()
        guard let transport else { return }
        if !transport.assumeOnLoop({ $0.send(payload, to: node) }) { metrics.framesDropped += 1 }
    }

    /// - Returns: false if it was not taken, and may be later.
    func sendBulk(_ item: PeerFrameItem, to node: NodeID) -> Bool {
        transport?.assumeOnLoop { $0.sendBulk(item, to: node) } ?? true
    }

    func countUnknownGroupAnswer() { metrics.unknownGroupAnswers += 1 }

    func counters() -> SchedulerMetrics {
        var metrics = metrics
        metrics.logBatches = logWriter.batches
        metrics.logEntries = logWriter.entries
        return metrics
    }
}
