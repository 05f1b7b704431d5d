import FlotillaIO
import FlotillaRaft

/// What a group knows of its snapshots.
struct SnapshotState {
    /// The newest one on this node's disk.
    var newest: SnapshotMetadata?
    /// Of the newest that was taken or restored here, before compression.
    var bytes: UInt64 = 0
    var isBeingTaken = false
    /// Nil until there is one, and again some time after the last.
    var transfers: SnapshotTransfers?

    init(newest: SnapshotMetadata?) { self.newest = newest }

    var isTransferring: Bool { isBeingTaken || transfers?.isUnderWay == true }

    /// Without progress for this long, a transfer is given up; the leader offers a snapshot anew.
    static let transferTimeout: Duration = .seconds(10)
    /// While a follower fetches a snapshot, the next one waits until so many times the entries have been applied: it
    /// would compact away what the follower needs behind the one that it fetches.
    static let patience: UInt64 = 8

    /// Entries from one snapshot to the next: at least `threshold`. A state that has become large is not written down so
    /// often that this is most of what its group does, but once for as many entries as it has pieces of 64 bytes, rounded
    /// up so that members whose snapshots differ a little take theirs at the same ones. The log between two is then a few
    /// times as large as the state (LogCabin has four times by default), and is applied again in about the time of that.
    func interval(threshold: Int) -> UInt64 {
        var interval = UInt64(threshold)
        if bytes <= Self.smallState { return interval }
        while interval < bytes / 64 { interval *= 2 }
        return interval
    }

    private static let smallState: UInt64 = 1 << 20
}

/// The transfers of one group, in both directions.
final class SnapshotTransfers {
    /// One that is being fetched.
    var fetch: SnapshotFetch?
    /// One that was fetched, while what belongs to it is asked for.
    var completion: SnapshotCompletion?
    /// On disk, and the core has been told: it will ask for its installation.
    var installing: (metadata: SnapshotMetadata, state: GroupRestoration)?
    /// Followers that were told of one, and when they last showed a sign of fetching it.
    var offered: [ReplicaID: MonotonicTime] = [:]
    /// Announcements that were made ready aside.
    var announcements: [GroupOutput.Send] = []

    var isUnderWay: Bool { fetch != nil || completion != nil || !offered.isEmpty }
    var isEmpty: Bool { !isUnderWay && installing == nil && announcements.isEmpty }
}

extension RaftGroup {
    /// Those that are under way, or the place for the first.
    var transfers: SnapshotTransfers {
        if let transfers = snapshots.transfers { return transfers }
        let transfers = SnapshotTransfers()
        snapshots.transfers = transfers
        return transfers
    }

    // MARK: Taking

    /// Whether a snapshot is due right behind this entry: at the same entries on all members, whose files are then the
    /// same, and at others in other groups, which would otherwise all start at once where all have the same work.
    func isSnapshotDue(behind index: LogIndex) -> Bool {
        let phase = identity.group.rawValue &* 0x9E37_79B9_7F4A_7C15 % UInt64(settings.snapshotThreshold)
        let interval = snapshots.interval(threshold: settings.snapshotThreshold)
        guard index.rawValue % interval == phase, stopReason == nil, !snapshots.isBeingTaken, transfers.fetch == nil,
            transfers.completion == nil, transfers.installing == nil
        else { return false }
        let last = snapshots.newest?.index ?? .zero
        return transfers.offered.isEmpty || index.rawValue - last.rawValue >= interval * SnapshotState.patience
    }

    /// Freezes the state as it is now, right behind `entry`, and stores it aside. Commands go on meanwhile.
    func takeSnapshot(behind entry: Entry) {
        snapshots.isBeingTaken = true
        let metadata = SnapshotMetadata(index: entry.index, term: entry.term, configuration: core.configuration)
        let id = SnapshotID(identity, metadata)
        let view = snapshotView()
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try view.state.prepare()
            return try store.save(view.serialize(), as: id)
        } then: { outcome in
            self.assumeOnLoop { $0.snapshotSaved(metadata, outcome) }
        }
    }

    private func snapshotSaved(
        _ metadata: SnapshotMetadata, _ outcome: Result<SnapshotStore.SaveReport, LogError>
    ) {
        snapshots.isBeingTaken = false
        guard stopReason == nil else { return }
        switch outcome {
        case .failure(let error) where error.code == .diskFull:
            // Taken again when more has been applied.
            return logger.warning("no snapshot of \(identity.group) was taken: \(error)", [:])
        case .failure(let error):
            stop(GroupError(.stopped, "a snapshot of \(identity.group) could not be written: \(error)"))
        case .success(let report):
            guard metadata.index > snapshots.newest?.index ?? .zero else { return }
            metrics.snapshotsTaken += 1
            metrics.lastSnapshot = report
            logger.debug(
                "\(identity.group) has a snapshot",
                [
                    "index": metadata.index.description, "bytes": "\(report.sizeBytes)",
                    "stored": "\(report.storedBytes)", "took": "\(report.duration)",
                    "compression": "\(report.compressionTime)",
                ])
            snapshots.newest = metadata
            snapshots.bytes = report.sizeBytes
            core.snapshotTaken(metadata, keepingEntriesBehind: settings.entriesKeptBehindSnapshot)
            recordsToWrite.append(
                LogBatch.Write(
                    group: identity.group, incarnation: identity.incarnation, snapshot: metadata,
                    keptFrom: core.firstIndex))
        }
        wake()
    }

    /// The log names a snapshot durably: older ones are superfluous.
    func compactSnapshots(_ named: SnapshotMetadata) {
        let id = SnapshotID(identity, named)
        snapshotStore.perform(on: loop) { store throws(LogError) in
            try store.compact(id)
        } then: { [logger] outcome in
            guard case .failure(let error) = outcome else { return }
            logger.warning("old snapshots could not be removed", ["reason": error.description])
        }
    }

    // MARK: Announcing, on the leader

    /// The core wants a follower to have the snapshot: its file says how large it is, or is read whole if it is small.
    func announce(_ message: Message, _ metadata: SnapshotMetadata, to node: NodeID) {
        // A newer one has come in between, which the core will announce.
        guard metadata.index == snapshots.newest?.index else { return }
        transfers.offered[message.to] = loop.now
        let id = SnapshotID(identity, metadata)
        let limit = UInt64(settings.snapshotEmbedLimit)
        snapshotStore.perform(on: loop) { store throws(LogError) in
            let known = try store.metadata(id)
            return SnapshotOffer(
                size: known.sizeBytes, checksum: known.checksum, chunkBytes: known.chunkBytes,
                bytes: known.sizeBytes < limit ? try store.load(id) : nil)
        } then: { outcome in
            self.assumeOnLoop { $0.offerIsReady(outcome, message, node) }
        }
    }

    private func offerIsReady(_ outcome: Result<SnapshotOffer, LogError>, _ message: Message, _ node: NodeID) {
        guard stopReason == nil else { return }
        switch outcome {
        case .success(let offer):
            transfers.announcements.append(GroupOutput.Send(node: node, message: message, offer: offer))
            wake()
        case .failure(let error):
            // The next snapshot replaces it, and followers that are up to date have theirs.
            logger.error(
                "a snapshot cannot be read, so it cannot be handed on",
                ["group": identity.group.description, "reason": error.description])
        }
    }

    /// A follower asked for a part of a snapshot.
    func didServe(_ node: NodeID) {
        guard let transfers = snapshots.transfers else { return }
        for replica in transfers.offered.keys where self.node(of: replica) == node {
            transfers.offered[replica] = loop.now
        }
    }

    func expireTransfers(now: MonotonicTime) {
        guard snapshots.transfers != nil else { return }
        expireFetch(now: now)
        expireCompletion(now: now)
        for (replica, lastSign) in transfers.offered.sorted(by: { $0.key < $1.key })
        where lastSign.advanced(by: SnapshotState.transferTimeout) <= now {
            transfers.offered[replica] = nil
            core.reportSnapshot(replica, succeeded: false)
        }
    }

    // MARK: Installing

    /// The core took the snapshot: the state machine follows, before anything behind it is applied.
    func install(_ metadata: SnapshotMetadata) {
        guard let (installing, state) = transfers.installing, installing.index == metadata.index else {
            preconditionFailure("\(identity.group) installs \(metadata.index) without its state")
        }
        transfers.installing = nil
        unapplied = []
        // To let go of a large state takes time as well, so that is done aside: here is the last reference.
        let replaced = Lock<(any SnapshotView)?>(stateMachine.snapshotView())
        restoreState(state)
        snapshotStore.perform(on: loop) { _ throws(LogError) in
            replaced.withLock { $0 = nil }
        } then: { _ in
        }
        snapshots.newest = metadata
        appliedTerm = metadata.term
        metrics.snapshotsInstalled += 1
        let former = core.configuration
        core.applied(through: metadata.index)
        membersDidChange(from: former)
        stateMachine.didApplyBatch()
    }
}
