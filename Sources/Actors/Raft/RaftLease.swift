// Reads by lease (thesis 6.4.1): a leader that a quorum has heard within the shortest election timeout answers at once,
// because none of that quorum votes for another before. Off by default, see `ReadConsistency.lease`.
//
// It holds as long as no follower's ticks are shorter than the leader's by more than one in an election timeout, and
// every tick is counted: a shell that leaves out ticks, because its own loop stood still, must not use it.

extension Raft {
    // MARK: Leader

    /// A heartbeat opens a round, whose answers prove who heard it; the lease starts when the heartbeat *left*.
    mutating func openLeaseRound() {
        if options.reads != .lease { return }
        reads.startedRound += 1
        reads.beats.append(.init(round: reads.startedRound, tick: leaderTick))
        let oldest = reads.beats.prefix { leaderTick - $0.tick >= UInt64(options.electionTicks) }
        reads.beats.removeFirst(oldest.count)
    }

    mutating func extendLease(throughRound confirmed: UInt64) {
        let answered = reads.beats.prefix { $0.round <= confirmed }
        guard let newest = answered.last else { return }
        reads.leaseStart = newest.tick
        reads.beats.removeFirst(answered.count)
    }

    /// One tick less than a follower waits, because its first tick may come right after the heartbeat; and one more,
    /// because the leader's current tick may be nearly over.
    var hasLease: Bool {
        guard role == .leader, options.reads == .lease, options.checksQuorum, !reads.isLeaseForfeited,
            transferee == nil, let start = reads.leaseStart
        else { return false }
        return leaderTick - start + 1 < UInt64(options.electionTicks)
    }

    /// The members are others now, or the ticks stand still: only heartbeats from here on count.
    mutating func suspendLease() {
        reads.beats = []
        reads.leaseStart = nil
    }

    // MARK: Everyone else

    /// Whether this replica keeps the promise that lies in having answered a leader: to vote for nobody else. One that
    /// has just started cannot know what it promised before. A transfer is the leader's own wish.
    var keepsLeasePromise: Bool { options.reads == .lease && leasePromiseTicks > 0 }

    mutating func promiseLease() { leasePromiseTicks = options.electionTicks }

    mutating func tickLeasePromise(_ count: Int) { leasePromiseTicks = max(0, leasePromiseTicks - count) }
}
