import FlotillaIO

/// Addresses that a node was told at its start. Once it belongs to a cluster it finds the others by what they say of
/// themselves; where all of them have moved meanwhile, these are the only ones that may be right.
struct SeedCalls {
    /// Between two calls. A connection takes less.
    static let interval: Duration = .seconds(1)

    private let addresses: [String]
    private var next = 0
    private var callsAt: MonotonicTime

    init(_ addresses: [String], now: MonotonicTime) {
        self.addresses = addresses
        callsAt = now.advanced(by: Self.interval)
    }

    /// - Parameter known: what is called anyway.
    /// - Returns: whom to call now.
    mutating func take(_ now: MonotonicTime, except known: (String) -> Bool) -> String? {
        guard now >= callsAt else { return nil }
        callsAt = now.advanced(by: Self.interval)
        for _ in addresses {
            let address = addresses[next]
            next = (next + 1) % addresses.count
            if !known(address) { return address }
        }
        return nil
    }
}

extension Transport {
    func setSeeds(_ addresses: [String]) { seeds = SeedCalls(addresses, now: loop.now) }

    /// Called with every heartbeat. Whoever answers says who it is, and where.
    func callSeed(_ now: MonotonicTime) {
        guard me.cluster != 0, !peers.values.contains(where: { $0.link != nil }) else { return }
        let seed = seeds?.take(now) { address in
            address == me.address || peers.values.contains { $0.address == address }
        }
        if let seed { _ = dial(seed, purpose: .consensus) }
    }
}
