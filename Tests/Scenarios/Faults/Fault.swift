package import FlotillaRaft
package import FlotillaSimulation

/// One thing that goes wrong. What has a duration is undone at its end; a node that it brings down is started again
/// then. So every fault of a schedule can be left out without leaving a trace.
package enum Fault: Hashable, Sendable {
    // MARK: Network
    /// Nodes of different groups do not hear each other.
    case partition([[NodeID]])
    /// One direction only.
    case cut(from: NodeID, to: NodeID)
    /// Everyone hears only its neighbours in the list.
    case chain([NodeID])
    /// Of 1,000 frames so many are lost.
    case loss(permille: UInt64)
    case duplication(permille: UInt64)
    case reordering
    /// Frames take up to so many milliseconds.
    case delay(milliseconds: UInt64)
    /// The connections between two nodes break.
    case reset(NodeID, NodeID)

    // MARK: Nodes
    case kill(NodeID)
    case powerLoss(NodeID, UnsyncedFate)
    /// The power fails at the `changes`-th change of the disk from then on, in the middle of what the node writes.
    case powerLossAtWrite(NodeID, changes: Int, UnsyncedFate)
    /// All of its loops stand still.
    case pause(NodeID)
    case wallClockJump(NodeID, milliseconds: Int64)
    /// Its clocks run at another speed.
    case clockRate(NodeID, percent: UInt64)
    /// It gives up leadership to another voter.
    case transfer(NodeID)

    // MARK: Disks
    /// A piece of work takes up to so many milliseconds.
    case slowDisk(NodeID, milliseconds: UInt64)
    /// What its disk has done is told up to so many milliseconds later, and not in order.
    case lateCompletions(NodeID, milliseconds: UInt64)
    /// The next write, or sync, fails; the node fences itself. At the end it is restarted.
    case failedWrite(NodeID)
    case failedSync(NodeID)

    /// The kinds of faults, which have a rate each.
    package enum Kind: String, CaseIterable, Hashable, Sendable {
        case partition, cut, chain, loss, duplication, reordering, delay, reset
        case kill, powerLoss, powerLossAtWrite, pause, wallClockJump, clockRate, transfer
        case slowDisk, lateCompletions, failedWrite, failedSync
    }

    /// The node that cannot run as long as this fault lasts.
    package var nodeThatIsDown: NodeID? {
        switch self {
        case .kill(let node), .powerLoss(let node, _): node
        case .partition, .cut, .chain, .loss, .duplication, .reordering, .delay, .reset, .powerLossAtWrite, .pause,
            .wallClockJump, .clockRate, .transfer, .slowDisk, .lateCompletions, .failedWrite, .failedSync:
            nil
        }
    }
}

extension Fault: CustomStringConvertible {
    package var description: String {
        switch self {
        case .partition(let groups):
            "partition " + groups.map { "{" + Self.list($0) + "}" }.joined(separator: " | ")
        case .cut(let from, let to): "cut from \(from) to \(to)"
        case .chain(let nodes): "chain of nodes " + Self.list(nodes)
        case .loss(let permille): "loss of \(permille) in 1,000 frames"
        case .duplication(let permille): "duplication of \(permille) in 1,000 frames"
        case .reordering: "frames overtake each other"
        case .delay(let milliseconds): "delays of up to \(milliseconds) ms"
        case .reset(let a, let b): "connections between \(a) and \(b) break"
        case .kill(let node): "\(node) is killed"
        case .powerLoss(let node, let fate): "\(node) loses power, unsynced bytes \(Self.text(fate))"
        case .powerLossAtWrite(let node, let changes, let fate):
            "\(node) loses power at change \(changes) of its disk, unsynced bytes \(Self.text(fate))"
        case .pause(let node): "\(node) stands still"
        case .wallClockJump(let node, let milliseconds): "the wall clock of \(node) jumps by \(milliseconds) ms"
        case .clockRate(let node, let percent): "the clocks of \(node) run at \(percent) % of their speed"
        case .transfer(let node): "\(node) hands over what it leads"
        case .slowDisk(let node, let milliseconds): "the disk of \(node) takes up to \(milliseconds) ms"
        case .lateCompletions(let node, let milliseconds):
            "the disk of \(node) tells what it has done up to \(milliseconds) ms later"
        case .failedWrite(let node): "the next write of \(node) fails"
        case .failedSync(let node): "the next sync of \(node) fails"
        }
    }

    private static func list(_ nodes: [NodeID]) -> String {
        nodes.map { "\($0.rawValue)" }.joined(separator: " ")
    }

    private static func text(_ fate: UnsyncedFate) -> String {
        switch fate {
        case .dropped: "dropped"
        case .prefixKept: "kept up to some write, torn there"
        case .anyKept: "kept or torn or dropped at random"
        }
    }
}
