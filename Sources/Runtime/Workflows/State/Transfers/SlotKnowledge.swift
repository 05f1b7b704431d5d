/// What a group, or several, know of a slot. A group keeps the epochs that it knew for ever: of a slot that somebody has
/// opened some group tells, unless all that ever knew of it are gone.
struct SlotKnowledge: Hashable, Sendable {
    /// The latest that the slot was opened, closed or released in; zero where nobody has heard of it.
    var epoch: UInt64 = 0
    /// Somebody answers for it, if only until the next home does.
    var isHeld = false

    init() {}

    init(_ slot: HomeSlots.Slot?) {
        guard let slot else { return }
        epoch = slot.epoch
        isHeld = slot.phase != .released
    }

    mutating func add(_ other: SlotKnowledge) {
        epoch = max(epoch, other.epoch)
        isHeld = isHeld || other.isHeld
    }
}

/// As one number, since there may be 4,096 of them: the epoch, and in the lowest bit whether it is held.
extension SlotKnowledge: Codable {
    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(epoch << 1 | (isHeld ? 1 : 0))
    }

    init(from decoder: any Decoder) throws {
        let number = try decoder.singleValueContainer().decode(UInt64.self)
        (epoch, isHeld) = (number >> 1, number & 1 == 1)
    }
}
