import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Tells management that a group holds no replica of a node any more, where this node leads the group. Until all groups
/// have said so nobody may come under that node's id.
struct DepartureKeeper: Sendable {
    let core: NodeCore
    let machines: NodeMachines
    let logger: FlotillaLogger

    static let retryInterval: Duration = .milliseconds(500)

    /// Until the task is cancelled or the node ends.
    func run() async {
        for await _ in machines.departures.rings {
            while await !confirm() {
                do { try await core.loop.sleep(for: Self.retryInterval) } catch { return }
            }
        }
    }

    /// - Returns: whether no group that this node hosts has anything to confirm.
    private func confirm() async -> Bool {
        let view = machines.management.withLock { $0 }
        var isDone = true
        var confirmed: [Departure] = []
        for id in Set(view.departing.values.flatMap(\.keys)).sorted() {
            let cluster = view.cluster(of: id)
            // An older incarnation speaks for nobody. The one that is to come is waited for: nobody rings when it is there.
            guard let group = core.hosted[id], cluster.map({ $0.incarnation == group.identity.incarnation }) ?? true
            else {
                if cluster?.members[core.node] != nil { isDone = false }
                continue
            }
            isDone = false
            confirmed += (try? await completed(view.departures(from: id), of: group)) ?? []
        }
        guard !confirmed.isEmpty else { return isDone }
        do {
            let group = try await core.hosted.group(ManagementState.group)
            let operations = confirmed.map { ManagementOperation.confirmDeparture($0).encoded }
            _ = try await group.propose(operations, ownerEpoch: 0)
        } catch {
            logger.debug("could not confirm departures; trying again", ["error": "\(error)"])
        }
        return false
    }

    /// Where this node leads the group, those that its configuration has carried out.
    private func completed(_ departures: [Departure], of group: RaftGroup) async throws -> [Departure] {
        guard try await group.membership().isLeader else { return [] }
        // A leader that was replaced without knowing it may have the configuration from before the node came.
        try await group.barrier()
        let membership = try await group.membership()
        guard !membership.isJoint else { return [] }
        return departures.filter { !membership.members.values.contains($0.node) }
    }
}
