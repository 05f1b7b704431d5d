/// How long to wait before trying again: doubling from `delayMin` to `delayMax`, each a random one of its upper half,
/// so that many who lost the same peer do not come back together.
public struct Backoff: Sendable {
    public static let delayMin: Duration = .milliseconds(50)
    public static let delayMax: Duration = .seconds(1)

    private var delay = Backoff.delayMin

    public init() {}

    /// The next delay.
    public mutating func next(using generator: inout some RandomNumberGenerator) -> Duration {
        let whole = delay
        delay = min(delay * 2, Self.delayMax)
        let jitter = Double.random(in: 0.5...1, using: &generator)
        return whole * jitter
    }
}
