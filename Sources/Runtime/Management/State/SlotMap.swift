import FlotillaRaft

/// Which group is the home of which workflow ids: the place where an id is taken, and where the run's address is found
/// if it runs elsewhere.
///
/// The map has a version, and each slot an epoch that rises when its home changes: a request that was sent by an older
/// map is told apart by it.
struct SlotMap: Hashable, Sendable {
    struct Slot: Hashable, Sendable {
        var home: GroupID
        /// Zero while it has no home.
        var epoch: UInt64
        /// Its home in the epoch before: whoever is to have the slot gets it there, nearly always.
        var former = GroupID(0)
    }

    /// Slots that are equal, side by side: how a map is written.
    struct Run: Hashable, Sendable {
        var count: Int
        var slot: Slot
    }

    static let count = 4_096

    /// Rises with every change.
    private(set) var version: UInt64 = 0
    private var slots = Array(repeating: Slot(home: GroupID(0), epoch: 0), count: SlotMap.count)

    init() {}

    subscript(slot: Int) -> Slot { slots[slot] }

    /// Nil until there is a group that could be its home.
    func home(of key: RunKey) -> Slot? {
        let slot = slots[Self.slot(of: key)]
        return slot.epoch == 0 ? nil : slot
    }

    /// FNV-1a (Fowler, Noll, Vo), 64 bits, over namespace, a byte that no text holds, and id; folded to 12 bits. All
    /// nodes and versions must agree on it for ever.
    static func slot(of key: RunKey) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        for byte in key.namespace.text.utf8 { add(byte) }
        add(0xFF)
        for byte in key.workflowID.text.utf8 { add(byte) }
        return Int((hash ^ hash >> 24 ^ hash >> 48) & UInt64(count - 1))
    }

    /// Slots that have this home, ascending.
    func slots(of home: GroupID) -> [Int] { slots.indices.filter { slots[$0].epoch > 0 && slots[$0].home == home } }

    var hasHomes: Bool { slots.contains { $0.epoch > 0 } }

    /// Gives slots a new home; those that have it already keep their epoch.
    mutating func move(_ moved: some Sequence<Int>, to home: GroupID) {
        var changed = false
        for slot in moved where slots[slot].epoch == 0 || slots[slot].home != home {
            slots[slot] = Slot(home: home, epoch: slots[slot].epoch + 1, former: slots[slot].home)
            changed = true
        }
        if changed { version += 1 }
    }

    // MARK: As written

    var runs: [Run] {
        var runs: [Run] = []
        for slot in slots {
            if runs.last?.slot == slot {
                runs[runs.count - 1].count += 1
            } else {
                runs.append(Run(count: 1, slot: slot))
            }
        }
        return runs
    }

    /// - Returns: nil unless the runs make up a whole map.
    init?(version: UInt64, runs: [Run]) {
        guard runs.allSatisfy({ (1...Self.count).contains($0.count) }),
            runs.reduce(0, { $0 + $1.count }) == Self.count
        else { return nil }
        self.version = version
        slots = runs.flatMap { Array(repeating: $0.slot, count: $0.count) }
    }
}
