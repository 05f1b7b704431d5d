import FlotillaActors
import FlotillaRaft

/// How a cluster that has lost its majority for good is founded anew, and what that costs. Nodes by their ids.
public struct ClusterRecoveryPlan: Codable, Hashable, Sendable {
    /// A member that has a replica of the cluster, and how far its log goes.
    public struct Candidate: Codable, Hashable, Sendable {
        /// The node's id.
        public var node: UInt64
        /// Of the cluster's life that the replica belongs to.
        public var incarnation: UInt64
        /// Of the last entry in its log.
        public var lastTerm: UInt64
        /// The index of that entry.
        public var lastIndex: UInt64
        /// Up to where it knows that entries are committed.
        public var commitIndex: UInt64
        /// Its disk has lost entries that it had acknowledged.
        public var isDamaged: Bool
    }

    /// The cluster's id.
    public var cluster: String
    /// What the cluster's incarnation will be, or is if the plan is carried out.
    public var incarnation: UInt64
    /// Whose log and state the cluster goes on with.
    public var survivor: UInt64
    /// The best first.
    public var candidates: [Candidate]
    /// Members that do not answer: they leave the cluster.
    public var givenUp: [UInt64]
    /// Those, and members whose replica has stopped: what they have is never used again.
    public var lost: [UInt64]
    /// Who belongs to the cluster then.
    public var members: [UInt64]
    /// How many entries the survivor has of which it does not know that they were committed. They count from then on.
    public var unconfirmedEntries: UInt64
    /// How many of the 4,096 parts of all workflow ids are at home there.
    public var slots: Int
    /// Whether this has been done; otherwise it is what would be.
    public var isCarriedOut: Bool

    /// What an operator has to know before it is carried out.
    public var consequences: [String] {
        let what =
            lost.isEmpty ? "What damaged logs do not hold any more" : "What only \(Self.nodes(lost)) had acknowledged"
        var texts = [
            "\(what) is lost: whatever the cluster did behind entry \(candidates.first?.lastIndex ?? 0) of its log. Steps "
                + "recorded there run again, runs started there are unknown, and runs that had moved to another cluster "
                + "there may run in both."
        ]
        if slots > 0 {
            texts.append(
                "\(slots) of the \(SlotMap.count) parts of all workflow ids are at home there. Ids that were taken behind that "
                    + "entry are free again: who starts a workflow under one of them begins another run, also where the first "
                    + "one goes on in another cluster.")
        }
        if unconfirmedEntries > 0 {
            texts.append(
                "\(unconfirmedEntries) entries at the end of node \(survivor)'s log may never have been committed. They "
                    + "count from then on, though whoever asked for them may have been told nothing.")
        }
        if candidates.first?.isDamaged == true {
            texts.append(
                "The log of node \(survivor) has lost entries that it had acknowledged, and no other is better.")
        }
        if !givenUp.isEmpty {
            texts.append(
                "Make sure that \(Self.nodes(givenUp)) are down: where a majority of them runs on without being heard of "
                    + "here, all that it does is lost as well. When they return they are taken in without what they have."
            )
        }
        return texts
    }

    private static func nodes(_ ids: [UInt64]) -> String {
        "nodes \(ids.map(String.init).joined(separator: ", "))"
    }
}

extension FleetView {
    /// How a cluster could be founded anew.
    /// - Throws: `NodeError` with `refused` where it goes on by itself, or there is nothing to begin with.
    func recoveryPlan(of cluster: ExecutionCluster) throws(NodeError) -> ClusterRecoveryPlan {
        let answers = inspections[cluster.group] ?? [:]
        if case .sealed = cluster.phase {
            throw NodeError(
                .refused, "\(cluster.id) is sealed: it has nothing left to recover, and is about to be removed")
        }
        let usable = answers.filter { $0.value.stopReason == nil && cluster.members[$0.key] != nil }
        let ranked = usable.sorted { Self.rank($0) > Self.rank($1) }
        guard let (survivor, best) = ranked.first else {
            throw NodeError(
                .refused,
                "no member of \(cluster.id) answers with a replica of it: bring one of nodes "
                    + "\(list(cluster.members.keys.sorted())) back")
        }
        try refuseWhereItGoesOn(cluster, best.membership, answers)
        let silent = cluster.members.keys.filter { !answering.contains($0) }.sorted()
        let stopped = answers.filter { $0.value.stopReason != nil }.keys
        return ClusterRecoveryPlan(
            cluster: cluster.id.text, incarnation: cluster.incarnation + 1, survivor: survivor.rawValue,
            candidates: ranked.map(ClusterRecoveryPlan.Candidate.init), givenUp: silent.map(\.rawValue),
            lost: Set(silent).union(stopped).sorted().map(\.rawValue), members: members(of: cluster).map(\.rawValue),
            unconfirmedEntries: best.membership.lastIndex - best.membership.commitIndex,
            slots: state.slots.slots(of: cluster.group).count, isCarriedOut: false)
    }

    /// The later incarnation, then a whole log before a damaged one, then as in an election; of equals the lowest id.
    private static func rank(
        _ answer: (key: NodeID, value: GroupInspection)
    ) -> (UInt64, Int, UInt64, UInt64, Int64) {
        let membership = answer.value.membership
        return (
            membership.incarnation, membership.isRecovering ? 0 : 1, membership.lastTerm, membership.lastIndex,
            -Int64(clamping: answer.key.rawValue)
        )
    }

    private func refuseWhereItGoesOn(
        _ cluster: ExecutionCluster, _ best: GroupMembership, _ answers: [NodeID: GroupInspection]
    ) throws(NodeError) {
        if best.incarnation < cluster.incarnation, let survivor = cluster.survivor,
            let answer = answers[survivor], answer.stopReason == nil
        {
            throw NodeError(
                .refused,
                "\(cluster.id) is being founded anew with what \(survivor) has; flotilla cluster describe shows how far it is"
            )
        }
        guard best.incarnation == cluster.incarnation, best.hasQuorum(where: { votes(answers[$0], cluster) }) else {
            return
        }
        throw NodeError(
            .refused,
            "a majority of the voters of \(cluster.id) (\(list(best.voters))) answers: it goes on by itself. To replace "
                + "members use flotilla cluster add and remove, or flotilla node drain")
    }

    /// Those that answer, and others in the places of those that do not, as far as there are any that are heard of.
    private func members(of cluster: ExecutionCluster) -> [NodeID] {
        if cluster.spansFleet { return cluster.members.keys.sorted() }
        var members = cluster.members.keys.filter(answering.contains)
        let heard = state.nodes.keys.filter { !isSilent($0) && cluster.members[$0] == nil }
        let choice = MemberChoice(state, among: Set(heard))
        let size = min(cluster.members.count, max(state.policy.targetClusterSize, members.count))
        while members.count < size, let next = choice.next(beside: members) { members.append(next) }
        return members.sorted()
    }
}

extension ClusterRecoveryPlan.Candidate {
    fileprivate init(_ answer: (key: NodeID, value: GroupInspection)) {
        let membership = answer.value.membership
        self.init(
            node: answer.key.rawValue, incarnation: membership.incarnation, lastTerm: membership.lastTerm,
            lastIndex: membership.lastIndex, commitIndex: membership.commitIndex, isDamaged: membership.isRecovering)
    }
}
