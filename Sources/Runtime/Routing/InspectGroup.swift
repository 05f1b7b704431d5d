import FlotillaActors
import FlotillaRaft

/// What a node's replica of a group knows of who belongs to it.
struct InspectGroup: NodeLevelRequest {
    typealias Reply = GroupMembership
    static let name = "inspectGroup"
    var group: GroupID
    var patience: Duration { .seconds(2) }

    func perform(on services: NodeServices) async throws -> GroupMembership {
        guard let group = services.core.hosted[group] else {
            throw NodeError(.unknownGroup, "\(services.core.node) has no replica of \(group)")
        }
        return try await group.membership()
    }
}
