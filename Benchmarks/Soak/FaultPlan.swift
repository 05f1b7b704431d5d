/// What is done to the nodes, one thing after the other: a function of the seed alone.
struct FaultPlan: Sendable {
    struct Fault: Hashable, Sendable {
        enum Kind: Hashable, Sendable {
            /// kill -9
            case kill
            /// SIGTERM, which hands over first.
            case terminate
        }
        var kind: Kind
        var node: Int
        /// How long all nodes are left alone before.
        var calm: Duration
        /// How long the node stays away.
        var absence: Duration
    }

    private var generator: SplitMix64
    private let nodes: ClosedRange<Int>

    init(seed: UInt64, nodes: ClosedRange<Int>) {
        generator = SplitMix64(state: seed)
        self.nodes = nodes
    }

    mutating func next() -> Fault {
        Fault(
            kind: generator.next() % 5 == 0 ? .terminate : .kill,
            node: Int.random(in: nodes, using: &generator),
            calm: .milliseconds(Int.random(in: 0...1_000, using: &generator)),
            absence: .milliseconds(Int.random(in: 0...2_000, using: &generator)))
    }
}

/// Sebastiano Vigna's splitmix64: small, and the same everywhere.
struct SplitMix64: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
