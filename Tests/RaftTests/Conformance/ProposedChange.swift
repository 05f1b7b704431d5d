@testable import FlotillaRaft

/// A membership change as it stands in an entry of a scenario's log. No bytes at all ask to leave a joint
/// configuration, as everywhere.
struct ProposedChange {
    enum Transition: String {
        case auto, implicit, explicit
    }

    /// The older form, which holds one operation and knows no joint configurations.
    var isFirstVersion = false
    var transition = Transition.auto
    var named = NamedChange()

    var isLeave: Bool { named.words.isEmpty && transition == .auto }

    init(isFirstVersion: Bool, transition: Transition, named: NamedChange) {
        self.isFirstVersion = isFirstVersion
        self.transition = transition
        self.named = named
    }

    init(_ payload: [UInt8]) {
        let words = String(decoding: payload, as: UTF8.self).split(separator: " ").map(String.init)
        guard words.count >= 2, let transition = Transition(rawValue: words[1]) else { return }
        isFirstVersion = words[0] == "1"
        self.transition = transition
        if case .success(let named) = NamedChange.parse(Array(words.dropFirst(2))) { self.named = named }
    }

    var payload: [UInt8] {
        if isLeave { return [] }
        let words = [isFirstVersion ? "1" : "2", transition.rawValue] + named.words
        return Array(words.joined(separator: " ").utf8)
    }

    func apply(to changer: inout ConfigurationChanger) throws(ConfigurationChanger.Problem) {
        if isLeave { return try changer.leaveJoint() }
        if transition == .auto && named.words.count == 1 {
            return try changer.run(named.steps) { (next, steps) throws(ConfigurationChanger.Problem) in
                try next.simple(steps)
            }
        }
        let leaves = transition != .explicit
        try changer.run(named.steps) { (next, steps) throws(ConfigurationChanger.Problem) in
            try next.enterJoint(steps, leavesAutomatically: leaves)
        }
    }

    /// As the refusal of a change names it.
    var scenarioText: String {
        func operation(_ word: String) -> String {
            let kind =
                switch word.first {
                case "v": "ConfChangeAddNode"
                case "l": "ConfChangeAddLearnerNode"
                case "r": "ConfChangeRemoveNode"
                default: "ConfChangeUpdateNode"
                }
            return "type:\(kind) node_id:\(word.dropFirst())"
        }
        if isFirstVersion { return named.words.map(operation).joined() }
        let transition =
            switch self.transition {
            case .auto: "ConfChangeTransitionAuto"
            case .implicit: "ConfChangeTransitionJointImplicit"
            case .explicit: "ConfChangeTransitionJointExplicit"
            }
        return (["transition:\(transition)"] + named.words.map { "changes:{\(operation($0))}" }).joined(separator: " ")
    }
}
