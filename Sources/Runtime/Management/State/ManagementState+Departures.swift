import FlotillaRaft

// Replicas that are to go. What management wants is not what is: until a group's own configuration holds no replica on a
// node, a machine that comes under that node's id without its data would be taken for the replica that it was, and vote
// without the entries which that one had acknowledged.

/// The end of a node's membership in a group.
struct Departure: Hashable, Sendable {
    var node: NodeID
    var group: GroupID
    /// Tells it from earlier ends of the same membership.
    var number: UInt64
}

extension ManagementState {
    /// The group that this state is of.
    static let group = GroupID(1)

    /// Those that are not confirmed, of a group.
    func departures(from group: GroupID) -> [Departure] {
        departing.compactMap { node, groups in
            groups[group].map { Departure(node: node, group: group, number: $0) }
        }.sorted { $0.number < $1.number }
    }

    mutating func depart(_ node: NodeID, from group: GroupID) {
        departing[node, default: [:]][group] = nextDeparture
        nextDeparture += 1
    }

    /// The group's leader says that the configuration which is committed there holds no replica on the node.
    mutating func confirm(_ departure: Departure) -> Bool {
        guard departing[departure.node]?[departure.group] == departure.number else { return false }
        endDeparture(of: departure.node, from: departure.group)
        return true
    }

    /// The node is wanted again: its next departure has another number.
    mutating func endDeparture(of node: NodeID, from group: GroupID) {
        departing[node]?[group] = nil
        if departing[node]?.isEmpty == true { departing[node] = nil }
    }

    /// The group is no more.
    mutating func endDepartures(from group: GroupID) {
        for node in departing.keys { endDeparture(of: node, from: group) }
    }

    var departureViolation: String? {
        for (node, groups) in departing {
            if groups.isEmpty { return "\(node) departs from no group" }
            for (group, number) in groups {
                if number >= nextDeparture { return "departure \(number) was not issued" }
                let isMember = group == Self.group ? nodes[node] != nil : cluster(of: group)?.members[node] != nil
                if isMember { return "\(node) departs from \(group), and is wanted there" }
                if group != Self.group, cluster(of: group) == nil {
                    return "\(node) departs from \(group), which is gone"
                }
            }
        }
        return nil
    }
}
