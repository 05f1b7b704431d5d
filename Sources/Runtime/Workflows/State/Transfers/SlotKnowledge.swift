import FlotillaIO

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

    /// As an answer carries it: for each slot its epoch, and in the lowest bit whether it is held.
    static func encoded(_ known: [SlotKnowledge]) -> [UInt8] {
        var writer = ProtobufWriter()
        writer.packed(1, known.map { $0.epoch << 1 | ($0.isHeld ? 1 : 0) })
        return writer.bytes
    }

    static func decoded(_ bytes: [UInt8]) throws(WireError) -> [SlotKnowledge] {
        var numbers: [UInt64] = []
        var reader = ProtobufReader(bytes)
        while let field = try reader.next() {
            guard field == 1 else { throw reader.unknownField(in: "what a group knows of slots") }
            try reader.packed(into: &numbers)
        }
        return numbers.map { number in
            var known = SlotKnowledge()
            (known.epoch, known.isHeld) = (number >> 1, number & 1 == 1)
            return known
        }
    }
}
