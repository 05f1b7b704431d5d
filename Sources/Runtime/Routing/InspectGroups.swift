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

/// What keeps a group from being empty.
struct GroupHoldings: Codable, Hashable, Sendable {
    /// Runs that have not ended.
    var active: Int
    var ended: Int
    /// Runs that are on their way to another group.
    var moving: Int
    /// Runs elsewhere whose ids are at home here.
    var addresses: Int
    var isSealed: Bool
    /// How many runs each node runs.
    var owned: [UInt64: Int]

    /// What is left, for people; nil for nothing.
    var text: String? {
        let parts = [
            (active, "running"), (ended, "ended"), (moving, "on their way"), (addresses, "addresses of others"),
        ].filter { $0.0 > 0 }
        return parts.isEmpty ? nil : parts.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    }
}

extension WorkflowStateMachine {
    /// Loop only.
    var holdings: GroupHoldings {
        let active = [WorkflowStatus.running, .parked, .paused].reduce(0) { $0 + count(of: $1) }
        return GroupHoldings(
            active: active, ended: state.runs.count - active, moving: state.transfers.frozen.count,
            addresses: state.transfers.addresses.count, isSealed: state.transfers.sealEpoch != nil,
            owned: Dictionary(
                uniqueKeysWithValues: executors.filter { $0.ownedRuns > 0 }.map { ($0.node.rawValue, $0.ownedRuns) }))
    }
}
