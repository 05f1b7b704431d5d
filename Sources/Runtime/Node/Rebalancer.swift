import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Keeps the execution clusters as the policy wants them, on the management leader's node: plans once a period, and as soon
/// as nodes come, go or are lost, or clusters change; proposes the plan's commands one by one.
actor Rebalancer {
    private let services: NodeServices
    private var lastScene: RebalanceScene?
    private var plannedAt: MonotonicTime?

    /// How often the leader looks whether something has happened.
    static let checkInterval: Duration = .seconds(1)
    /// Clusters that are asked about their learners at a time.
    private static let questionsMax = 16

    init(_ services: NodeServices) { self.services = services }

    private nonisolated var logger: FlotillaLogger { services.logger }

    /// Until the task is cancelled or the node ends.
    nonisolated func run() async {
        await services.whileManaging(every: Self.checkInterval, "rebalance the fleet") { _ in try await self.check() }
    }

    private func check() async throws {
        let state = services.machines.management.withLock { $0 }
        var observation = await services.observe(state)
        observation.caughtUp = await caughtUp(state, observation)
        let scene = RebalanceScene(state, observation)
        let now = services.core.loop.now
        let isDue = plannedAt.map { $0.advanced(by: state.policy.rebalancePeriod) <= now } ?? true
        guard isDue || scene != lastScene else { return }
        (lastScene, plannedAt) = (scene, now)
        observation.load = await load(state, observation)
        try await carryOut(
            RebalancePlanner(state, observation) { [services] in services.newClusterID() })
    }

    private func carryOut(_ plan: RebalancePlanner) async throws {
        if let reason = plan.skipReason { logger.info("rebalancing is skipped", ["reason": reason]) }
        if let refusal = plan.refusal {
            logger.error("a plan ends in a command that makes no sense", ["reason": refusal.message])
        }
        for command in plan.commands {
            logger.info("the fleet is rebalanced", ["command": "\(command)"])
            // One that is refused was planned for a state that is over: the next check sees the new one.
            try await services.manage(command)
        }
    }

    // MARK: What the leader must ask for

    /// The mean of the nodes that answer.
    private func load(_ state: ManagementState, _ observation: FleetObservation) async -> Double {
        let nodes = state.nodes.keys.filter { !observation.isLost($0, state.policy) }.sorted()
        var loads: [Double] = []
        await withTaskGroup(of: Double?.self) { [services] group in
            for node in nodes {
                group.addTask { try? await services.ask(InspectNode(), of: node).load }
            }
            for await load in group { if let load { loads.append(load) } }
        }
        return loads.isEmpty ? 0 : loads.sorted().reduce(0, +) / Double(loads.count)
    }

    /// Learners that can vote, by the word of their clusters' leaders.
    private func caughtUp(
        _ state: ManagementState, _ observation: FleetObservation
    ) async -> [ClusterID: Set<NodeID>] {
        let clusters = state.clusters.sorted().map(\.value).filter { !$0.learners.isEmpty }
        var known: [ClusterID: Set<NodeID>] = [:]
        await withTaskGroup(of: (ClusterID, Set<NodeID>).self) { group in
            for (position, cluster) in clusters.enumerated() {
                if position >= Self.questionsMax, let (id, nodes) = await group.next() { known[id] = nodes }
                let voters = cluster.voters.filter { !observation.isLost($0, state.policy) }
                group.addTask { (cluster.id, await self.caughtUp(in: cluster, asking: voters)) }
            }
            for await (id, nodes) in group { known[id] = nodes }
        }
        return known
    }

    private nonisolated func caughtUp(in cluster: ExecutionCluster, asking voters: [NodeID]) async -> Set<NodeID> {
        var left = voters
        var next = left.first { $0 == services.core.node } ?? left.first
        while let node = next {
            left.removeAll { $0 == node }
            let answer = try? await services.ask(InspectGroups(groups: [cluster.group]), of: node).first?.membership
            guard let answer, answer.incarnation == cluster.incarnation else {
                next = left.first
                continue
            }
            if answer.isLeader { return Set(answer.caughtUp) }
            next = left.first { $0 == answer.leader } ?? left.first
        }
        return []
    }
}

extension NodeServices {
    /// Asks a node, which may be this one.
    func ask<Request: NodeLevelRequest>(_ request: Request, of node: NodeID) async throws -> Request.Reply {
        node == core.node ? try await request.perform(on: self) : try await router.perform(request, on: node)
    }
}
