import FlotillaIO
package import FlotillaRaft

/// Which of a node's groups have a member on another one, so that what happens to a node costs those groups and no
/// others. Follows each group's configuration in force.
package struct GroupsByNode: Sendable {
    private var groups: [NodeID: Set<GroupID>] = [:]

    package init() {}

    /// Those with any.
    package var nodes: Set<NodeID> { Set(groups.keys) }

    package mutating func set(_ members: some Sequence<NodeID>, of group: GroupID) {
        remove(group)
        for node in members { groups[node, default: []].insert(group) }
    }

    /// Takes time in proportion to the nodes.
    package mutating func remove(_ group: GroupID) {
        for node in Array(groups.keys) where groups[node]?.remove(group) != nil && groups[node]?.isEmpty == true {
            groups[node] = nil
        }
    }

    func hasAny(on node: NodeID) -> Bool { groups[node] != nil }

    /// In ascending order.
    func all(on node: NodeID) -> [GroupID] { groups[node]?.sorted() ?? [] }
}

/// What the failure detector says of a node.
enum PeerChange: Sendable {
    /// Nothing was heard of it for the failure timeout, while this loop was running.
    case died
    /// It is heard of again, or restarted, or may have been silent without knowing it.
    case newEpoch
    /// The connection broke: what was in flight is lost.
    case disconnected
}

/// What a group has to do about that.
enum PeerReaction {
    case none
    /// It has something to send.
    case atOnce
    /// It is to wake and look, which can wait a little.
    case inTurn
}

extension GroupScheduler {
    /// Whether a group that is hosted here has a member on that node.
    func hasReplica(on node: NodeID) -> Bool { groupsByNode.hasAny(on: node) }

    /// Whether the management group here hears of no leader: then this node may not have heard who has joined.
    var isWithoutManagement: Bool {
        groups.values.contains { group in
            group.identity.kind == .management
                && group.assumeOnLoop { $0.stopReason == nil && $0.core.status.leader == nil }
        }
    }

    /// A group has other members than before.
    func membersDidChange(of group: RaftGroup) {
        let members = group.assumeOnLoop { group in
            group.hasNewMembers = false
            return group.core.configuration.members.map(\.node)
        }
        groupsByNode.set(members, of: group.identity.group)
        group.context.membersDidChange(of: group.identity.group)
    }

    /// The failure detector's news of a node; see `Transport`.
    func peerDidChange(_ peer: NodeID, _ change: PeerChange) {
        let affected = mutated(.deadNodeWakesAll) ? groups.keys.sorted() : groupsByNode.all(on: peer)
        for id in affected {
            guard let group = groups[id] else { continue }
            switch group.assumeOnLoop({ $0.peerDidChange(peer, change) }) {
            case .none: break
            case .atOnce: markDirty(group)
            case .inTurn: wakes.add([id])
            }
        }
        wakeNext()
    }

    /// Wakes those whose turn it is.
    func wakeNext() {
        guard !wakes.isEmpty else { return }
        let epoch = livenessEpoch
        for id in wakes.take() {
            guard let group = groups[id] else { continue }
            group.assumeOnLoop { group in
                group.core.setLivenessEpoch(epoch)
                group.core.wake()
            }
            markDirty(group)
        }
    }

    /// Whom management wants in these groups from now on; nil where it does not say.
    func setDesired(_ changed: [GroupID: DesiredMembers?]) {
        for (id, members) in changed.sorted(by: { $0.key < $1.key }) where desired[id] != members {
            desired[id] = members
            wants(members, in: id)
        }
    }

    private func wants(_ members: DesiredMembers?, in id: GroupID) {
        guard let group = groups[id] else { return }
        let leads = group.assumeOnLoop { group in
            group.desiredMembers = members
            guard group.core.status.role == .leader else { return false }
            group.core.wake()
            return true
        }
        if leads { markDirty(group) }
    }

    /// This node may have been silent without knowing it. Groups that see the ticks learn of the epoch by them.
    func livenessEpochDidChange() {
        wakes.add(groups.keys.filter { active[$0] == nil }.sorted())
        wakeNext()
    }
}
