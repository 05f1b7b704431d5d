/// What is told to a run from outside.
public enum WorkflowMessageKind: UInt8, Codable, Sendable, CaseIterable, CustomStringConvertible {
    /// A value that the body receives.
    case signal = 1
    /// A value that the body receives and answers.
    case update = 2
    /// What an outside system makes of an awakeable.
    case awakeable = 3

    public var description: String {
        switch self {
        case .signal: "signal"
        case .update: "update"
        case .awakeable: "awakeable"
        }
    }

    init?(name: some StringProtocol) {
        guard let kind = Self.allCases.first(where: { $0.description == name }) else { return nil }
        self = kind
    }
}

/// Where the messages of one kind and name wait for the body, in the order in which they were acknowledged.
struct Mailbox: Hashable, Sendable {
    var kind: WorkflowMessageKind
    var name: String

    /// Of what is awaited once: there each look finds the same message.
    init(awakeable: StepKey) {
        self.init(.awakeable, awakeable.description)
    }

    init(_ kind: WorkflowMessageKind, _ name: String) {
        self.kind = kind
        self.name = name
    }

    /// Kind and name in one text, which no step's name collides with: in keys of the state, and in histories.
    var text: ByteText { ByteText("\(kind)/\(name)") }

    /// What a sender of such messages is known by: ids of updates and names of signals' senders are apart.
    func sender(_ name: String) -> ByteText { ByteText("\(kind)/\(name)") }

    /// - Returns: nil unless the text is one of `text`.
    init?(_ text: ByteText) {
        let parts = text.text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let kind = WorkflowMessageKind(name: parts[0]) else { return nil }
        self.init(kind, String(parts[1]))
    }
}
