import FlotillaActors
import FlotillaRaft

/// What a node has worked out of the clusters that concern it, so that a change of the management state costs what it is
/// about: those that management wants here, and those that there is a replica of.
struct FollowedClusters {
    /// Those of the fleet that are to give something away, or to go. Some may have done so since.
    private(set) var ordered: Set<GroupID> = []
    /// Which of them have a member on each node.
    private var sharers = GroupsByNode()
    /// How often one was looked at.
    private(set) var looks: UInt64 = 0

    /// The nodes that have a member of any.
    var nodes: Set<NodeID> { sharers.nodes }

    /// All of them are to be looked at anew.
    mutating func forget() { (ordered, sharers) = ([], GroupsByNode()) }

    /// Looks at clusters that have changed, or come here or gone.
    /// - Returns: whom management wants in them; nil for those that are nothing to this node.
    mutating func look(
        at groups: Set<GroupID>, _ view: ManagementState, on node: NodeID, isHosted: (GroupID) -> Bool
    ) -> [GroupID: DesiredMembers?] {
        var desired: [GroupID: DesiredMembers?] = [:]
        for group in groups {
            looks += 1
            let cluster = view.cluster(of: group)
            if cluster?.hasOrders == true { ordered.insert(group) } else { ordered.remove(group) }
            // Also one that this node is to leave: it may lead it.
            let own = cluster.flatMap { $0.members[node] != nil || isHosted(group) ? $0 : nil }
            if let own { sharers.set(own.members.keys, of: group) } else { sharers.remove(group) }
            desired.updateValue(own?.desiredMembers, forKey: group)
        }
        return desired
    }
}
