// Leadership transfer (thesis 3.10).

extension Raft {
    /// Hands leadership to a voter as soon as its log is complete. Until then, and for one election timeout at most,
    /// proposals are refused. A follower passes the request on.
    public mutating func transferLeadership(to target: ReplicaID) {
        if isFenced { return }
        wake()
        defer { checkInvariants() }
        if role != .leader {
            if let leader {
                send(.forwardedTransfer(to: target), to: leader)
            } else {
                note { .transferIgnored(to: target, $0.term, .noLeader) }
            }
            return
        }
        guard let member = position(of: target) else {
            note { .transferIgnored(to: target, $0.term, .isStranger) }
            return
        }
        if progress[member].isLearner, !mutated(.transfersToLearner) {
            note { .transferIgnored(to: target, $0.term, .isLearner) }
            return
        }
        guard isVoter(target) || mutated(.transfersToLearner), !progress[member].isRecovering else { return }
        if transferee == target {
            note { .transferIgnored(to: target, $0.term, .isUnderWay) }
            return
        }
        if let transferee { note { .transferReplaced(transferee, $0.term) } }
        if target == id {
            abortTransfer()
            note { .transferIgnored(to: target, $0.term, .isLeader) }
            return
        }
        note { .transferStarted(to: target, $0.term) }
        transferee = target
        electionElapsed = 0
        if progress[member].match == log.lastIndex || mutated(.transfersToLaggard) {
            tellToCampaign(target)
            note { _ in .toldToCampaign(target, isAtOnce: true) }
        } else {
            sendAppend(to: member, evenIfEmpty: true)
        }
    }

    mutating func completeTransferIfCaughtUp(_ member: Int) {
        if progress[member].match == log.lastIndex {
            note { .toldToCampaign($0.progress[member].replica, isAtOnce: false) }
            tellToCampaign(progress[member].replica)
        }
    }

    private mutating func tellToCampaign(_ target: ReplicaID) {
        reads.isLeaseForfeited = !mutated(.keepsLeaseInTransfer)
        send(.timeoutNow, to: target)
    }

    mutating func abortTransfer() {
        if transferee == nil { return }
        transferee = nil
        leaveJointConfigurationIfDue()
    }
}
