// Leadership transfer (thesis 3.10).

extension Raft {
    /// Hands leadership to a voter as soon as its log is complete. Until then, and for one election timeout at most,
    /// proposals are refused. A follower passes the request on.
    public mutating func transferLeadership(to target: ReplicaID) {
        if isFenced { return }
        wake()
        defer { checkInvariants() }
        if role != .leader {
            if let leader { send(.forwardedTransfer(to: target), to: leader) }
            return
        }
        guard target != options.replica, let member = position(of: target),
            isVoter(target) && !progress[member].isLearner || mutated(.transfersToLearner),
            !progress[member].isRecovering
        else { return }
        if transferee == target { return }
        transferee = target
        electionElapsed = 0
        if progress[member].match == log.lastIndex || mutated(.transfersToLaggard) {
            send(.timeoutNow, to: target)
        } else {
            sendAppend(to: member, evenIfEmpty: true)
        }
    }

    mutating func completeTransferIfCaughtUp(_ member: Int) {
        if progress[member].match == log.lastIndex {
            send(.timeoutNow, to: progress[member].replica)
        }
    }

    mutating func abortTransfer() {
        if transferee == nil { return }
        transferee = nil
        leaveJointConfigurationIfDue()
    }
}
