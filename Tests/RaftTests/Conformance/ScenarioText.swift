@testable import FlotillaRaft

// How scenarios write what the core deals in.

extension Configuration {
    var scenarioText: String {
        var text = "voters=\(voters.scenarioText)"
        if isJoint { text += "&&\(outgoingVoters.scenarioText)" }
        if !learners.isEmpty { text += " learners=\(learners.scenarioText)" }
        if !nextLearners.isEmpty { text += " learners_next=\(nextLearners.scenarioText)" }
        return leavesAutomatically ? text + " autoleave" : text
    }
}

extension [ReplicaID] {
    fileprivate var scenarioText: String { "(\(spaced))" }
    fileprivate var spaced: String { map { "\($0.rawValue)" }.joined(separator: " ") }
}

extension ConfigurationChanger.Problem {
    var scenarioText: String {
        switch self {
        case .alreadyJoint: "config is already joint"
        case .notJoint: "can't leave a non-joint config"
        case .noVoters: "can't make a zero-voter config joint"
        case .removesAllVoters: "removed all voters"
        case .severalVotersAtOnce: "more than one voter changed without entering joint config"
        case .simpleWhileJoint: "can't apply simple config change in joint config"
        case .unknownReplica, .notLearner, .notVoter, .nodeIsMember, .contradiction: explanation
        }
    }
}

extension Progress {
    /// What a leader knows of a member.
    var scenarioText: String {
        let state: MemberProgress.State =
            switch state {
            case .probe: .probe
            case .replicate: .replicate
            case .snapshot: .snapshot
            }
        return memberText(
            state, match, next, isLearner: isLearner, isPaused: isThrottled, pendingSnapshot,
            isInactive: !isRecentlyActive, inFlight: inflights.count, isFull: inflights.isFull)
    }
}

extension MemberProgress {
    /// The same, as an event tells it; whether the member is active is not asked there.
    var scenarioText: String {
        memberText(
            state, match, next, isLearner: isLearner, isPaused: isPaused, pendingSnapshot, isInactive: false,
            inFlight: inFlight, isFull: isWindowFull)
    }
}

private func memberText(
    _ state: MemberProgress.State, _ match: LogIndex, _ next: LogIndex, isLearner: Bool, isPaused: Bool,
    _ pendingSnapshot: LogIndex?, isInactive: Bool, inFlight: Int, isFull: Bool
) -> String {
    var text =
        switch state {
        case .probe: "StateProbe"
        case .replicate: "StateReplicate"
        case .snapshot: "StateSnapshot"
        }
    text += " match=\(match) next=\(next)"
    if isLearner { text += " learner" }
    if isPaused { text += " paused" }
    if let pendingSnapshot { text += " pendingSnap=\(pendingSnapshot)" }
    if isInactive { text += " inactive" }
    if inFlight > 0 { text += " inflight=\(inFlight)" + (isFull ? "[full]" : "") }
    return text
}

extension SnapshotMetadata {
    var scenarioText: String {
        "Index:\(index) Term:\(term) ConfState:Voters:[\(configuration.voters.spaced)] "
            + "VotersOutgoing:[\(configuration.outgoingVoters.spaced)] Learners:[\(configuration.learners.spaced)] "
            + "LearnersNext:[\(configuration.nextLearners.spaced)] AutoLeave:\(configuration.leavesAutomatically)"
    }
}

extension HardState {
    var scenarioText: String {
        "Term:\(term)" + (vote.map { " Vote:\($0.rawValue)" } ?? "") + " Commit:\(commit)"
    }
}

extension Entry {
    var scenarioText: String {
        switch kind {
        case .empty, .command: return "\(term)/\(index) EntryNormal \(payload.quoted)"
        case .configuration:
            let change = ProposedChange(payload)
            let name = change.isFirstVersion ? "EntryConfChange" : "EntryConfChangeV2"
            return (["\(term)/\(index) \(name)"] + change.named.words).joined(separator: " ")
        }
    }
}

extension [Entry] {
    /// One line per entry.
    var scenarioLines: String { map { $0.scenarioText + "\n" }.joined() }

    /// Behind the fields of a message.
    func scenarioList(indent: String) -> String {
        if isEmpty { return "" }
        if count == 1 { return " Entries:[\(self[0].scenarioText)]" }
        return " Entries:[" + map { "\n\(indent)  \($0.scenarioText)" }.joined() + "\n\(indent)]"
    }
}

extension [UInt8] {
    /// In double quotes, with escapes for what cannot be printed.
    fileprivate var quoted: String {
        var text = "\""
        for scalar in String(decoding: self, as: UTF8.self).unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let hexadecimal = String(scalar.value, radix: 16)
                text += "\\x" + (hexadecimal.count < 2 ? "0" : "") + hexadecimal
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}

// MARK: Messages

extension Message {
    var scenarioKind: String {
        switch body {
        case .preVote: "MsgPreVote"
        case .preVoteResponse: "MsgPreVoteResp"
        case .vote: "MsgVote"
        case .voteResponse: "MsgVoteResp"
        case .append: "MsgApp"
        case .appendResponse: "MsgAppResp"
        case .heartbeat: "MsgHeartbeat"
        case .heartbeatResponse: "MsgHeartbeatResp"
        case .snapshot: "MsgSnap"
        case .forwardedProposal: "MsgProp"
        case .readIndex: "MsgReadIndex"
        case .readIndexResponse: "MsgReadIndexResp"
        case .timeoutNow: "MsgTimeoutNow"
        case .forwardedTransfer: "MsgTransferLeader"
        case .quiesce: "MsgQuiesce"
        }
    }

    func scenarioText(indent: String = "") -> String {
        // These speak for the one that asked, or for no term at all.
        var sender = from
        if case .forwardedTransfer(let target) = body { sender = target }
        let head = "\(indent)\(sender.rawValue)->\(to.rawValue) \(scenarioKind) Term:"
        switch body {
        case .preVote(let request), .vote(let request):
            return "\(head)\(term) Log:\(request.lastTerm)/\(request.lastIndex)"
        case .preVoteResponse(let isGranted), .voteResponse(let isGranted):
            return "\(head)\(term) Log:0/0" + (isGranted ? "" : " Rejected (Hint: 0)")
        case .append(let append):
            return "\(head)\(term) Log:\(append.previousTerm)/\(append.previousIndex)"
                + append.commit.scenarioCommit + append.entries.scenarioList(indent: indent)
        case .appendResponse(let response):
            let hint = response.isRejected ? " Rejected (Hint: \(response.hintIndex))" : ""
            return "\(head)\(term) Log:\(response.hintTerm)/\(response.index)\(hint)"
        case .heartbeat(let heartbeat): return "\(head)\(term) Log:0/0\(heartbeat.commit.scenarioCommit)"
        case .snapshot(let metadata):
            return "\(head)\(term) Log:0/0\n\(indent)  Snapshot: \(metadata.scenarioText)"
        case .forwardedProposal(let entries): return "\(head)0 Log:0/0\(entries.scenarioList(indent: indent))"
        case .readIndex: return "\(head)0 Log:0/0"
        case .readIndexResponse(let state): return "\(head)\(term) Log:0/\(state.index)"
        case .heartbeatResponse, .timeoutNow, .forwardedTransfer, .quiesce: return "\(head)\(term) Log:0/0"
        }
    }

    /// Whether it only makes sense from a member of the group.
    var isResponse: Bool {
        switch body {
        case .preVoteResponse, .voteResponse, .appendResponse, .heartbeatResponse, .readIndexResponse: true
        case .preVote, .vote, .append, .heartbeat, .snapshot, .forwardedProposal, .readIndex, .timeoutNow,
            .forwardedTransfer, .quiesce:
            false
        }
    }

    /// Whether it promises what the sender's disk has to hold before it leaves. (Requests for votes do so too; the
    /// scenarios, in which nobody crashes, send them at once.)
    var isPromise: Bool {
        switch body {
        case .preVoteResponse, .voteResponse, .appendResponse: true
        case .preVote, .vote, .append, .heartbeat, .heartbeatResponse, .snapshot, .forwardedProposal, .readIndex,
            .readIndexResponse, .timeoutNow, .forwardedTransfer, .quiesce:
            false
        }
    }
}

extension LogIndex {
    var scenarioCommit: String { self == .zero ? "" : " Commit:\(self)" }
}
