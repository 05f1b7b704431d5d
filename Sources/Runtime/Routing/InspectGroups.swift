import FlotillaActors
import FlotillaRaft

/// What a node's replicas of some groups say of themselves: one request for all that it hosts.
struct InspectGroups: NodeLevelRequest {
    typealias Reply = [GroupInspection]
    static let name = "inspectGroups"
    var groups: [GroupID]
    var patience: Duration { .seconds(2) }

    /// A group that is not hosted here is missing in the answer.
    func perform(on services: NodeServices) async throws -> [GroupInspection] {
        var inspections: [GroupInspection] = []
        for id in groups {
            guard let group = services.core.hosted[id], let membership = try? await group.membership() else { continue }
            let stopReason = try? await group.report().stopReason?.message
            let holdings = try? await group.withState { ($0 as? WorkflowStateMachine)?.holdings }
            inspections.append(
                GroupInspection(
                    group: id, membership: membership, holdings: holdings ?? nil, stopReason: stopReason ?? nil))
        }
        return inspections
    }
}

/// One replica's word on its group.
struct GroupInspection: Codable, Hashable, Sendable {
    var group: GroupID
    var membership: GroupMembership
    /// Nil for a group that runs no workflows, or has stopped.
    var holdings: GroupHoldings?
    var stopReason: String?
}

/// What a group that runs workflows has.
struct GroupHoldings: Codable, Hashable, Sendable {
    /// Runs that have not ended.
    var active: Int
    /// What keeps it from being sealed; nil for nothing.
    var left: String?
    /// How many runs each node runs.
    var owned: [UInt64: Int]
}

extension WorkflowStateMachine {
    /// Loop only.
    var holdings: GroupHoldings {
        GroupHoldings(
            active: [WorkflowStatus.running, .parked, .paused].reduce(0) { $0 + count(of: $1) }, left: state.holdings,
            owned: Dictionary(
                uniqueKeysWithValues: executors.filter { $0.ownedRuns > 0 }.map { ($0.node.rawValue, $0.ownedRuns) }))
    }
}
