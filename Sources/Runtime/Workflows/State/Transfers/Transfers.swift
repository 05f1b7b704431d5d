import FlotillaRaft

/// What a workflow group keeps of runs that move between groups, and of its own end.
///
/// A run that is exported leaves the group's runs at once and is frozen, under a higher owner epoch, until its new group
/// has answered: so it never runs in two places. Transfers between two groups are numbered; whoever imports remembers
/// up to which number it has heard, so that a transfer counts once however often it is proposed.
struct Transfers: Sendable {
    /// A transfer as its source knows it: the number counts the source's transfers to this group, from 1.
    struct ID: Hashable, Comparable, Sendable {
        var target: GroupID
        var number: UInt64
        static func < (a: ID, b: ID) -> Bool { (a.target, a.number) < (b.target, b.number) }
    }

    /// What a group knows of another's transfers to it.
    struct Inbox: Hashable, Sendable {
        /// The number that comes next; all below have been dealt with.
        var next: UInt64 = 1
        /// Those that were turned down, and why, until the source has heard it.
        var turnedDown: [UInt64: WorkflowRefusal] = [:]
    }

    /// Where a run is that has this group as the home of its workflow id.
    struct Address: Hashable, Sendable {
        var runID: RunID
        var group: GroupID
        /// The run's owner epoch when the address was left; a later one replaces it.
        var epoch: UInt64
    }

    /// The group takes nothing any more, in the epoch of the decision that it is to go; nil while it does.
    var sealEpoch: UInt64?
    private(set) var outgoing: [ID: (key: RunKey, run: Run)] = [:]
    /// How many transfers there were to each group.
    var outgoingCounts: [GroupID: UInt64] = [:]
    var inboxes: [GroupID: Inbox] = [:]
    var addresses = BucketedMap<RunKey, Address>()

    /// Computed: which transfer a workflow id's run is in.
    private(set) var frozen: [RunKey: ID] = [:]

    mutating func freeze(_ run: Run, _ key: RunKey, as id: ID) {
        precondition(frozen[key] == nil && outgoing[id] == nil, "\(key) is in a transfer already")
        outgoing[id] = (key, run)
        frozen[key] = id
    }

    mutating func thaw(_ id: ID) -> (key: RunKey, run: Run)? {
        guard let transfer = outgoing.removeValue(forKey: id) else { return nil }
        frozen[transfer.key] = nil
        return transfer
    }
}
