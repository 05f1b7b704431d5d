public import FlotillaRaft

/// Whom management wants in a group. Its leader gets there in steps; see `MembershipPlan`.
public struct DesiredMembers: Hashable, Sendable {
    /// Ascending.
    public var nodes: [NodeID]
    /// Those of them that may vote, ascending; the others follow as learners. Where it is empty nobody's vote changes.
    public var eligible: [NodeID]
    /// At most so many of them vote, an odd number.
    public var votersMax: Int

    public static let defaultVotersMax = 5

    /// - Parameter eligible: who may vote; nil for all of `nodes`.
    public init(
        _ nodes: [NodeID], eligible: [NodeID]? = nil, votersMax: Int = DesiredMembers.defaultVotersMax
    ) {
        let sorted = nodes.sorted()
        let mayVote = eligible.map { sorted.filter($0.contains) } ?? sorted
        self.nodes = sorted
        // Mostly they are the same, and then one list.
        self.eligible = mayVote == sorted ? sorted : mayVote
        self.votersMax = votersMax
    }

    /// The largest odd number of voters that there can be; zero where nobody may vote.
    package var voterCount: Int {
        let most = min(eligible.count, votersMax)
        return most.isMultiple(of: 2) && most > 0 ? most - 1 : most
    }
}
