import FlotillaRaft

/// What a workflow group keeps of runs that move between groups, of the homes of workflow ids, and of its own end.
///
/// A run that is exported leaves the group's runs at once and is frozen, under a higher owner epoch, until its new
/// group has answered: so it never runs in two places. Transfers between two groups are numbered; whoever imports
/// remembers up to which number it has heard, so that a transfer counts once however often it is proposed.
struct Transfers: Sendable {
    typealias Address = AddressBook.Address

    /// A transfer as its source knows it: the number counts the source's transfers to this group, from 1.
    struct ID: Hashable, Comparable, Sendable {
        var target: GroupID
        var number: UInt64
        static func < (a: ID, b: ID) -> Bool { (a.target, a.number) < (b.target, b.number) }
    }

    struct Outgoing: Sendable {
        let key: RunKey
        var run: Run
    }

    /// What a group knows of another's transfers to it.
    struct Inbox: Hashable, Sendable {
        /// The number that comes next; all below have been dealt with.
        var next: UInt64 = 1
        /// Whether this transfer is to be dealt with now: the next one, or the first of a later incarnation of the source,
        /// which does not know what may be missing in between.
        func expects(_ number: UInt64) -> Bool {
            number == next || number > next && IncarnationNumbers.isFirst(number)
        }
        /// Those that were turned down, and why, until the source has heard it.
        var turnedDown: [UInt64: WorkflowRefusal] = [:]
        /// What has come of the next one, and the checksum of the whole.
        var staged: [UInt8] = []
        var checksum: UInt32 = 0
    }

    /// The group takes nothing any more, in the epoch of the decision that it is to go; nil while it does.
    var sealEpoch: UInt64?
    private(set) var outgoing: [ID: Outgoing] = [:]
    /// How many transfers there were to each group.
    var outgoingCounts: [GroupID: UInt64] = [:]
    /// Where the count begins for groups to which there were none: zero in a group's first incarnation.
    var outgoingBase: UInt64 = 0
    var inboxes: [GroupID: Inbox] = [:]

    var slots = HomeSlots()
    /// Of ids that are at home here, or about to be.
    var addresses = AddressBook()
    /// Runs that were removed here, and whose homes still have their addresses.
    var releases = BucketedMap<RunID, RunKey>()
    var departed = DepartedRuns()

    /// Computed: which transfer a workflow id's run is in.
    private(set) var frozen: [RunKey: ID] = [:]

    mutating func freeze(_ run: Run, _ key: RunKey, as id: ID) {
        precondition(frozen[key] == nil && outgoing[id] == nil, "\(key) is in a transfer already")
        outgoing[id] = Outgoing(key: key, run: run)
        frozen[key] = id
    }

    mutating func thaw(_ id: ID) -> Outgoing? {
        guard let transfer = outgoing.removeValue(forKey: id) else { return nil }
        frozen[transfer.key] = nil
        return transfer
    }

    /// The home of a frozen run's id knows where it is.
    mutating func markListed(_ id: ID) { outgoing[id]?.run.isListed = true }

    func frozenRun(_ key: RunKey) -> Run? { frozen[key].flatMap { outgoing[$0]?.run } }

    /// Whether the group still has something to tell others.
    var hasDeliveries: Bool { !outgoing.isEmpty || releases.count > 0 || !slots.closed.isEmpty }
}

extension RunID: Comparable {
    /// UUIDv7: in the order of their making.
    public static func < (a: RunID, b: RunID) -> Bool { (a.high, a.low) < (b.high, b.low) }

    /// When it was made, in milliseconds since 1970.
    var milliseconds: Int64 { Int64(high >> 16) }
}
