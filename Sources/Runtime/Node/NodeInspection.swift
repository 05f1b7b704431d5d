import FlotillaActors
import FlotillaIO
package import FlotillaRaft

// What simulations do to a node, and see of it, that its users have no need of.

extension Node {
    /// Asks other voters to take over what this node leads, as soon as its loop runs. Nothing where it has not started.
    package func handOverLeadership() {
        guard let core = current?.core else { return }
        core.loop.execute { core.handOverNow() }
    }

    /// The hash of the state of each group that is hosted here, and the index that it stands for.
    package func stateHashes() async throws -> [(group: GroupID, index: LogIndex, hash: UInt64)] {
        var hashes: [(group: GroupID, index: LogIndex, hash: UInt64)] = []
        for group in current?.core.hosted.all ?? [] {
            let (index, hash) = try await group.stateHash()
            hashes.append((group.identity.group, index, hash))
        }
        return hashes
    }

    /// Whether this node knows `count` nodes, and its groups have the voters that management wants, and no change under
    /// way.
    package func isFormed(of count: Int) async throws -> Bool {
        guard let services = current else { return false }
        let view = services.machines.management.withLock { $0 }
        let voters = ManagementVoters(
            state: view, observation: FleetObservation(now: 0), caughtUp: Set(view.nodes.keys), leader: nil)
        guard view.nodes.count == count, voters.changes.isEmpty else { return false }
        for group in services.core.hosted.all {
            guard let membership = try? await group.membership(), !membership.isJoint else { return false }
            if group.identity.kind == .management {
                guard membership.voters == view.voters.sorted() else { return false }
            } else if let cluster = view.cluster(of: group.identity.group) {
                guard membership.voters.count == cluster.desiredMembers.voterCount else { return false }
            }
        }
        return true
    }

    /// What this node has sent since it started.
    package struct Traffic: Sendable {
        /// Messages of groups to other nodes.
        package var groupMessages: UInt64
        /// Questions to other nodes, and answers to theirs.
        package var requests: UInt64
        package var heartbeats: UInt64
        /// All of it, and whatever else travels.
        package var frames: UInt64
    }

    package func trafficCounters() async throws -> Traffic {
        let (scheduler, transport) = try await running().core.counters()
        return Traffic(
            groupMessages: scheduler.messagesOut, requests: transport.requestsOut, heartbeats: transport.heartbeatsOut,
            frames: transport.framesOut)
    }
}
