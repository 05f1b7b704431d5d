public import FlotillaRaft

/// Whom management wants in a group. Its leader gets there in steps; see `MembershipPlan`.
public struct DesiredMembers: Hashable, Sendable {
    /// Ascending.
    public var nodes: [NodeID]
    /// At most so many of them vote, an odd number; the others follow as learners.
    public var votersMax: Int

    public static let defaultVotersMax = 5

    public init(_ nodes: [NodeID], votersMax: Int = DesiredMembers.defaultVotersMax) {
        self.nodes = nodes.sorted()
        self.votersMax = votersMax
    }
}
