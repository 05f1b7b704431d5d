@testable import FlotillaRaft

/// `simple`, `enter-joint` and `leave-joint` on one configuration, whose log grows by one entry with every directive.
struct ConfigurationScenario: Scenario {
    private var changer = ConfigurationChanger(
        configuration: Configuration(), progress: [], lastIndex: .zero,
        inflights: Inflights(countMax: 10, bytesMax: .max))

    mutating func run(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> String {
        defer {
            changer = ConfigurationChanger(
                configuration: changer.configuration, progress: changer.progress, lastIndex: changer.lastIndex.next,
                inflights: Inflights(countMax: 10, bytesMax: .max))
        }
        let words = directive.input.flatMap { $0.split(separator: " ") }.map(String.init)
        let change: NamedChange
        switch NamedChange.parse(words) {
        case .success(let parsed): change = parsed
        case .failure(let problem): return problem.text
        }
        do throws(ConfigurationChanger.Problem) {
            switch directive.command {
            case "simple":
                try changer.run(change.steps) { (next, steps) throws(ConfigurationChanger.Problem) in
                    try next.simple(steps)
                }
            case "enter-joint":
                let leaves = (try? directive.flag("autoleave")) ?? false
                try changer.run(change.steps) { (next, steps) throws(ConfigurationChanger.Problem) in
                    try next.enterJoint(steps, leavesAutomatically: leaves)
                }
            case "leave-joint":
                if !words.isEmpty { return "this command takes no input" }
                try changer.leaveJoint()
            default: return "unknown command"
            }
        } catch {
            return error.scenarioText
        }
        return changer.configuration.scenarioText + "\n"
            + changer.progress.map { "\($0.replica.rawValue): \($0.scenarioText)\n" }.joined()
    }
}

/// A membership change as scenarios write it: `v1 l2 r3 u4` makes 1 a voter, 2 a learner, removes 3, and updates 4,
/// which means nothing here.
struct NamedChange {
    struct Problem: Error { var text: String }

    var words: [String] = []
    /// Without updates, and without replica 0, which stands for a change that was called off.
    var steps: [ConfigurationChanger.Step] = []

    static func parse(_ words: [String]) -> Result<NamedChange, Problem> {
        var change = NamedChange()
        for word in words {
            if word.count < 2 { return .failure(.init(text: "unknown token \(word)")) }
            guard let number = UInt64(word.dropFirst()) else {
                return .failure(.init(text: "no replica id: \(word)"))
            }
            let replica = ReplicaID(number)
            let step: ConfigurationChanger.Step?
            switch word.first {
            case "v": step = .voter(replica)
            case "l": step = .learner(replica)
            case "r": step = .remove(replica)
            case "u": step = nil
            default: return .failure(.init(text: "unknown input: \(word)"))
            }
            change.words.append(word)
            if let step, number != 0 { change.steps.append(step) }
        }
        return .success(change)
    }
}

extension ConfigurationChanger {
    /// Scenarios choose the ids of new members themselves; everything else is the changer's business.
    mutating func run(
        _ steps: [Step], _ transition: (inout ConfigurationChanger, [Step]) throws(Problem) -> Void
    ) throws(Problem) {
        var next = self
        for step in steps {
            switch step {
            case .voter(let replica), .learner(let replica): next.admit(replica)
            case .remove: break
            }
        }
        try transition(&next, steps)
        // One that was named and removed again within the change was never there.
        next.configuration.members.removeAll { member in
            !next.progress.contains { $0.replica == member.replica }
        }
        self = next
    }

    private mutating func admit(_ replica: ReplicaID) {
        if configuration.members.contains(where: { $0.replica == replica }) { return }
        let position = configuration.members.firstIndex { $0.replica > replica } ?? configuration.members.count
        configuration.members.insert(.init(replica: replica, node: NodeID(replica.rawValue)), at: position)
        configuration.nextReplica = max(configuration.nextReplica, ReplicaID(replica.rawValue + 1))
    }
}
