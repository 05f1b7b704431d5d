@testable import FlotillaRaft

/// Whatever waits for delivery in a scenario: messages between replicas, and those between a replica and itself or one
/// of its storage threads, which are never lost.
enum InteractionMessage {
    /// The end of a write.
    struct Stored {
        var receipt: Persist.Receipt
        /// Whether it speaks of the log, up to the receipt's index.
        var hasEntries: Bool
        var snapshot: SnapshotMetadata?
    }

    case network(Message)
    case own(OwnAnswer, ReplicaID)
    case append(InteractionNode.AppendWork, ReplicaID)
    case stored(Stored, ReplicaID)
    case apply([Entry], ReplicaID)
    case applied([Entry], ReplicaID)

    static let kinds: Set<String> = [
        "MsgHup", "MsgBeat", "MsgProp", "MsgApp", "MsgAppResp", "MsgVote", "MsgVoteResp", "MsgSnap", "MsgHeartbeat",
        "MsgHeartbeatResp", "MsgUnreachable", "MsgSnapStatus", "MsgCheckQuorum", "MsgTransferLeader", "MsgTimeoutNow",
        "MsgReadIndex", "MsgReadIndexResp", "MsgPreVote", "MsgPreVoteResp", "MsgStorageAppend", "MsgStorageAppendResp",
        "MsgStorageApply", "MsgStorageApplyResp", "MsgForgetLeader",
    ]

    var receiver: ReplicaID {
        switch self {
        case .network(let message): message.to
        case .own(_, let node), .append(_, let node), .stored(_, let node), .apply(_, let node),
            .applied(_, let node):
            node
        }
    }

    var isLocal: Bool {
        if case .network(let message) = self { return message.from == message.to }
        return true
    }

    var kind: String {
        switch self {
        case .network(let message): message.scenarioKind
        case .own(let answer, _):
            switch answer.promise {
            case .preVote: "MsgPreVoteResp"
            case .vote: "MsgVoteResp"
            case .entries: "MsgAppResp"
            }
        case .append: "MsgStorageAppend"
        case .stored: "MsgStorageAppendResp"
        case .apply: "MsgStorageApply"
        case .applied: "MsgStorageApplyResp"
        }
    }

    func text(indent: String = "") -> String {
        switch self {
        case .network(let message): return message.scenarioText(indent: indent)
        case .own(let answer, let node):
            let id = node.rawValue
            return switch answer.promise {
            // A pre-vote is for the term behind this one.
            case .preVote: "\(indent)\(id)->\(id) \(kind) Term:\(answer.term.next) Log:0/0"
            case .vote: "\(indent)\(id)->\(id) \(kind) Term:\(answer.term) Log:0/0"
            case .entries(let index): "\(indent)\(id)->\(id) \(kind) Term:\(answer.term) Log:0/\(index)"
            }
        case .append(let work, let node):
            let responses = responseText(work.responses, indent: indent)
            return work.text(node, indent: indent) + responses
        case .stored(let stored, let node):
            let log = stored.hasEntries ? "\(stored.receipt.lastTerm)/\(stored.receipt.lastIndex)" : "0/0"
            return "\(indent)AppendThread->\(node.rawValue) \(kind) Term:\(stored.receipt.term) Log:\(log)"
                + (stored.snapshot.map { "\n\(indent)  Snapshot: \($0.scenarioText)" } ?? "")
        case .apply(let entries, let node):
            let response = InteractionMessage.applied(entries, node)
            return InteractionMessage.applyText(entries, node, indent: indent)
                + responseText([response], indent: indent)
        case .applied(let entries, let node):
            return "\(indent)ApplyThread->\(node.rawValue) \(kind) Term:0 Log:0/0"
                + entries.scenarioList(indent: indent)
        }
    }

    static func applyText(_ entries: [Entry], _ node: ReplicaID, indent: String = "") -> String {
        "\(indent)\(node.rawValue)->ApplyThread MsgStorageApply Term:0 Log:0/0" + entries.scenarioList(indent: indent)
    }

    private func responseText(_ responses: [InteractionMessage], indent: String) -> String {
        if responses.isEmpty { return "" }
        return " Responses:[" + responses.map { "\n" + $0.text(indent: indent + "  ") }.joined() + "\n\(indent)]"
    }
}

extension InteractionNode.AppendWork {
    func text(_ node: ReplicaID, indent: String = "") -> String {
        let state = hardState ?? HardState()
        return "\(indent)\(node.rawValue)->AppendThread MsgStorageAppend Term:\(state.term) Log:0/0"
            + state.commit.scenarioCommit + (state.vote.map { " Vote:\($0.rawValue)" } ?? "")
            + entries.scenarioList(indent: indent)
            + (snapshot.map { "\n\(indent)  Snapshot: \($0.scenarioText)" } ?? "")
    }
}
