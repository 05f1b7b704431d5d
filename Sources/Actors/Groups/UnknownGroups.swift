import FlotillaIO
public import FlotillaRaft

struct UnknownGroupKey: Hashable {
    var group: GroupID
    var node: NodeID
}

/// A peer does not host a group that it should: nothing is sent to it for that group for a while, longer each time.
struct UnknownGroupBackoff {
    /// Until then nothing is sent.
    let until: MonotonicTime
    /// Then a quiet leader wakes to try again: less and less often, since the peer may never host the group.
    let wakesAt: MonotonicTime
    let delay: Duration
    /// The group was woken to try again, and has no answer yet.
    var isOver = false

    private static let delayMin: Duration = .milliseconds(100)
    private static let silenceMax: Duration = .seconds(2)
    private static let delayMax: Duration = .seconds(64)

    init(after previous: UnknownGroupBackoff?, now: MonotonicTime) {
        delay = min((previous?.delay ?? Self.delayMin / 2) * 2, Self.delayMax)
        until = now.advanced(by: min(delay, Self.silenceMax))
        wakesAt = now.advanced(by: delay)
    }
}

/// Why a message could not be routed.
public struct TransportError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The receiver hosts no such group, or another life of it.
        case groupNotFound
    }
    public var code: Code
    public var group: GroupID
    public var node: NodeID
    public var description: String { "\(code.rawValue): \(node) does not host \(group)" }
}

extension GroupScheduler {
    /// `node` does not host the replica that this node wrote to. The connection stays; the core probes, later.
    func receive(_ unknown: UnknownGroup, from node: NodeID) {
        countUnknownGroupAnswer()
        let key = UnknownGroupKey(group: unknown.group, node: node)
        logger.debug("\(TransportError(code: .groupNotFound, group: unknown.group, node: node))")
        backoffs[key] = UnknownGroupBackoff(after: backoffs[key], now: loop.now)
        guard let group = group(unknown.group) else { return }
        group.assumeOnLoop { $0.core.reportUnreachable(unknown.replica) }
        markDirty(group)
    }

    /// With every tick: a quiet group that leads here tries again whether a peer hosts its replica by now. Nobody else would
    /// tell it: the peer lives, and has given up what kept it from that, such as an older replica.
    func retryUnknownGroups() {
        guard !backoffs.isEmpty else { return }
        let now = loop.now
        let due = backoffs.filter { !$0.value.isOver && $0.value.wakesAt <= now }.keys
        for key in due.sorted(by: { ($0.group, $0.node) < ($1.group, $1.node) }) {
            let group = groups[key.group]
            let isToTry = group?.assumeOnLoop { group in
                guard group.core.status.role == .leader, group.core.configuration.replica(on: key.node) != nil else {
                    return false
                }
                group.core.wake()
                return true
            }
            guard let group, isToTry == true else {
                // Whoever leads now learns by itself what the peer hosts.
                backoffs[key] = nil
                continue
            }
            backoffs[key]?.isOver = true
            markDirty(group)
        }
    }

    func isBackingOff(_ group: GroupID, _ node: NodeID) -> Bool {
        guard !backoffs.isEmpty, let backoff = backoffs[UnknownGroupKey(group: group, node: node)] else { return false }
        return loop.now < backoff.until
    }

    /// The peer answered for the group after all.
    func endBackoff(_ group: GroupID, _ node: NodeID) {
        if !backoffs.isEmpty { backoffs[UnknownGroupKey(group: group, node: node)] = nil }
    }
}

extension RaftGroup {
    /// One dead node wakes only the groups that need it.
    func peerDidChange(_ peer: NodeID, _ change: PeerChange) -> PeerReaction {
        guard stopReason == nil, withdrawal == nil else { return .none }
        let configuration = core.configuration
        guard let replica = configuration.replica(on: peer) else {
            if mutated(.deadNodeWakesAll) { core.wake() }
            return mutated(.deadNodeWakesAll) ? .atOnce : .none
        }
        let isLedByPeer = core.status.leader == replica
        switch change {
        case .died:
            silentNodes.insert(peer)
            if isLedByPeer {
                core.leaderLost()
                return .atOnce
            }
            guard core.status.role == .leader else { return .none }
            core.reportUnreachable(replica)
            // A quiet leader no longer hears of its followers by itself: it wakes to see whether a majority is left.
            let counts = configuration.voters.contains(replica) || configuration.outgoingVoters.contains(replica)
            return counts ? .inTurn : .atOnce
        case .newEpoch:
            return .inTurn
        case .disconnected:
            guard core.status.role == .leader else { return .none }
            core.reportUnreachable(replica)
            return .atOnce
        }
    }
}
