import FlotillaRaft

/// Who should vote in the management group: a pure function of the replicated state and of what the leader sees. Once
/// its changes are applied it has nothing more to say until something happens.
///
/// Every change leaves an odd number of voters, and nobody becomes one whose log is not close to the leader's.
struct ManagementVoters {
    let state: ManagementState
    let observation: FleetObservation
    /// Learners of the management group that have caught up with its leader.
    var caughtUp: Set<NodeID>
    /// It keeps its vote where there is a choice.
    var leader: NodeID?

    /// The operations of one command; empty if the voters are as they should be, or nobody can take a place now.
    var changes: [ManagementOperation] {
        let changes = [replacement, growth, shrinkage].compactMap(\.self)
        return changes.first { change in
            var next = state
            return (try? next.apply(change, time: observation.now)) != nil
        } ?? []
    }

    private var voters: [NodeID] { state.voters }

    private func isLost(_ node: NodeID) -> Bool { observation.isSilent(node, for: state.policy.voterFailureTimeout) }

    /// Whether a node's own configuration asks that it votes.
    private func asks(_ node: NodeID) -> Bool { state.nodes[node]?.wantedRole == .voter }

    /// Learners that may take a place now: first those that ask for it, and of equals those in domains without a voter.
    private var substitutes: [NodeID] {
        let voters = Set(voters)
        let ready = state.mayVote.filter { !voters.contains($0) && caughtUp.contains($0) && !isLost($0) }
        let isFixed = if case .fixed = state.policy.voterSelection { true } else { false }
        var chosen: [NodeID] = []
        for asking in [true, false] {
            let candidates = ready.filter { asks($0) == asking }
            var choice = MemberChoice(state, among: candidates)
            if isFixed { choice.candidates = candidates }
            while let next = choice.next(beside: voters.filter { !isLost($0) } + chosen) { chosen.append(next) }
        }
        return chosen
    }

    /// A voter that is lost, may not vote any more or makes room for one that asks to vote, and the learner that takes its
    /// place in the same command.
    private var replacement: [ManagementOperation]? {
        let eligible = state.mayVote
        let unfit =
            voters.filter { isLost($0) } + voters.filter { !isLost($0) && !eligible.contains($0) && $0 != leader }
        let last = leader.map { voters.contains($0) && !eligible.contains($0) ? [$0] : [] } ?? []
        guard let substitute = substitutes.first else { return nil }
        let yielding =
            asks(substitute)
            ? voters.filter { !asks($0) }.sorted { ($0 == leader ? 1 : 0) < ($1 == leader ? 1 : 0) } : []
        guard let leaving = (unfit + last + yielding).first else { return nil }
        return [.changeNodeRole(substitute, .voter), .changeNodeRole(leaving, .learner)]
    }

    /// Two more at once, or one where the number is even: a voter that was removed left it so.
    private var growth: [ManagementOperation]? {
        let count = voters.count
        let joining = substitutes.prefix(count.isMultiple(of: 2) ? 1 : 2)
        guard count < wanted, !joining.isEmpty else { return nil }
        return joining.map { .changeNodeRole($0, .voter) }
    }

    /// Two fewer at once, or one where the number is even and nobody can make it odd by joining.
    private var shrinkage: [ManagementOperation]? {
        let count = voters.count
        let isEven = count.isMultiple(of: 2)
        guard count > wanted || isEven else { return nil }
        let eligible = state.mayVote
        func order(_ node: NodeID) -> (Int, Int, Int, Int, NodeID) {
            (
                isLost(node) ? 0 : 1, eligible.contains(node) ? 1 : 0, asks(node) ? 1 : 0, node == leader ? 1 : 0,
                NodeID(.max - node.rawValue)
            )
        }
        let leaving = voters.sorted { order($0) < order($1) }.prefix(isEven ? 1 : 2)
        // What is left must have a majority that is alive.
        let left = voters.filter { !leaving.contains($0) }
        guard left.filter({ !isLost($0) }).count * 2 > left.count else { return nil }
        return leaving.map { .changeNodeRole($0, .learner) }
    }

    /// The largest odd number of voters that policy and nodes allow.
    private var wanted: Int {
        let most = min(state.policy.voterCount(nodes: state.nodes.count), state.mayVote.count)
        return max(state.leastVoters, most.isMultiple(of: 2) ? most - 1 : most)
    }
}
