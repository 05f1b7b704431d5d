// Snapshots: compaction, sending one to a member that lags too far, receiving one.

extension Raft {
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
        if mutated(.noSnapshotFromEmptyLog), log.lastIndex == log.offset { return false }
        let before = memberProgress(member)
        progress[member].becomeSnapshot(snapshot.index)
        progress[member].announcedAtTick = leaderTick
        note {
            .sentSnapshot(
                snapshot, firstIndex: $0.log.firstIndex, commit: $0.log.commit, before: before,
                after: $0.memberProgress(member))
        }
        send(.snapshot(snapshot), to: progress[member].replica)
        return true
    }

    mutating func announceSnapshotsAgain() {
        if options.snapshotAnnouncementTicks == 0 { return }
        for member in progress.indices {
            guard case .snapshot = progress[member].state,
                leaderTick - progress[member].announcedAtTick >= UInt64(options.snapshotAnnouncementTicks)
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
    }

    /// Takes a snapshot whose bytes the shell holds. One that does not know this replica is taken as well: the change
    /// that added it follows in the log.
    mutating func handle(_ metadata: SnapshotMetadata, from sender: ReplicaID) {
        if metadata.index > log.commit || (mutated(.takesSnapshotAtCommit) && metadata.index == log.commit) {
            if log.matches(metadata.index, metadata.term), !mutated(.snapshotWipesMatchingLog) {
                // The log holds all of it: nothing has to be replaced.
                note {
                    .fastForwarded(
                        to: metadata, commit: $0.log.commit, lastIndex: $0.log.lastIndex, lastTerm: $0.log.lastTerm)
                }
                log.advanceCommit(to: metadata.index)
            } else {
                note { .restoring(metadata, $0.restoredLog) }
                log.restore(metadata)
                note { .restored(metadata, commit: $0.log.commit) }
                outbox.restore = metadata
                if mutated(.acknowledgesSnapshotAtOnce) {
                    send(.appendResponse(.init(index: log.lastIndex)), to: sender)
                } else {
                    acknowledge(log.lastIndex, to: sender)
                }
                return
            }
        }
        note { .snapshotNotNeeded(metadata, commit: $0.log.commit) }
        endRecoveryIfDone()
        acknowledge(log.commit, to: sender)
    }
}
