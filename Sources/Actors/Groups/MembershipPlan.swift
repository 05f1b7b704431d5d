import FlotillaRaft

/// What a group's leader changes next so that its members become the ones that management wants.
///
/// Additions come as learners; they are promoted once they have caught up, in such steps that the number of voters in
/// force is odd: an even number costs one more acknowledgement and tolerates no more failures.
struct MembershipPlan {
    var configuration: Configuration
    var wanted: DesiredMembers
    /// Learners whose log is close enough to the leader's that promoting them costs no availability.
    var caughtUp: Set<ReplicaID>
    var leader: ReplicaID

    /// Nil when everything is as desired, or nothing can be done now.
    var nextChange: ConfigurationChange? {
        if configuration.isJoint { return nil }
        return removal ?? addition ?? promotion ?? demotion
    }

    private var desired: [NodeID] { wanted.nodes }

    private var removal: ConfigurationChange? {
        let superfluous = configuration.members.filter { !desired.contains($0.node) }
        // The leader goes last, and hands over before it does.
        guard let member = superfluous.first(where: { $0.replica != leader }) else {
            return superfluous.isEmpty ? nil : replacementOfLeader
        }
        guard configuration.voters.contains(member.replica), configuration.voters.count > 1 else {
            return ConfigurationChange([.remove(member.replica)])
        }
        // Replaced in one joint step where somebody can take the place, so that the count stays odd.
        if let substitute = promotable.first {
            return ConfigurationChange([.remove(member.replica), .promote(substitute)])
        }
        return ConfigurationChange([.remove(member.replica)])
    }

    /// Where nobody else votes there is nobody to hand over to: a learner takes the leader's place in one joint step.
    private var replacementOfLeader: ConfigurationChange? {
        guard configuration.voters == [leader], let substitute = promotable.first else { return nil }
        return ConfigurationChange([.remove(leader), .promote(substitute)])
    }

    private var addition: ConfigurationChange? {
        desired.first { configuration.replica(on: $0) == nil }.map { ConfigurationChange([.addLearner($0)]) }
    }

    private var promotion: ConfigurationChange? {
        let missing = votersWanted - configuration.voters.count
        guard missing > 0 else { return nil }
        let needed = configuration.voters.count.isMultiple(of: 2) ? 1 : 2
        guard promotable.count >= needed else { return nil }
        return ConfigurationChange(promotable.prefix(needed).map { .promote($0) })
    }

    private var demotion: ConfigurationChange? {
        // A leader that is to go itself hands over first: its successor counts again.
        guard configuration.voters.count > votersWanted,
            configuration.node(of: leader).map(desired.contains) == true,
            let replica = configuration.voters.last(where: { $0 != leader })
        else { return nil }
        return ConfigurationChange([.demote(replica)])
    }

    private var promotable: [ReplicaID] {
        configuration.learners.filter { replica in
            caughtUp.contains(replica) && configuration.node(of: replica).map(desired.contains) == true
        }
    }

    /// The largest odd number of voters that the members allow.
    private var votersWanted: Int {
        let members = configuration.members.filter { desired.contains($0.node) }.count
        let most = min(members, wanted.votersMax)
        return max(1, most.isMultiple(of: 2) ? most - 1 : most)
    }
}

extension RaftGroup {
    /// How far a learner may be behind the commit index and still be promoted.
    static let promotionLag: UInt64 = 256

    /// On the leader: proposes the next step towards the desired members, one at a time.
    func reconcileMembership() {
        guard let desired = desiredMembers, core.status.role == .leader else { return }
        let plan = MembershipPlan(
            configuration: core.configuration, wanted: desired, caughtUp: Set(caughtUpLearners),
            leader: identity.replica)
        guard let change = plan.nextChange else { return handOverIfSuperfluous(desired.nodes) }
        // Refused while another change is pending; the next tick tries again.
        _ = core.proposeChange(change, encoded: change.encodedPayload())
    }

    /// On the leader: learners that could vote at no cost to availability.
    var caughtUpLearners: [ReplicaID] {
        let commit = core.commitIndex.rawValue
        return core.configuration.learners.filter { replica in
            guard let progress = core.progress(of: replica) else { return false }
            // Until it has acknowledged something its replica need not exist: of voters that do not, none can elect.
            return progress.isActive && progress.match > .zero && progress.match.rawValue + Self.promotionLag >= commit
        }
    }

    private func handOverIfSuperfluous(_ desired: [NodeID]) {
        guard !desired.contains(node), !desired.isEmpty else { return }
        transferLeadership()
    }

    /// Hands leadership to the voter that is furthest, if this replica has it.
    /// - Returns: whether there was anything to hand over, and somebody to take it.
    @discardableResult
    func transferLeadership() -> Bool {
        guard core.status.role == .leader else { return false }
        let others = core.configuration.voters.filter { $0 != identity.replica }
        let active = others.compactMap { replica in core.progress(of: replica).map { (replica, $0) } }
            .filter { $0.1.isActive }
        guard let best = active.max(by: { ($0.1.match, $0.0) < ($1.1.match, $1.0) }) else { return false }
        core.transferLeadership(to: best.0)
        return true
    }
}
