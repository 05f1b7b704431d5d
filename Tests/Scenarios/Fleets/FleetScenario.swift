import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

// Fleets of two tiers that change while workflows run and faults happen: whatever management decides meanwhile, no run
// that was acknowledged is lost, no step is recorded twice, and afterwards the fleet is in balance.

extension Scenario {
    /// TT-33
    package static let growth = fleet(
        "growth",
        "a fleet of 10 nodes grows to 50: runs move out of the first cluster, and the nodes come into balance",
        nodes: 10, rates: .occasional
    ) { try await $0.grow(to: 50) }

    /// TT-33
    package static let shrinkage = fleet(
        "shrinkage", "a fleet of 50 nodes shrinks to 10: nodes hand over what they have, and leave",
        nodes: 50, rates: .occasional
    ) { try await $0.shrink(to: 10) }

    /// TT-33, TT-38
    package static let rebalancing = fleet(
        "rebalancing", "nodes fail, return and come anew while members and runs move",
        nodes: 14, rates: .frequent
    ) { try await $0.grow(to: 20) }

    /// TT-42
    package static let tiers = fleet(
        "tiers", "those who vote in the management group are cut off from the others, again and again",
        nodes: 12, rates: .occasional
    ) { try await $0.partitionTiers() }

    private static func fleet(
        _ name: String, _ summary: String, nodes: Int, rates: FaultRates,
        _ change: @escaping @Sendable (FleetPlay) async throws -> Void
    ) -> Scenario {
        Scenario(
            name: name, summary: summary, nodeCounts: [nodes], rates: rates,
            limits: SimulationLimits(virtualTime: .seconds(1_800), steps: 200_000_000)
        ) { run in
            try await withCluster(in: run.world) { cluster in
                try await FleetPlay(run, cluster).play(change)
            }
        }
    }
}

extension FaultRates {
    /// What a fleet meets while other things are looked at.
    fileprivate static let occasional = FaultRates([
        .cut: 2, .loss: 1, .delay: 1, .reset: 2, .kill: 3, .powerLoss: 2, .pause: 2, .transfer: 2,
    ])
    fileprivate static let frequent = FaultRates([
        .partition: 1, .cut: 4, .loss: 2, .duplication: 2, .reordering: 2, .delay: 2, .reset: 4, .kill: 12,
        .powerLoss: 8, .pause: 6, .transfer: 4, .slowDisk: 2,
    ])
}

/// One history of a fleet. Touched on the simulation's thread only.
final class FleetPlay: @unchecked Sendable {
    // Unchecked: see above.
    private static let restLimit: Duration = .seconds(240)

    private let run: ScenarioRun
    private let cluster: SimulatedCluster
    private let oracle = GroupOracle()
    private let clients: WorkflowClients
    /// Runs that outlast everything that is done to the fleet: what there is to balance.
    private static let sleeper = Workflow<Int, Int>("sleeper", version: 1) { number, context in
        try await context.sleep(for: .seconds(180))
        return number
    }
    private static let sleeperCount = 40
    private var end = MonotonicTime(nanoseconds: 0)
    /// Those that have left for good.
    private var removed: Set<Int> = []
    private var world: SimulationWorld { run.world }

    init(_ run: ScenarioRun, _ cluster: SimulatedCluster) {
        (self.run, self.cluster) = (run, cluster)
        clients = WorkflowClients(WorkflowNodes(cluster), oracle)
    }

    func play(_ change: @escaping @Sendable (FleetPlay) async throws -> Void) async throws {
        do {
            try await checkedPlay(change)
        } catch {
            throw oracle.failure ?? error
        }
        try oracle.check()
    }

    private func checkedPlay(_ change: @escaping @Sendable (FleetPlay) async throws -> Void) async throws {
        cluster.observer = oracle
        cluster.configure = { configuration in
            configuration.limits.restsAfter = .seconds(2)
            configuration.limits.stepsInMemory = 1
            guard configuration.founds else { return }
            var policy = ExecutionClusterPolicy()
            policy.memberFailureTimeout = .seconds(8)
            policy.idleTimeToLive = .seconds(20)
            configuration.executionClusterPolicy = policy
        }
        for _ in 0..<run.nodeCount { addNode() }
        try await untilReady(within: .seconds(120))
        for number in 0..<Self.sleeperCount {
            _ = try await node().start(Self.sleeper, id: "sleeper-\(number)", input: number)
        }
        end = world.now.advanced(by: run.load)
        try await withThrowingTaskGroup(of: Void.self) { group in
            clients.work(until: end, in: &group)
            group.addTask { [self] in try await run.inject(into: clients.nodes, until: end) }
            group.addTask { [self] in try await change(self) }
            try await group.waitForAll()
        }
        try await untilReady(within: .seconds(60))
        try await clients.awaitRuns()
        try await untilAtRest()
        for number in 0..<Self.sleeperCount {
            let result = try await node().result(of: "sleeper-\(number)", as: Int.self, timeout: .seconds(300))
            guard result == number else { throw ScenarioFailure("sleeper \(number) came to \(result)") }
        }
    }

    private func addNode() { cluster.addNode(workflows: [clients.workflow, Self.sleeper]) }

    private func node() throws -> Node {
        guard let node = clients.anyNode() else { throw ScenarioFailure("no node runs") }
        return node
    }

    // MARK: What changes

    func grow(to count: Int) async throws {
        let pause = run.load / (2 * max(1, count - run.nodeCount))
        while cluster.nodes.count < count {
            try await world.sleep(for: pause)
            addNode()
        }
    }

    /// The last ones hand over and leave; the first stay, since the others were told to join at them.
    func shrink(to count: Int) async throws {
        let leaving = cluster.nodes.filter { $0 > count }
        for number in leaving { try await insisting { try await $0.drainNode(NodeID(UInt64(number))) } }
        for number in leaving {
            try await world.wait(
                until: "node \(number) has no clusters", within: Self.restLimit, every: .milliseconds(500)
            ) {
                [self] in
                let clusters = try? await clients.anyNode()?.clusters()
                return clusters?.allSatisfy { !$0.members.contains { $0.node == UInt64(number) } } ?? false
            }
            try await insisting { node in
                do {
                    try await node.removeNode(NodeID(UInt64(number)))
                } catch let error as NodeError where error.code == .unknownNode {
                    // An earlier request did it.
                }
            }
            removed.insert(number)
            clients.nodes.retire(NodeID(UInt64(number)))
        }
    }

    func partitionTiers() async throws {
        while world.now < end {
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 6_000)) + 1_000))
            let roles = try await node().roles()
            let voters = roles.filter { $0.value == .voter }.map { Int($0.key.rawValue) }.sorted()
            cluster.partition(voters, from: cluster.nodes.filter { !voters.contains($0) })
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 5_000)) + 1_000))
            cluster.heal()
        }
    }

    /// Asks one node after the other until one has done it.
    private func insisting(_ body: (Node) async throws -> Void) async throws {
        while true {
            if let node = clients.anyNode() {
                do {
                    return try await body(node)
                } catch let error as NodeError where error.code == .refused || error.code == .unknownNode {
                    throw error
                } catch {
                    run.log("asked again: \(error)")
                }
            }
            try await world.sleep(for: .milliseconds(500))
        }
    }

    // MARK: What must be

    private func untilReady(within limit: Duration) async throws {
        try await world.wait(until: "all nodes are ready", within: limit, every: .milliseconds(200)) { [self] in
            for number in cluster.nodes where !removed.contains(number) {
                guard let node = try? cluster.node(number), let status = try? await node.status(), status.ready else {
                    return false
                }
            }
            return true
        }
    }

    /// No cluster drains, nobody waits for anything, the common cluster is gone, and the load is spread as the policy
    /// wants it.
    private func untilAtRest() async throws {
        try await world.wait(until: "the fleet is at rest", within: Self.restLimit, every: .milliseconds(500)) {
            [self] in
            guard let node = clients.anyNode(), let clusters = try? await node.clusters() else { return false }
            let isAtRest = clusters.allSatisfy { cluster in
                !cluster.spansFleet && cluster.phase == "active" && cluster.outgoing == 0
                    && cluster.members.allSatisfy { $0.role == "voter" }
            }
            guard isAtRest, let imbalance = try? await node.imbalance(), let policy = try? await node.policy() else {
                return false
            }
            return imbalance <= policy.rebalanceThreshold
        }
    }
}
