import FlotillaIO
import FlotillaRaft

/// What a group knows of its snapshots and of transfers in both directions.
struct SnapshotState {
    /// A snapshot that is being fetched from the leader.
    struct Fetch {
        var message: Message
        var metadata: SnapshotMetadata
        var offer: SnapshotOffer
        var source: NodeID
        var received: [UInt8] = []
        var lastProgress: MonotonicTime
        /// All bytes are here and are being written down.
        var isComplete = false
    }

    /// The newest one on this node's disk.
    var newest: SnapshotMetadata?
    var newestOffer: SnapshotOffer?
    var isBeingTaken = false
    var fetch: Fetch?
    /// Fetched and on disk; the core has been told and will ask for its installation.
    var installing: (metadata: SnapshotMetadata, bytes: [UInt8])?
    /// Loaded for followers that fetch it.
    var served: (index: LogIndex, term: Term, bytes: [UInt8], lastUse: MonotonicTime)?
    /// Followers that were told to fetch one, and when they last showed a sign of doing so.
    var offered: [ReplicaID: MonotonicTime] = [:]

    init(newest: SnapshotMetadata?) { self.newest = newest }

    var isTransferring: Bool { fetch != nil || !offered.isEmpty || served != nil || isBeingTaken }

    static let chunkSize = 1 << 20
    /// Without progress for this long, a transfer is given up; the leader offers a snapshot anew.
    static let transferTimeout: Duration = .seconds(10)
    /// While a follower fetches a snapshot, the next one waits until so many times the entries have been applied: it
    /// would compact away what the follower needs behind the one that it fetches.
    static let patience = 8
    /// A snapshot that nobody fetched from for this long leaves memory.
    static let servedTimeout: Duration = .seconds(30)
}

/// A group's frozen state: what the machine holds and what makes its commands apply once.
/// Encoded as `flotilla.v1.GroupSnapshot` in Protos/commands.proto.
struct GroupSnapshotView: Sendable {
    var formatVersion: UInt32
    var time: Int64
    var sessions: ClientSessions
    var state: any SnapshotView

    func serialize() -> [UInt8] {
        var writer = ProtobufWriter()
        writer.varint(1, UInt64(formatVersion))
        writer.signed(2, time)
        if !mutated(.snapshotForgetsSessions) { writer.message(3) { sessions.encode(into: &$0) } }
        writer.bytes(4, state.serialize())
        return writer.bytes
    }
}

extension RaftGroup {
    func snapshotView() -> GroupSnapshotView {
        GroupSnapshotView(
            formatVersion: type(of: stateMachine).formatVersion, time: time, sessions: sessions,
            state: stateMachine.snapshotView())
    }

    /// Replaces state machine, sessions and time by what a snapshot holds.
    func restoreState(_ bytes: [UInt8]) throws(ApplyError) {
        var version: UInt32 = 0
        var restoredTime: Int64 = 0
        var restoredSessions = ClientSessions()
        var state: [UInt8] = []
        do throws(WireError) {
            var reader = ProtobufReader(bytes)
            while let field = try reader.next() {
                switch field {
                case 1: version = try reader.uint32()
                case 2: restoredTime = try reader.signed()
                case 3:
                    var inner = try reader.message()
                    restoredSessions = try ClientSessions(decoding: &inner)
                case 4: state = try reader.bytes()
                default: throw reader.unknownField(in: "a group's snapshot")
                }
            }
        } catch {
            throw ApplyError(.unknownFormat, "snapshot of \(identity.group): \(error)")
        }
        try stateMachine.restore(state, formatVersion: version)
        time = restoredTime
        sessions = restoredSessions
    }

    /// The state of the snapshot that the log names, before the first entry behind it is applied.
    func restoreAtStart(_ bytes: [UInt8]) throws {
        guard let newest = snapshots.newest else { preconditionFailure("\(identity.group) has no snapshot") }
        try restoreState(bytes)
        snapshots.newestOffer = SnapshotOffer(size: UInt64(bytes.count), checksum: CRC32C.checksum(bytes))
        appliedTerm = newest.term
        campaignIfAlone()
        // Whoever waits for what is in it may wait for ever otherwise: nothing may be applied behind it for long, and a
        // node finds its peers by what the management group says.
        stateMachine.didApplyBatch()
    }

    // MARK: Taking

    /// Starts a snapshot when enough was applied since the last one. Commands go on meanwhile.
    func takeSnapshotIfDue(_ storage: SnapshotStorage) {
        let last = snapshots.newest?.index ?? .zero
        let patience = snapshots.offered.isEmpty ? 1 : SnapshotState.patience
        guard stopReason == nil, !snapshots.isBeingTaken, snapshots.fetch == nil, snapshots.installing == nil,
            appliedTerm != .zero,
            core.appliedIndex.rawValue - last.rawValue >= UInt64(settings.snapshotThreshold * patience)
        else { return }
        snapshots.isBeingTaken = true
        let metadata = SnapshotMetadata(
            index: core.appliedIndex, term: appliedTerm, configuration: core.configuration)
        let view = snapshotView()
        storage.save(
            identity, metadata, { view.serialize() }, loop: loop,
            then: { outcome in self.assumeIsolated { $0.snapshotSaved(metadata, outcome) } })
    }

    private func snapshotSaved(_ metadata: SnapshotMetadata, _ outcome: Result<SnapshotOffer, LogError>) {
        snapshots.isBeingTaken = false
        guard stopReason == nil else { return }
        switch outcome {
        case .failure(let error) where error.code == .diskFull:
            // Taken again when more has been applied.
            return logger.warning("no snapshot of \(identity.group) was taken: \(error)", [:])
        case .failure(let error):
            stop(GroupError(.stopped, "a snapshot of \(identity.group) could not be written: \(error)"))
        case .success(let offer):
            guard metadata.index > snapshots.newest?.index ?? .zero else { return }
            metrics.snapshotsTaken += 1
            snapshots.newest = metadata
            snapshots.newestOffer = offer
            core.snapshotTaken(metadata, keepingEntriesBehind: settings.entriesKeptBehindSnapshot)
            recordsToWrite.append(
                LogBatch.Write(group: identity.group, incarnation: identity.incarnation, snapshot: metadata))
        }
        wake()
    }

    // MARK: Fetching, on a follower

    /// The leader says that this replica needs a snapshot. The core hears of it once the bytes are on disk here.
    func receiveSnapshot(_ message: Message, _ metadata: SnapshotMetadata, _ offer: SnapshotOffer, from node: NodeID) {
        guard stopReason == nil else { return }
        routes[message.from] = node
        guard metadata.index > core.commitIndex else { return core.step(message) }
        if let fetch = snapshots.fetch {
            if fetch.isComplete || fetch.metadata.index > metadata.index { return }
            guard message.term >= fetch.message.term else { return }
            if fetch.metadata.index == metadata.index, fetch.offer == offer { return goOn(message, from: node) }
        }
        guard snapshots.installing == nil else { return }
        logger.info(
            "\(identity.group) fetches a snapshot",
            ["index": metadata.index.description, "bytes": "\(offer.size)", "from": node.description])
        snapshots.fetch = .init(
            message: message, metadata: metadata, offer: offer, source: node, lastProgress: loop.now)
        requestChunk()
    }

    /// The snapshot that is being fetched is announced again, perhaps by another leader: it goes on from there. A
    /// request or its answer may have been lost, and the core takes a snapshot from the leader of its own term only.
    private func goOn(_ message: Message, from node: NodeID) {
        snapshots.fetch?.message = message
        snapshots.fetch?.source = node
        requestChunk()
    }

    private func requestChunk() {
        guard let fetch = snapshots.fetch else { return }
        bulkItems.append(
            (
                fetch.source,
                .snapshotRequest(
                    SnapshotRequest(
                        group: identity.group, incarnation: identity.incarnation, index: fetch.metadata.index,
                        term: fetch.metadata.term,
                        offset: mutated(.rewindsTransfer) ? 0 : UInt64(fetch.received.count)))
            ))
        wake()
    }

    func receiveChunk(_ chunk: SnapshotChunk, from node: NodeID, _ storage: SnapshotStorage) {
        guard stopReason == nil, var fetch = snapshots.fetch, !fetch.isComplete, fetch.source == node,
            chunk.index == fetch.metadata.index, chunk.term == fetch.metadata.term,
            chunk.isGone || chunk.offset == UInt64(fetch.received.count)
        else { return }
        guard !chunk.isGone, fetch.received.count + chunk.data.count <= Int(fetch.offer.size) else {
            snapshots.fetch = nil
            return logger.warning("\(identity.group): the snapshot at \(chunk.index) is no longer to be had", [:])
        }
        snapshots.fetch = nil
        fetch.received += chunk.data
        fetch.lastProgress = loop.now
        guard chunk.isFinal else {
            snapshots.fetch = fetch
            return requestChunk()
        }
        guard fetch.received.count == Int(fetch.offer.size),
            CRC32C.checksum(fetch.received) == fetch.offer.checksum
        else {
            return logger.warning("\(identity.group): a fetched snapshot does not match its checksum", [:])
        }
        fetch.isComplete = true
        let bytes = fetch.received
        let metadata = fetch.metadata
        snapshots.fetch = fetch
        if mutated(.installsSnapshotBeforeItIsSaved) {
            snapshots.installing = (metadata, bytes)
            core.step(fetch.message)
        }
        storage.save(
            identity, metadata, { bytes }, loop: loop,
            then: { outcome in self.assumeIsolated { $0.snapshotFetched(bytes, outcome) } })
    }

    private func snapshotFetched(_ bytes: [UInt8], _ outcome: Result<SnapshotOffer, LogError>) {
        guard stopReason == nil, let fetch = snapshots.fetch else { return }
        snapshots.fetch = nil
        switch outcome {
        case .failure(let error) where error.code == .diskFull:
            // The leader offers it again.
            return logger.warning("a snapshot of \(identity.group) was fetched and not kept: \(error)", [:])
        case .failure(let error):
            stop(GroupError(.stopped, "a snapshot of \(identity.group) could not be written: \(error)"))
        case .success:
            snapshots.installing = (fetch.metadata, bytes)
            core.step(fetch.message)
        }
        wake()
    }

    /// The core took the snapshot: the state machine follows, before anything behind it is applied.
    func install(_ metadata: SnapshotMetadata) {
        guard let (installing, bytes) = snapshots.installing, installing.index == metadata.index else {
            preconditionFailure("\(identity.group) installs \(metadata.index) without its bytes")
        }
        snapshots.installing = nil
        unapplied = []
        do {
            try restoreState(bytes)
        } catch {
            return stop(GroupError(.stopped, "the snapshot at \(metadata.index) cannot be restored: \(error)"))
        }
        snapshots.newest = metadata
        snapshots.newestOffer = SnapshotOffer(size: UInt64(bytes.count), checksum: CRC32C.checksum(bytes))
        appliedTerm = metadata.term
        metrics.snapshotsInstalled += 1
        for member in metadata.configuration.members { routes[member.replica] = member.node }
        core.applied(through: metadata.index)
        stateMachine.didApplyBatch()
    }

    // MARK: Serving, on the leader

    /// Says with a snapshot message what the follower will find; nil: nothing to offer at that index any more.
    func offer(_ metadata: SnapshotMetadata, to replica: ReplicaID) -> SnapshotOffer? {
        guard metadata.index == snapshots.newest?.index else { return nil }
        snapshots.offered[replica] = loop.now
        return snapshots.newestOffer
    }

    func serve(_ request: SnapshotRequest, to node: NodeID, _ storage: SnapshotStorage) {
        guard stopReason == nil else { return reply(goneFor: request, to: node) }
        for (replica, home) in routes where home == node && snapshots.offered[replica] != nil {
            snapshots.offered[replica] = loop.now
        }
        // Also when there is a newer one: whoever began to fetch it can finish.
        if let served = snapshots.served, served.index == request.index, served.term == request.term {
            snapshots.served?.lastUse = loop.now
            return reply(request, to: node, from: served.bytes)
        }
        guard let newest = snapshots.newest, newest.index == request.index, newest.term == request.term else {
            return reply(goneFor: request, to: node)
        }
        storage.load(identity, newest, loop: loop) { outcome in
            self.assumeIsolated { group in
                guard case .success(let bytes) = outcome else { return group.reply(goneFor: request, to: node) }
                group.snapshots.served = (request.index, request.term, bytes, group.loop.now)
                group.reply(request, to: node, from: bytes)
            }
        }
    }

    private func reply(_ request: SnapshotRequest, to node: NodeID, from bytes: [UInt8]) {
        let start = min(Int(clamping: request.offset), bytes.count)
        let end = min(start + SnapshotState.chunkSize, bytes.count)
        bulkItems.append(
            (
                node,
                .snapshotChunk(
                    SnapshotChunk(
                        group: request.group, index: request.index, term: request.term, offset: UInt64(start),
                        data: Array(bytes[start..<end]), isFinal: end == bytes.count, isGone: false))
            ))
        wake()
    }

    private func reply(goneFor request: SnapshotRequest, to node: NodeID) {
        bulkItems.append(
            (
                node,
                .snapshotChunk(
                    SnapshotChunk(
                        group: request.group, index: request.index, term: request.term, offset: request.offset,
                        data: [], isFinal: false, isGone: true))
            ))
        wake()
    }

    func expireTransfers(now: MonotonicTime) {
        if let fetch = snapshots.fetch, !fetch.isComplete,
            fetch.lastProgress.advanced(by: SnapshotState.transferTimeout) <= now
        {
            snapshots.fetch = nil
        }
        if let served = snapshots.served, served.lastUse.advanced(by: SnapshotState.servedTimeout) <= now {
            snapshots.served = nil
        }
        for (replica, lastSign) in snapshots.offered.sorted(by: { $0.key < $1.key })
        where lastSign.advanced(by: SnapshotState.transferTimeout) <= now {
            snapshots.offered[replica] = nil
            core.reportSnapshot(replica, succeeded: false)
        }
    }
}

/// The blocking calls on snapshot files, made on a worker of their own so that they delay no fsync of the log.
struct SnapshotStorage: Sendable {
    let store: any LogStore
    let worker: any Worker

    func save(
        _ replica: ReplicaIdentity, _ metadata: SnapshotMetadata, _ serialize: @escaping @Sendable () -> [UInt8],
        loop: any Loop, then: @escaping @Sendable (Result<SnapshotOffer, LogError>) -> Void
    ) {
        let outcome = Lock<Result<SnapshotOffer, LogError>?>(nil)
        worker.submit(
            {
                let bytes = serialize()
                let result: Result<SnapshotOffer, LogError>
                do throws(LogError) {
                    try store.saveSnapshot(
                        bytes, of: replica.group, incarnation: replica.incarnation, at: metadata.index,
                        term: metadata.term)
                    result = .success(SnapshotOffer(size: UInt64(bytes.count), checksum: CRC32C.checksum(bytes)))
                } catch {
                    result = .failure(error)
                }
                outcome.withLock { $0 = result }
            },
            then: { if let result = outcome.withLock({ $0 }) { then(result) } }, on: loop)
    }

    func load(
        _ replica: ReplicaIdentity, _ metadata: SnapshotMetadata, loop: any Loop,
        then: @escaping @Sendable (Result<[UInt8], LogError>) -> Void
    ) {
        let outcome = Lock<Result<[UInt8], LogError>?>(nil)
        worker.submit(
            {
                let result: Result<[UInt8], LogError>
                do throws(LogError) {
                    result = .success(
                        try store.loadSnapshot(
                            of: replica.group, incarnation: replica.incarnation, at: metadata.index,
                            term: metadata.term))
                } catch {
                    result = .failure(error)
                }
                outcome.withLock { $0 = result }
            },
            then: { if let result = outcome.withLock({ $0 }) { then(result) } }, on: loop)
    }
}
