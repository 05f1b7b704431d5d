import FlotillaRaft

/// The slots that a group is or was the home of; see `SlotMap`. The map says where to ask, this says who decides: a
/// group takes ids in those slots alone that its own log has opened and not closed since.
///
/// A slot is handed over in steps, each a command that may come twice: the old home closes it, in the epoch of the new
/// one; all that it knows of the slot's ids goes to the new home; that one opens it; the old one releases it. What a
/// group once knew of a slot's epoch it keeps for ever, so that a late command never opens a slot again.
struct HomeSlots: Hashable, Sendable {
    enum Phase: Hashable, Sendable {
        /// Ids are taken here. Can transition to: closed.
        case open
        /// No new ids; what is known of the old ones goes to the new home. Can transition to: released, and closed
        /// for another home where that one was sealed before it opened the slot.
        case closed(for: GroupID)
        /// Another group is the home. Can transition to: open, in a later epoch.
        case released
    }

    struct Slot: Hashable, Sendable {
        /// Of the slot's home when it is open, of the next home from then on.
        var epoch: UInt64
        var phase: Phase
    }

    private(set) var slots: [Int: Slot] = [:]
    /// How many are open or closed: the group answers for them.
    private(set) var heldCount = 0

    subscript(slot: Int) -> Slot? { slots[slot] }

    /// - Returns: the epoch of an open slot; nil where ids are taken elsewhere.
    func openEpoch(of slot: Int) -> UInt64? {
        guard let known = slots[slot], known.phase == .open else { return nil }
        return known.epoch
    }

    mutating func set(_ slot: Int, _ new: Slot) {
        precondition((0..<SlotMap.count).contains(slot), "there is no slot \(slot)")
        if let old = slots.updateValue(new, forKey: slot), old.isHeld { heldCount -= 1 }
        if new.isHeld { heldCount += 1 }
    }

    /// Those that wait for their new homes, by home and epoch; ascending in each.
    var closed: [Handover: [Int]] {
        var closed: [Handover: [Int]] = [:]
        for (slot, known) in slots {
            if case .closed(let home) = known.phase {
                closed[Handover(home: home, epoch: known.epoch), default: []].append(slot)
            }
        }
        return closed.mapValues { $0.sorted() }
    }

    /// All that is known, slots of one kind together: how they are written.
    var stretches: [(slots: [Int], slot: Slot)] {
        Dictionary(grouping: slots.keys, by: { slots[$0]! }).map { (slots: $0.value.sorted(), slot: $0.key) }
            .sorted { $0.slots[0] < $1.slots[0] }
    }

    struct Handover: Hashable, Comparable, Sendable {
        var home: GroupID
        var epoch: UInt64
        static func < (a: Handover, b: Handover) -> Bool { (a.home, a.epoch) < (b.home, b.epoch) }
    }
}

extension HomeSlots.Slot {
    fileprivate var isHeld: Bool { phase != .released }
}

/// Where the runs are whose ids are at home in a group, and that are not there themselves; by slot, so that a slot's
/// are found and dropped together.
struct AddressBook: Sendable {
    /// Where a run is.
    struct Address: Hashable, Sendable {
        var runID: RunID
        var group: GroupID
        /// Rises with every move: a later one replaces it. Zero where the id is only reserved, and nobody has said yet
        /// that the run began; else one more than the run's owner epoch.
        var epoch: UInt64

        var isReservation: Bool { epoch == 0 }
    }

    private(set) var slots = BucketedMap<Int, [RunKey: Address]>()
    private(set) var count = 0

    subscript(key: RunKey) -> Address? { slots[SlotMap.slot(of: key)]?[key] }

    /// Adds or replaces.
    mutating func insert(_ address: Address, for key: RunKey) {
        let slot = SlotMap.slot(of: key)
        if slots[slot] == nil { slots.insert([:], for: slot) }
        let previous = slots.update(slot) { $0.updateValue(address, forKey: key) } ?? nil
        if previous == nil { count += 1 }
    }

    mutating func remove(_ key: RunKey) {
        let slot = SlotMap.slot(of: key)
        guard
            let (isEmpty, removed) = slots.update(slot, { ($0.removeValue(forKey: key), $0.isEmpty) }).map({
                ($0.1, $0.0)
            })
        else { return }
        if removed != nil { count -= 1 }
        if isEmpty { slots.remove(slot) }
    }

    mutating func removeAll(in slot: Int) {
        count -= slots.remove(slot)?.count ?? 0
    }

    /// By slot and key.
    func sorted() -> [(key: RunKey, value: Address)] {
        slots.sorted().flatMap { $0.value.sorted { $0.key < $1.key } }
    }
}

/// Runs that have left a group, so that a late start under an id that is reserved elsewhere does not begin one again.
/// Remembered for `horizon` from the making of their ids: what is older does not begin at all.
struct DepartedRuns: Sendable {
    /// In milliseconds.
    static let horizon: Int64 = 3_600_000
    /// What one command forgets at most.
    private static let portion = 64

    private(set) var runs = OrderedMap<RunID, Void>()

    func contains(_ run: RunID) -> Bool { runs[run] != nil }

    mutating func insert(_ run: RunID) {
        if runs[run] == nil { runs.insert((), for: run) }
    }

    /// - Parameter time: the group's, in nanoseconds.
    mutating func forget(at time: Int64) {
        for _ in 0..<Self.portion {
            guard let first = runs.first?.key, Self.isTooOld(first, at: time) else { return }
            runs.remove(first)
        }
    }

    /// Whether a run with this id begins nowhere any more where it has not begun yet.
    static func isTooOld(_ run: RunID, at time: Int64) -> Bool {
        time / 1_000_000 - run.milliseconds > horizon
    }
}
