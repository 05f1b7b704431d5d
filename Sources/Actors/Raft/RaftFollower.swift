// The follower's side of replication.

extension Raft {
    mutating func handle(_ append: Message.Append, from sender: ReplicaID) {
        if append.previousIndex < log.commit {
            // Overtaken: what it would bring is committed here already.
            acknowledge(log.commit, to: sender)
            return
        }
        if !log.matches(append.previousIndex, append.previousTerm) {
            reject(append, to: sender)
            return
        }
        if let conflict = log.merge(append.entries) { note { _ in conflict } }
        // Only what this append has verified is known to be the leader's.
        let verified = append.previousIndex + append.entries.count
        log.advanceCommit(to: min(append.commit, mutated(.commitsUnverifiedPrefix) ? log.lastIndex : verified))
        let owesAnswer = !append.isNotice || isRecovering
        endRecoveryIfDone()
        if owesAnswer { acknowledge(verified, to: sender) }
    }

    mutating func handle(_ heartbeat: Message.Heartbeat, from sender: ReplicaID) {
        // The leader names no more than this replica acknowledged in this term. One that lost it learns it anew.
        if heartbeat.commit <= log.lastIndex && !isRecovering {
            log.advanceCommit(to: heartbeat.commit)
        }
        if saysItRecovers {
            // The leader may still count what was lost here.
            sendWhenDurable(
                .appendResponse(Message.AppendResponse(index: .zero, isRecovering: true)),
                to: sender)
        }
        // A recovering replica may have forgotten that it promised itself to a later term: it confirms no reads.
        let round = isRecovering ? 0 : heartbeat.readRound
        send(.heartbeatResponse(Message.HeartbeatResponse(readRound: round)), to: sender)
    }

    private mutating func reject(_ append: Message.Append, to sender: ReplicaID) {
        note { .refusedAppend(append, from: sender, ownTerm: $0.log.term(at: append.previousIndex)) }
        let hint = log.conflictHint(
            from: min(append.previousIndex, log.lastIndex), term: append.previousTerm)
        sendWhenDurable(
            .appendResponse(
                Message.AppendResponse(
                    index: append.previousIndex, isRejected: true, hintIndex: hint.index,
                    hintTerm: hint.term,
                    isRecovering: saysItRecovers)),
            to: sender)
    }

    var saysItRecovers: Bool { isRecovering && !mutated(.recoveringReplicaKeepsQuiet) }

    mutating func acknowledge(_ index: LogIndex, to sender: ReplicaID) {
        sendWhenDurable(
            .appendResponse(Message.AppendResponse(index: index, isRecovering: saysItRecovers)),
            to: sender)
    }

    /// A damaged tail is made good once a leader's commit index and this replica's disk have passed its end.
    mutating func endRecoveryIfDone() {
        guard let end = recoveringUntil else { return }
        let isPast = log.commit >= end && log.durable >= end && leader != nil
        if isPast || mutated(.recoveryEndsByItself) { recoveringUntil = nil }
    }
}
