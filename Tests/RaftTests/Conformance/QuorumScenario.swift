@testable import FlotillaRaft

/// `committed` and `vote` over a majority configuration, or over a joint one.
struct QuorumScenario: Scenario {
    func run(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> String {
        let incoming = try replicas(directive, "cfg")
        let isJoint = directive.values(of: "cfgj") != nil
        let outgoing = directive.values(of: "cfgj") == ["zero"] ? [] : try replicas(directive, "cfgj")
        for argument in directive.arguments where !["cfg", "cfgj", "idx", "votes"].contains(argument.key) {
            throw directive.error("unknown argument '\(argument.key)'")
        }
        switch directive.command {
        case "committed": return try committed(directive, incoming, outgoing, isJoint)
        case "vote": return try vote(directive, incoming, outgoing, isJoint)
        default: throw directive.error("unknown directive; there are committed and vote")
        }
    }

    private func replicas(_ directive: ScenarioFile.Directive, _ key: String) throws(ScenarioError) -> [ReplicaID] {
        var replicas: Set<ReplicaID> = []
        for value in directive.values(of: key) ?? [] { replicas.insert(ReplicaID(try directive.number(value))) }
        return replicas.sorted()
    }

    /// The values of `key` belong to the voters in the order in which these are named, each voter once.
    private func assign<Value>(
        _ directive: ScenarioFile.Directive, _ key: String,
        _ convert: (String) throws(ScenarioError) -> Value?
    ) throws(ScenarioError) -> [ReplicaID: Value]? {
        var voters: [ReplicaID] = []
        for name in (directive.values(of: "cfg") ?? []) + (directive.values(of: "cfgj") ?? []) where name != "zero" {
            let voter = ReplicaID(try directive.number(name))
            if !voters.contains(voter) { voters.append(voter) }
        }
        let values = directive.values(of: key) ?? []
        if values.count != voters.count { return nil }
        var assigned: [ReplicaID: Value] = [:]
        for (voter, value) in zip(voters, values) where value != "_" { assigned[voter] = try convert(value) }
        return assigned
    }

    private func mismatch(_ directive: ScenarioFile.Directive, _ voters: Set<ReplicaID>, _ key: String) -> String {
        let names = voters.sorted().map { "\($0.rawValue)" }.joined(separator: " ")
        return "error: mismatched input (explicit or _) for voters [\(names)]: \(directive.values(of: key) ?? [])"
    }

    // MARK: Committed

    private func committed(
        _ directive: ScenarioFile.Directive, _ incoming: [ReplicaID], _ outgoing: [ReplicaID], _ isJoint: Bool
    ) throws(ScenarioError) -> String {
        let all = Set(incoming).union(outgoing)
        let assigned = try assign(directive, "idx") { text throws(ScenarioError) in
            let index = try directive.number(text)
            if index == 0 { throw directive.error("an index is above 0; '_' is one that is not known") }
            return index
        }
        guard let indexes = assigned else { return mismatch(directive, all, "idx") }
        let result = Quorum.reached(by: incoming, and: outgoing) { indexes[$0] }
        var text = describe(isJoint ? all.sorted() : incoming, indexes)
        func check(_ other: UInt64, _ way: String) {
            if other != result { text += "\(name(other)) <-- via \(way)\n" }
        }
        if isJoint {
            check(Quorum.reached(by: outgoing, and: incoming) { indexes[$0] }, "symmetry")
        } else {
            check(alternative(incoming, indexes), "alternative computation")
            check(Quorum.reached(by: incoming) { indexes[$0] }, "zero-joint quorum")
            check(Quorum.reached(by: incoming, and: incoming) { indexes[$0] }, "self-joint quorum")
            // What is below the result has no influence on it, however much lower it gets.
            for (voter, index) in indexes where index < result {
                for lower in [index - 1, 0] {
                    let other = Quorum.reached(by: incoming) { $0 == voter ? lower : indexes[$0] }
                    check(other, "overlaying \(voter.rawValue)->\(lower)")
                }
            }
        }
        return text + name(result) + "\n"
    }

    /// The definition, by sorting.
    private func alternative(_ voters: [ReplicaID], _ indexes: [ReplicaID: UInt64]) -> UInt64 {
        if voters.isEmpty { return .max }
        let sorted = voters.map { indexes[$0] ?? 0 }.sorted(by: >)
        return sorted[voters.count / 2]
    }

    private func name(_ index: UInt64) -> String { index == .max ? "∞" : "\(index)" }

    /// A bar per voter, as long as the number of voters that are behind it.
    private func describe(_ voters: [ReplicaID], _ indexes: [ReplicaID: UInt64]) -> String {
        if voters.isEmpty { return "<empty majority quorum>" }
        let width = voters.count
        var text = String(repeating: " ", count: width) + "    idx\n"
        for voter in voters {
            let index = indexes[voter] ?? 0
            let behind = voters.count { (indexes[$0] ?? 0) < index }
            let bar =
                indexes[voter] == nil
                ? "?" + String(repeating: " ", count: width)
                : String(repeating: "x", count: behind) + ">" + String(repeating: " ", count: width - behind)
            let number = "\(index)"
            let padding = String(repeating: " ", count: max(0, 5 - number.count))
            text += "\(bar) \(padding)\(number)    (id=\(voter.rawValue))\n"
        }
        return text
    }

    // MARK: Votes

    private func vote(
        _ directive: ScenarioFile.Directive, _ incoming: [ReplicaID], _ outgoing: [ReplicaID], _ isJoint: Bool
    ) throws(ScenarioError) -> String {
        let assigned = try assign(directive, "votes") { text throws(ScenarioError) in
            switch text {
            case "y": return true
            case "n": return false
            default: throw directive.error("a vote is y, n or _, not '\(text)'")
            }
        }
        guard let votes = assigned else { return mismatch(directive, Set(incoming).union(outgoing), "votes") }
        let result = Quorum.verdict(of: incoming, and: outgoing) { votes[$0] }
        var text = ""
        let swapped = Quorum.verdict(of: outgoing, and: incoming) { votes[$0] }
        if swapped != result { text += "\(name(swapped)) <-- via symmetry\n" }
        if !isJoint {
            let simple = Quorum.verdict(of: incoming) { votes[$0] }
            if simple != result { text += "\(name(simple)) <-- via zero-joint quorum\n" }
        }
        return text + name(result) + "\n"
    }

    private func name(_ verdict: Quorum.Verdict) -> String {
        switch verdict {
        case .pending: "VotePending"
        case .won: "VoteWon"
        case .lost: "VoteLost"
        }
    }
}
