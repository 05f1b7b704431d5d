import FlotillaActors
import FlotillaRaft

// How a cluster is, why it is stuck, and what it waits for: from what management wants, and what its members say.

extension FleetView {
    func status(of cluster: ExecutionCluster) -> ClusterStatus {
        var status = ClusterStatus(cluster, state)
        let answers = inspections[cluster.group] ?? [:]
        guard let best = best(of: answers) else {
            if !cluster.members.isEmpty { status.problem = noQuorum(cluster.voters, answers) }
            return status
        }
        status.voters = best.membership.voters.map(\.rawValue)
        status.learners = best.membership.learners.map(\.rawValue)
        if let holdings = best.holdings { status.workflows = holdings.active }
        let leader =
            best.membership.isLeader
            ? best.membership.leader
            : answers.values.lazy.compactMap {
                $0.membership.leader
            }.first { !isSilent($0) }
        status.leader = leader?.rawValue
        if best.membership.incarnation < cluster.incarnation {
            status.problem = notFoundedYet(cluster, answers)
        } else if !best.membership.hasQuorum(where: { votes(answers[$0], cluster) }) {
            let voters = Set(best.membership.voters + best.membership.outgoingVoters).sorted()
            status.problem = noQuorum(voters, answers) + "; if they are lost for good: flotilla cluster recover"
        } else if leader == nil {
            status.problem = "it has no leader now; a majority answers, so it elects one"
        } else if let (node, reason) = stopped(answers) {
            status.problem = "its replica on \(node) has stopped: \(reason)"
        }
        status.waitsFor = membersToCome(cluster, best.membership) + ends(cluster, best.holdings)
        return status
    }

    /// The leader's word, or the one that has heard most.
    func best(of answers: [NodeID: GroupInspection]) -> GroupInspection? {
        answers.values.max { a, b in
            func rank(_ answer: GroupInspection) -> (UInt64, Int, UInt64, UInt64, UInt64) {
                let membership = answer.membership
                return (
                    membership.incarnation, membership.isLeader && answer.stopReason == nil ? 1 : 0,
                    membership.lastTerm, membership.appliedIndex, membership.leader?.rawValue ?? 0
                )
            }
            return rank(a) < rank(b)
        }
    }

    /// Whether a replica counts for the majority of its cluster.
    func votes(_ answer: GroupInspection?, _ cluster: ExecutionCluster) -> Bool {
        guard let answer else { return false }
        return answer.stopReason == nil && !answer.membership.isRecovering
            && answer.membership.incarnation == cluster.incarnation
    }

    private func notFoundedYet(_ cluster: ExecutionCluster, _ answers: [NodeID: GroupInspection]) -> String {
        guard let survivor = cluster.survivor else { return "it is founded anew" }
        let obstacle =
            isSilent(survivor)
            ? whyAbsent(survivor) : answers[survivor]?.stopReason.map { "its replica there has stopped (\($0))" }
        return "it is to be founded anew with what \(survivor) has"
            + (obstacle.map { ", and \($0): flotilla cluster recover chooses another one" } ?? "")
    }

    private func noQuorum(_ voters: [NodeID], _ answers: [NodeID: GroupInspection]) -> String {
        let absent = voters.filter { answers[$0] == nil }.map(whyAbsent)
        let stopped = voters.filter { answers[$0]?.stopReason != nil }.map { "\($0) has stopped" }
        let recovering = voters.filter {
            answers[$0].map { $0.membership.isRecovering && $0.stopReason == nil } ?? false
        }
        .map { "\($0) lacks entries of its log" }
        let count = voters.count - absent.count - stopped.count - recovering.count
        return "it has no quorum: \(count) of \(voters.count) voters answer; "
            + (absent + stopped + recovering).joined(separator: ", ")
    }

    private func stopped(_ answers: [NodeID: GroupInspection]) -> (NodeID, String)? {
        let stopped = answers.compactMap { node, answer in answer.stopReason.map { (node, $0) } }
        return stopped.min { $0.0 < $1.0 }
    }

    /// How what the cluster is differs from what management wants.
    private func membersToCome(_ cluster: ExecutionCluster, _ own: GroupMembership) -> [String] {
        var texts: [String] = []
        let desired = cluster.desiredMembers
        let present = Set(own.voters + own.learners)
        let wanted = Set(cluster.members.keys)
        for node in wanted.subtracting(present).sorted() {
            texts.append("\(node) is to join" + (isSilent(node) ? "; \(whyAbsent(node))" : ""))
        }
        let isShort = own.voters.count < min(desired.votersMax, cluster.voters.count)
        for node in cluster.voters where own.learners.contains(node) && isShort {
            let why =
                isSilent(node)
                ? whyAbsent(node) : own.caughtUp.contains(node) ? "it has caught up" : "its log has to catch up first"
            texts.append("\(node) is to vote; \(why)")
        }
        let leaving = present.subtracting(wanted).sorted()
        if !leaving.isEmpty { texts.append("to leave: nodes \(list(leaving))") }
        return texts
    }

    /// Moves and the way to the end.
    private func ends(_ cluster: ExecutionCluster, _ holdings: GroupHoldings?) -> [String] {
        switch cluster.phase {
        case .active:
            return cluster.outgoing.sorted { $0.key < $1.key }.map { "\($0.value) runs are to move to \($0.key)" }
        case .draining(let successor):
            let target = successor.map { "drains into \($0)" } ?? "drains"
            guard let holdings else { return [target] }
            guard let left = holdings.left else { return [target + ": it is empty and about to be sealed"] }
            let hasHeir = state.clusters.members.contains { $0.key != cluster.id && $0.value.isActive }
            return [target + ": not sealed yet because of \(left)"]
                + (hasHeir ? [] : ["no cluster could take what it has: create one, or resume it"])
        case .sealed:
            let slots = state.slots.slots(of: cluster.group).count
            return ["is sealed" + (slots > 0 ? "; \(slots) slots are to move first" : " and about to be removed")]
        }
    }
}
