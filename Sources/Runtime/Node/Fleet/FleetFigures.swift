import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// What a node tells Prometheus of the clusters that it leads, of itself, and of the fleet.
struct FleetFigures: Sendable {
    /// By its leader.
    struct Cluster: Sendable {
        var id: String
        /// Runs that have not ended.
        var workflows: Int
        /// Results of steps and checkpoints that were recorded since this node's replica was made.
        var checkpoints: UInt64
        /// Entries that were followed until a majority had them, and what that took in all.
        var quorumRounds: UInt64
        var quorumTime: Duration
    }

    /// Of so many clusters a node tells at most: the ones made first. Each has four series.
    static let clusterLimit = 100

    var node: NodeID
    var clusters: [Cluster] = []
    /// How many more this node leads.
    var omittedClusters = 0
    /// How many clusters the node is a member of.
    var memberships = 0
    var messagesReceived: UInt64 = 0
    var messagesSent: UInt64 = 0
    /// Runs of the whole fleet that have not ended.
    var workflows = 0
    /// See `FleetStatus.utilisation`.
    var utilisation = 0.0

    mutating func add(_ cluster: Cluster) {
        if clusters.count < Self.clusterLimit { clusters.append(cluster) } else { omittedClusters += 1 }
    }
}

extension NodeServices {
    func figures() async -> FleetFigures {
        let view = machines.management.withLock { $0 }
        let mine = view.clusters(on: core.node)
        let scheduler = await core.counters().scheduler
        var figures = FleetFigures(
            node: core.node, memberships: mine.count, messagesReceived: scheduler.messagesIn,
            messagesSent: scheduler.messagesOut, workflows: view.locations.count)
        for cluster in mine {
            guard let group = core.hosted[cluster.group] else { continue }
            let own = try? await group.withState { machine in
                (machine as? WorkflowStateMachine).map { ($0.holdings.active, $0.recordedCheckpoints) }
            }
            guard let (active, checkpoints) = own else { continue }
            // Nobody is told of what runs in a cluster that all nodes belong to.
            if cluster.spansFleet { figures.workflows = active }
            guard let report = try? await group.report(), report.status.role == .leader else { continue }
            figures.add(
                FleetFigures.Cluster(
                    id: cluster.id.text, workflows: active, checkpoints: checkpoints,
                    quorumRounds: report.quorumRounds, quorumTime: report.quorumTime))
        }
        figures.utilisation = view.utilisation(figures.workflows)
        return figures
    }
}
