import FlotillaActors
import FlotillaRaft

// Who votes in the management group: an odd number of nodes, whatever comes and goes.

extension ManagementState {
    /// Ascending.
    var voters: [NodeID] { nodes.values.filter { $0.role == .voter }.map(\.node).sorted() }

    /// Whom the management group should consist of.
    var desiredMembers: DesiredMembers {
        DesiredMembers(Array(nodes.keys), eligible: voters, votersMax: ExecutionClusterPolicy.votersMax)
    }

    /// Those that the policy lets vote. A node that asks to be a learner does not, unless it is named.
    var mayVote: Set<NodeID> {
        let staying = nodes.values.filter { !$0.isDraining && $0.wantedRole != .learner }
        switch policy.voterSelection {
        case .automatic: return Set(staying.map(\.node))
        case .fixed(let chosen): return Set(chosen.filter { nodes[$0] != nil })
        case .labelled(let label): return Set(staying.filter { $0.labels.contains(label) }.map(\.node))
        }
    }

    /// Three, where so many nodes stay.
    var leastVoters: Int { nodes.values.filter { !$0.isDraining }.count >= 3 ? 3 : 1 }

    /// Roles are changed by commands that leave an odd number of voters, and enough of them.
    func checkVoters() throws(ManagementRefused) {
        let count = voters.count
        guard !count.isMultiple(of: 2), count >= leastVoters else {
            throw ManagementRefused(
                .invalidVoters,
                "\(count) of \(nodes.count) nodes would vote in the management group; change several at once so that "
                    + "an odd number does, and \(leastVoters) at least")
        }
    }

    /// After a voter was removed: a learner takes its place or, where there is none, one voter less counts. An heir
    /// that is not alive gets no vote from its group, and is replaced like any voter that is lost.
    mutating func settleVoters() {
        let voters = voters
        guard voters.count.isMultiple(of: 2) else { return }
        if let heir = mayVote.subtracting(voters).min() ?? (voters.isEmpty ? nodes.keys.min() : nil) {
            nodes[heir]?.role = .voter
        } else if let last = voters.last {
            nodes[last]?.role = .learner
        }
    }
}
