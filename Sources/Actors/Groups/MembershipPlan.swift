import FlotillaRaft

/// What a group's leader changes next so that its members become the ones that management wants.
///
/// Members come as learners. Votes change hands in one joint step, from one odd number of voters to another: an even
/// number costs one more acknowledgement and tolerates no more failures. A voter that is to go keeps its vote until
/// somebody can take its place, and a leader that is to go hands over first.
struct MembershipPlan {
    enum Step: Hashable {
        case change(ConfigurationChange)
        /// The leader is to go; one of these voters stays.
        case handOver(to: [ReplicaID])
    }

    var configuration: Configuration
    var wanted: DesiredMembers
    /// Learners whose log is close enough to the leader's that promoting them costs no availability.
    var caughtUp: Set<ReplicaID>
    /// Members that the leader hears of.
    var active: Set<ReplicaID>
    var leader: ReplicaID
    /// Whether it is known whom management wants now; else nobody is added, and all else goes on.
    var mayAdd = true

    /// Nil when everything is as desired, or nothing can be done now.
    var nextStep: Step? {
        if configuration.isJoint || wanted.nodes.isEmpty { return nil }
        if let learner = configuration.learners.first(where: { !isWanted($0) }) {
            return .change(ConfigurationChange([.remove(learner)]))
        }
        if mayAdd, let node = wanted.nodes.first(where: { configuration.replica(on: $0) == nil }) {
            return .change(ConfigurationChange([.addLearner(node)]))
        }
        return voterChange
    }

    private func isWanted(_ replica: ReplicaID) -> Bool {
        configuration.node(of: replica).map(wanted.nodes.contains) ?? false
    }

    private func mayVote(_ replica: ReplicaID) -> Bool {
        configuration.node(of: replica).map(wanted.eligible.contains) ?? false
    }

    private var voters: [ReplicaID] { configuration.voters }

    private var voterChange: Step? {
        let next = nextVoters
        guard !next.isEmpty, Set(next) != Set(voters) else { return nil }
        // Otherwise the joint configuration could not be left.
        let alive = next.count { $0 == leader || active.contains($0) }
        guard alive * 2 > next.count || mutated(.votersNeedNotBeAlive) else { return nil }
        guard voters.contains(leader), !next.contains(leader) else { return change(to: next) }
        let heirs = next.filter { voters.contains($0) && active.contains($0) }
        if !heirs.isEmpty { return .handOver(to: heirs) }
        // Nobody who votes stays but the leader, for one step more; where one alone votes it cannot.
        return change(to: next.count > 1 ? next.dropLast() + [leader] : next)
    }

    private func change(to next: [ReplicaID]) -> Step? {
        let leaving = voters.filter { !next.contains($0) }
            .map { isWanted($0) ? ConfigurationChange.Operation.demote($0) : .remove($0) }
        let joining = next.filter { !voters.contains($0) }.sorted().map { ConfigurationChange.Operation.promote($0) }
        let operations = leaving + joining
        if mutated(.changesVotersOneByOne) { return .change(ConfigurationChange([operations[0]])) }
        return operations.isEmpty ? nil : .change(ConfigurationChange(operations))
    }

    /// Who votes after the next step, an odd number; empty where nothing can be done.
    private var nextVoters: [ReplicaID] {
        guard wanted.voterCount > 0 else { return [] }
        let staying = inOrder(voters.filter(mayVote))
        let joining = configuration.learners.filter { replica in
            mayVote(replica) && (caughtUp.contains(replica) || mutated(.promotesSilentLearners))
        }
        // Too few to take all places: whoever is to go stands in for them, and nobody's vote is given up.
        let isComplete = staying.count + joining.count >= wanted.voterCount
        let most = isComplete ? wanted.voterCount : max(wanted.voterCount, voters.count)
        let candidates = staying + joining + inOrder(voters.filter { !mayVote($0) })
        let count = min(most, candidates.count)
        let oddCount = count.isMultiple(of: 2) ? count - 1 : count
        // An even number, of a group that began so, waits for one more where one is to come.
        return oddCount < min(voters.count, wanted.voterCount) ? [] : Array(candidates.prefix(oddCount))
    }

    /// The leader first, the silent last.
    private func inOrder(_ replicas: [ReplicaID]) -> [ReplicaID] {
        func rank(_ replica: ReplicaID) -> Int { replica == leader ? 0 : active.contains(replica) ? 1 : 2 }
        return replicas.sorted { (rank($0), $0) < (rank($1), $1) }
    }
}

extension ConfigurationChange {
    fileprivate var addsMembers: Bool {
        operations.contains { operation in
            switch operation {
            case .addLearner, .addVoter: true
            default: false
            }
        }
    }
}

extension RaftGroup {
    /// How far a learner may be behind the commit index and still be promoted.
    static let promotionLag: UInt64 = 256

    /// On the leader: takes the next step towards the desired members, one at a time.
    func reconcileMembership() {
        guard let desired = desiredMembers, core.status.role == .leader else { return }
        let members = core.configuration.members.map(\.replica)
        var plan = MembershipPlan(
            configuration: core.configuration, wanted: desired, caughtUp: caughtUpMembers,
            active: Set(members.filter(isActive)), leader: identity.replica)
        if case .change(let change)? = plan.nextStep, change.addsMembers { plan.mayAdd = mayAddMembers() }
        switch plan.nextStep {
        case .change(let change):
            // Refused while another change is pending; the next tick tries again.
            _ = core.proposeChange(change, encoded: change.encodedPayload())
        case .handOver(let heirs): transferLeadership(among: heirs)
        case nil: break
        }
    }

    /// On the leader: members whose log is close to its own.
    var caughtUpMembers: Set<ReplicaID> {
        let commit = core.commitIndex.rawValue
        let caughtUp = core.configuration.members.map(\.replica).filter { replica in
            guard isActive(replica), let progress = core.progress(of: replica) else { return false }
            // Until it has acknowledged something its replica need not exist: of voters that do not, none can elect.
            return !progress.isRecovering && progress.match > .zero
                && progress.match.rawValue + Self.promotionLag >= commit
        }
        return Set(caughtUp)
    }

    /// Whether the leader hears of a member. While the group is quiet that is the nodes' business.
    private func isActive(_ replica: ReplicaID) -> Bool {
        guard let node = core.configuration.node(of: replica), !silentNodes.contains(node) else { return false }
        return core.progress(of: replica)?.isActive == true
    }

    /// Hands leadership to the voter that is furthest, if this replica has it.
    /// - Parameter heirs: who may take it; nil for every voter.
    /// - Returns: whether there was anything to hand over, and somebody to take it.
    @discardableResult
    func transferLeadership(among heirs: [ReplicaID]? = nil) -> Bool {
        guard core.status.role == .leader else { return false }
        let others = (heirs ?? core.configuration.voters).filter { $0 != identity.replica }
        let active = others.compactMap { replica in core.progress(of: replica).map { (replica, $0) } }
            .filter { $0.1.isActive }
        guard let best = active.max(by: { ($0.1.match, $0.0) < ($1.1.match, $1.0) }) else { return false }
        core.transferLeadership(to: best.0)
        return true
    }
}
