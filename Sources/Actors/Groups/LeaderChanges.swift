import FlotillaIO
public import FlotillaRaft

/// Who leads a group, as one node knows it.
public struct LeaderChange: Hashable, Sendable {
    public var term: Term
    /// The leader's node; nil while none is known.
    public var leader: NodeID?
    /// Whether it is the node that says so.
    public var isLocal: Bool
}

/// Those who follow a group's leadership. Lives on the group's loop.
struct LeaderWatchers {
    /// Changes that wait for a slow reader; it misses the oldest, and never the newest.
    static let bufferLimit = 16

    private var latest: LeaderChange?
    private var watchers: [UInt64: AsyncStream<LeaderChange>.Continuation] = [:]
    private var lastNumber: UInt64 = 0

    /// - Returns: the watcher's number, to take it out by.
    mutating func add(_ watcher: AsyncStream<LeaderChange>.Continuation) -> UInt64 {
        lastNumber += 1
        watchers[lastNumber] = watcher
        if let latest { watcher.yield(latest) }
        return lastNumber
    }

    mutating func remove(_ number: UInt64) { watchers[number] = nil }

    mutating func tell(_ change: LeaderChange) {
        guard change != latest else { return }
        latest = change
        for (_, watcher) in watchers.sorted(by: { $0.key < $1.key }) { watcher.yield(change) }
    }

    mutating func finish() {
        for (_, watcher) in watchers.sorted(by: { $0.key < $1.key }) { watcher.finish() }
        watchers = [:]
    }
}

extension RaftGroup {
    /// The group's leader as this node knows it, now and with every change. Ends when the group stops on this node, at
    /// once where it has stopped. A slow reader misses older changes, and never the newest.
    /// - Throws: `GroupError` where the node has stopped; `CancellationError`.
    public nonisolated func leaderChanges() async throws -> AsyncStream<LeaderChange> {
        try await perform { group in
            let (changes, watcher) = AsyncStream<LeaderChange>.makeStream(
                bufferingPolicy: .bufferingNewest(LeaderWatchers.bufferLimit))
            guard group.stopReason == nil else {
                watcher.finish()
                return changes
            }
            let number = group.leaderWatchers.add(watcher)
            watcher.onTermination = { [weak group] _ in
                guard let group else { return }
                group.loop.execute { group.assumeOnLoop { $0.leaderWatchers.remove(number) } }
            }
            return changes
        }
    }
}
