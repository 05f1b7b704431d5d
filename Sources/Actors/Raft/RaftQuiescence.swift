// Quiet groups: one that has nothing to do sends nothing and needs no ticks. While it is quiet, the nodes watch each
// other; the shell calls `wake()` or `leaderLost()` when a node's liveness epoch changes or a node dies.

extension Raft {
    /// Ends the quiet: ticks count again. Any message, proposal or read does so as well.
    public mutating func wake() {
        if !isQuiet { return }
        isQuiet = false
        idleTicks = 0
        // The silence that was agreed on is not held against anybody, and a leader speaks at the next tick.
        electionElapsed = 0
        heartbeatElapsed = options.heartbeatTicks
    }

    /// Gives back what only a busy replica needs: called by the shell once nothing happens here for now. Entries that are
    /// applied and on disk are read from there from then on.
    public mutating func shrink() {
        if !isQuiet { return }
        log.shrink(through: neededThrough)
        outbox.shrink()
        votes = []
        for member in progress.indices { progress[member].shrink() }
        reads.shrink()
    }

    /// Up to where no member will ask for entries that are in memory now. A silent one that lacks few keeps them there, or
    /// its return, which is that to all groups of its node, would be as many reads at once; one that has to be sent older
    /// ones from the disk keeps nothing.
    private var neededThrough: LogIndex {
        if role != .leader { return log.lastIndex }
        return progress.filter { $0.replica != id && log.isInWindow($0.match.next) }.map(\.match).min()
            ?? log.lastIndex
    }

    /// The epoch of this node's liveness; a leader states it when it proposes to go quiet. A new one wakes a leader,
    /// so that the group can agree on it.
    public mutating func setLivenessEpoch(_ epoch: UInt64) {
        if epoch == livenessEpoch { return }
        livenessEpoch = epoch
        if role == .leader { wake() }
    }

    mutating func becomeQuietIfIdle(_ count: Int) {
        if options.quietAfterTicks == 0 || !isIdle {
            idleTicks = 0
            return
        }
        idleTicks += count
        if idleTicks < options.quietAfterTicks { return }
        isQuiet = true
        suspendLease()
        let quiesce = Message.Quiesce(commit: log.commit, livenessEpoch: livenessEpoch)
        for member in progress where member.replica != id {
            send(.quiesce(quiesce), to: member.replica)
        }
    }

    /// Nothing is on its way, and every member that is alive has everything. A member that is not does not keep the
    /// others awake: its node's return wakes the group.
    private var isIdle: Bool {
        let last = log.lastIndex
        guard log.commit == last, log.applied == last, log.durable == last,
            outbox.outstanding.isEmpty,
            reads.isEmpty, transferee == nil,
            !(configuration.isJoint && configuration.leavesAutomatically),
            position(of: id) != nil
        else { return false }
        for member in progress where member.replica != id && wasHeardRecently(member) {
            if mutated(.leaderIgnoresLaggards) { continue }
            if member.match != last || member.state != .replicate || !member.inflights.isEmpty
                || member.isRecovering
            {
                return false
            }
        }
        // A leader without a quorum must notice that by its ticks.
        let verdict = Quorum.verdict(of: configuration.voters, and: configuration.outgoingVoters) {
            voter in
            progress.contains { $0.replica == voter && wasHeardRecently($0) }
        }
        return verdict == .won
    }

    mutating func handle(_ quiesce: Message.Quiesce, from sender: ReplicaID) {
        let agrees =
            mutated(.laggardGoesQuiet)
            || log.lastIndex == quiesce.commit && log.commit == quiesce.commit
                && log.durable == quiesce.commit
                && !log.hasPendingSnapshot && !isRecovering && !reads.hasForwarded
        if agrees {
            isQuiet = true
        } else {
            wake()
            // It acknowledges nothing, but wakes the leader, whose heartbeats then find out what is missing.
            send(
                .appendResponse(Message.AppendResponse(index: .zero, isRecovering: isRecovering)),
                to: sender)
        }
    }
}
