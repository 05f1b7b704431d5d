/// One run of the executable's `benchmark_chain`: each step's value depends on the one before, so that a step that is
/// lost, repeated or out of order changes the end.
struct ChainWork: Hashable, Sendable {
    static let type = "benchmark_chain"

    var id: String
    var seed: UInt64
    var steps: Int

    var input: String { "{\"seed\":\(seed),\"steps\":\(steps)}" }

    /// What the workflow must return: the same arithmetic as in the executable.
    var expected: UInt64 {
        (0..<UInt64(steps)).reduce(seed) { ($0 * 31 + $1 + 7) % 1_000_003 }
    }
}
