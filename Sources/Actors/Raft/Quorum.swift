/// Majorities, simple and joint (thesis 4.3; the rules of etcd's `quorum` package).
enum Quorum {
    /// Can transition to: `pending` becomes `won` or `lost`; these two are final.
    enum Verdict: Hashable, Sendable {
        case pending, won, lost
    }

    private static func majority(of voters: [ReplicaID]) -> Int {
        mutated(.countsHalfAsQuorum) ? (voters.count + 1) / 2 : voters.count / 2 + 1
    }

    /// The highest value that a majority of `voters` has reached; a voter without a value stands at 0.
    /// No voters have reached everything, so that a joint decision may take the smaller of both halves.
    ///
    /// Quadratic, and without a temporary array: groups have three to seven voters.
    static func reached(by voters: [ReplicaID], _ value: (ReplicaID) -> UInt64?) -> UInt64 {
        if voters.isEmpty { return .max }
        let majority = majority(of: voters)
        var best: UInt64 = 0
        for voter in voters {
            let candidate = value(voter) ?? 0
            if candidate <= best { continue }
            var count = 0
            for other in voters where (value(other) ?? 0) >= candidate { count += 1 }
            if count >= majority { best = candidate }
        }
        return best
    }

    static func reached(
        by voters: [ReplicaID], and outgoing: [ReplicaID], _ value: (ReplicaID) -> UInt64?
    ) -> UInt64 {
        if mutated(.talliesUnionOfJointVoters) { return reached(by: union(voters, outgoing), value) }
        return min(reached(by: voters, value), reached(by: outgoing, value))
    }

    /// What the votes cast so far amount to. No voters have agreed to everything.
    static func verdict(of voters: [ReplicaID], _ vote: (ReplicaID) -> Bool?) -> Verdict {
        if voters.isEmpty { return .won }
        let majority = majority(of: voters)
        var granted = 0
        var missing = 0
        for voter in voters {
            switch vote(voter) {
            case .some(true): granted += 1
            case .some(false): break
            case nil: missing += 1
            }
        }
        if granted >= majority { return .won }
        return granted + missing >= majority ? .pending : .lost
    }

    /// A joint decision needs both majorities, never one of the union.
    static func verdict(
        of voters: [ReplicaID], and outgoing: [ReplicaID], _ vote: (ReplicaID) -> Bool?
    ) -> Verdict {
        if mutated(.talliesUnionOfJointVoters) { return verdict(of: union(voters, outgoing), vote) }
        let incomingVerdict = verdict(of: voters, vote)
        let outgoingVerdict = verdict(of: outgoing, vote)
        if incomingVerdict == outgoingVerdict { return incomingVerdict }
        return incomingVerdict == .lost || outgoingVerdict == .lost ? .lost : .pending
    }

    /// Only for a mutant.
    private static func union(_ voters: [ReplicaID], _ outgoing: [ReplicaID]) -> [ReplicaID] {
        voters + outgoing.filter { !voters.contains($0) }
    }
}
