// Snapshots: compaction, sending one to a member that lags too far, receiving one.

extension Raft {
    /// A leader announces a pending snapshot again after this many election timeouts without an answer: the
    /// announcement, or the report of its failure, may have been lost.
    private static let electionsUntilNextAnnouncement: UInt64 = 4

    // MARK: Inputs

    /// This replica's own snapshot at `metadata.index`, which was applied, is stored. The log drops what the snapshot
    /// covers, except for the last `keepingEntriesBehind` entries, which spare a member that lags a little the
    /// snapshot. A snapshot that is older than the known one changes nothing.
    public mutating func snapshotTaken(_ metadata: SnapshotMetadata, keepingEntriesBehind kept: Int) {
        if isFenced { return }
        log.compact(metadata, keeping: kept)
        checkInvariants()
    }

    /// A member has, or has not, received the snapshot that was announced to it.
    public mutating func reportSnapshot(_ replica: ReplicaID, succeeded: Bool) {
        guard !isFenced, role == .leader, let member = position(of: replica) else { return }
        guard case .snapshot = progress[member].state else { return }
        if succeeded { progress[member].becomeProbe() } else { progress[member].forgetSnapshot() }
        // Its acknowledgement, or the next heartbeat's answer, sets it going again.
        progress[member].isPaused = true
        checkInvariants()
    }

    // MARK: Sending

    mutating func sendSnapshot(to member: Int) -> Bool {
        // A member that is away would only see its announcement lost.
        guard progress[member].isRecentlyActive, let snapshot = log.snapshot else { return false }
        if mutated(.noSnapshotFromEmptyLog), log.entries.isEmpty { return false }
        progress[member].becomeSnapshot(snapshot.index)
        progress[member].announcedAtTick = leaderTick
        send(.snapshot(snapshot), to: progress[member].replica)
        return true
    }

    mutating func announceSnapshotsAgain() {
        let patience = UInt64(options.electionTicks) * Self.electionsUntilNextAnnouncement
        for member in progress.indices {
            guard case .snapshot = progress[member].state,
                leaderTick - progress[member].announcedAtTick >= patience
            else { continue }
            _ = sendSnapshot(to: member)
        }
    }

    // MARK: Receiving

    /// The received snapshot is installed, and its configuration with it. Not before: entries that were handed out
    /// earlier are applied first, and their changes belong to the configuration that they were made for.
    mutating func adoptSnapshotConfiguration() {
        guard let snapshot = log.snapshot, !mutated(.snapshotKeepsConfiguration) else { return }
        configuration = snapshot.configuration
        if mutated(.snapshotDropsJointHalf) { configuration.outgoingVoters = [] }
        isOutvoted = false
        resetProgress()
    }

    /// Takes a snapshot whose bytes the shell holds. One that does not know this replica is taken as well: the change
    /// that added it follows in the log.
    mutating func handle(_ metadata: SnapshotMetadata, from sender: ReplicaID) {
        if metadata.index > log.commit || (mutated(.takesSnapshotAtCommit) && metadata.index == log.commit) {
            if log.matches(metadata.index, metadata.term), !mutated(.snapshotWipesMatchingLog) {
                // The log holds all of it: nothing has to be replaced.
                log.advanceCommit(to: metadata.index)
            } else {
                log.restore(metadata)
                outbox.restore = metadata
                if mutated(.acknowledgesSnapshotAtOnce) {
                    send(.appendResponse(.init(index: log.lastIndex)), to: sender)
                } else {
                    acknowledge(log.lastIndex, to: sender)
                }
                return
            }
        }
        endRecoveryIfDone()
        acknowledge(log.commit, to: sender)
    }
}
