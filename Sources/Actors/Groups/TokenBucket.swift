import FlotillaIO

/// Limits a rate: what is spent comes back at a steady pace, up to a burst that may go at once. One spending may
/// overdraw it, so that a piece larger than the burst passes as well; the next one waits until that is paid back.
struct TokenBucket {
    private let perSecond: Double
    private let burst: Double
    private var tokens: Double
    private var filledAt: MonotonicTime

    /// - Parameters:
    ///   - rate: bytes per second.
    ///   - burst: in bytes.
    init(rate: Int, burst: Int, now: MonotonicTime) {
        precondition(rate > 0 && burst > 0, "a rate of \(rate) with a burst of \(burst)")
        perSecond = Double(rate)
        self.burst = Double(burst)
        tokens = Double(burst)
        filledAt = now
    }

    /// How long to wait before something may be spent; nil: now.
    mutating func delay(now: MonotonicTime) -> Duration? {
        refill(now)
        return tokens > 0 ? nil : .nanoseconds(Int64((1 - tokens) / perSecond * 1e9) + 1)
    }

    mutating func spend(_ bytes: Int, now: MonotonicTime) {
        refill(now)
        tokens -= Double(bytes)
    }

    private mutating func refill(_ now: MonotonicTime) {
        let passed = filledAt.duration(to: now) / .seconds(1)
        guard passed > 0 else { return }
        tokens = min(burst, tokens + passed * perSecond)
        filledAt = now
    }
}
