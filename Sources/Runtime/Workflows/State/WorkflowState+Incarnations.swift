import FlotillaRaft

/// Numbers that a group issues, so that an incarnation issues none of an earlier one, whatever of that one's last entries
/// is lost: the upper bits are those of the incarnation. The first one's are zero, since it counts from 1.
enum IncarnationNumbers {
    private static let bits: UInt64 = 40

    /// The incarnation's own count follows on this.
    static func base(of incarnation: UInt64) -> UInt64 { incarnation << bits }

    /// What the count of the incarnation follows on that a number was issued in.
    static func base(below number: UInt64) -> UInt64 { (number >> bits) << bits }

    /// Whether a number is the first behind the base of an incarnation but the group's first.
    static func isFirst(_ number: UInt64) -> Bool { number >> bits > 0 && number & (1 << bits - 1) == 1 }
}

extension WorkflowState {
    /// The group begins again with this state, which may lack entries of the incarnation before. Owners and transfers
    /// that those named must not be taken for the ones that are named from now on: outside, by their fencing tokens,
    /// and in other groups, which remember transfers by number. May come twice.
    ///
    /// A run that is on its way keeps its number, and the epoch that the home of its id may have been told.
    mutating func beginIncarnation(_ incarnation: UInt64) {
        let base = IncarnationNumbers.base(of: incarnation)
        // Also of runs that have ended: they may have been tried again.
        for (_, key) in startOrder.elements where runs[key].map({ $0.epoch < base }) ?? false {
            _ = update(key) { $0.epoch = base }
        }
        transfers.outgoingBase = max(transfers.outgoingBase, base)
        for (target, count) in transfers.outgoingCounts { transfers.outgoingCounts[target] = max(count, base) }
    }
}
