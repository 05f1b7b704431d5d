import FlotillaIO
package import FlotillaRaft
import FlotillaSimulation

/// What goes wrong in one history, and when. It is data, so that it can be printed, replayed and shortened.
package struct FaultSchedule: Hashable, Sendable {
    package struct Item: Hashable, Sendable, CustomStringConvertible {
        /// Since the load began.
        package var start: Duration
        /// Zero for what happens in a moment.
        package var duration: Duration
        package var fault: Fault
        /// Its place in the schedule that the seed gave, by which a replay names it.
        package var number: Int

        package var description: String {
            let lasts = duration > .zero ? " for \(Self.text(duration))" : ""
            return "[\(number)] at \(Self.text(start)): \(fault)\(lasts)"
        }

        private static func text(_ duration: Duration) -> String {
            let milliseconds =
                duration.components.seconds * 1_000 + duration.components.attoseconds / 1_000_000_000_000_000
            let rest = "\(milliseconds % 1_000)"
            return "\(milliseconds / 1_000)." + String(repeating: "0", count: 3 - rest.count) + rest + " s"
        }
    }

    /// In the order of their starts.
    package var items: [Item] = []

    package init(items: [Item] = []) { self.items = items }

    /// Only the faults with these numbers that start before `end`.
    package func keeping(_ numbers: [Int]?, before end: Duration) -> FaultSchedule {
        FaultSchedule(items: items.filter { $0.start < end && numbers?.contains($0.number) ?? true })
    }
}

/// How many faults of each kind a minute has, on average.
package struct FaultRates: Sendable {
    package var perMinute: [Fault.Kind: Double]

    package init(_ perMinute: [Fault.Kind: Double]) { self.perMinute = perMinute }

    /// Every kind of fault that a group must survive as long as a majority comes back.
    package static let survivable = FaultRates([
        .partition: 4, .cut: 4, .chain: 2, .loss: 3, .duplication: 3, .reordering: 3, .delay: 2, .reset: 4,
        .kill: 5, .powerLoss: 5, .powerLossAtWrite: 5, .pause: 4, .wallClockJump: 2, .clockRate: 2,
        .transfer: 3, .slowDisk: 3, .lateCompletions: 3, .failedWrite: 2, .failedSync: 2,
    ])
}

extension FaultSchedule {
    /// The schedule of a seed. Each seed leaves out some kinds of faults altogether and has more of others, since what
    /// one kind of fault does is hidden by another (swarm testing: Groce, Zhang, Eide, Chen, Regehr, 2012).
    package init(seed: UInt64, nodes: [NodeID], over time: Duration, rates: FaultRates) {
        var random = FaultGenerator(seed: seed, nodes: nodes)
        let milliseconds = UInt64(time.components.seconds) * 1_000
        let intensity = [0.5, 1, 1, 1.5][Int(random.below(4))]
        var items: [Item] = []
        for kind in Fault.Kind.allCases {
            // A generator of its own, so that a kind's faults do not depend on the others.
            let kindSeed = kind.rawValue.utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
            var own = FaultGenerator(seed: kindSeed, nodes: nodes)
            let isLeftOut = own.below(5) < 2
            let rate = isLeftOut ? 0 : (rates.perMinute[kind] ?? 0) * intensity
            let expected = rate * Double(milliseconds) / 60_000
            let count =
                Int(expected) + (Double(own.below(1_000)) < (expected - expected.rounded(.down)) * 1_000 ? 1 : 0)
            for _ in 0..<count {
                guard let (fault, duration) = own.make(kind) else { continue }
                items.append(
                    Item(start: .milliseconds(own.below(milliseconds)), duration: duration, fault: fault, number: 0))
            }
        }
        // Stable, so that the order of faults at one moment is the seed's.
        let order = items.indices.sorted { (items[$0].start, $0) < (items[$1].start, $1) }
        self.items = order.enumerated().map { number, index in
            var item = items[index]
            item.number = number
            return item
        }
    }
}

/// Draws faults.
private struct FaultGenerator {
    private var generator: SeededGenerator
    private let nodes: [NodeID]

    init(seed: UInt64, nodes: [NodeID]) {
        generator = SeededGenerator(seed: seed)
        self.nodes = nodes
    }

    mutating func next() -> UInt64 { generator.next() }
    mutating func below(_ bound: UInt64) -> UInt64 { generator.next().multipliedFullWidth(by: bound).high }
    private mutating func node() -> NodeID { nodes[Int(below(UInt64(nodes.count)))] }
    private mutating func milliseconds(_ range: ClosedRange<UInt64>) -> Duration {
        .milliseconds(range.lowerBound + below(range.upperBound - range.lowerBound + 1))
    }
    private mutating func fate() -> UnsyncedFate { [.dropped, .prefixKept, .anyKept][Int(below(3))] }
    private mutating func twoNodes() -> (NodeID, NodeID)? {
        guard nodes.count > 1 else { return nil }
        let first = Int(below(UInt64(nodes.count)))
        let step = 1 + Int(below(UInt64(nodes.count - 1)))
        return (nodes[first], nodes[(first + step) % nodes.count])
    }
    private mutating func shuffled() -> [NodeID] {
        var nodes = nodes
        for last in nodes.indices.dropFirst().reversed() { nodes.swapAt(last, Int(below(UInt64(last + 1)))) }
        return nodes
    }

    /// Nil where there are too few nodes for it.
    mutating func make(_ kind: Fault.Kind) -> (fault: Fault, duration: Duration)? {
        switch kind {
        case .partition:
            guard nodes.count > 1 else { return nil }
            let order = shuffled()
            let size = 1 + Int(below(UInt64(nodes.count - 1)))
            return (
                .partition([order.prefix(size).sorted(), order.dropFirst(size).sorted()]), milliseconds(200...6_000)
            )
        case .cut:
            guard let (from, to) = twoNodes() else { return nil }
            return (.cut(from: from, to: to), milliseconds(200...6_000))
        case .chain: return nodes.count > 2 ? (.chain(shuffled()), milliseconds(500...6_000)) : nil
        case .loss: return (.loss(permille: 5 + below(150)), milliseconds(500...8_000))
        case .duplication: return (.duplication(permille: 5 + below(150)), milliseconds(500...8_000))
        case .reordering: return (.reordering, milliseconds(500...8_000))
        case .delay: return (.delay(milliseconds: 5 + below(400)), milliseconds(500...5_000))
        case .reset:
            guard let (a, b) = twoNodes() else { return nil }
            return (.reset(a, b), .zero)
        case .kill: return (.kill(node()), milliseconds(0...4_000))
        case .powerLoss: return (.powerLoss(node(), fate()), milliseconds(0...4_000))
        case .powerLossAtWrite:
            return (.powerLossAtWrite(node(), changes: 1 + Int(below(30)), fate()), milliseconds(300...4_000))
        case .pause: return (.pause(node()), milliseconds(50...4_000))
        case .wallClockJump:
            return (.wallClockJump(node(), milliseconds: Int64(below(4_000)) - 2_000), .zero)
        case .clockRate: return (.clockRate(node(), percent: 80 + below(41)), milliseconds(500...8_000))
        case .transfer: return (.transfer(node()), .zero)
        case .slowDisk: return (.slowDisk(node(), milliseconds: 5 + below(300)), milliseconds(500...6_000))
        case .lateCompletions:
            return (.lateCompletions(node(), milliseconds: 1 + below(100)), milliseconds(500...6_000))
        case .failedWrite: return (.failedWrite(node()), milliseconds(300...4_000))
        case .failedSync: return (.failedSync(node()), milliseconds(300...4_000))
        }
    }
}
