import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

extension Scenario {
    /// Whole nodes that run workflows.
    package static let workflows = Scenario(
        name: "workflows",
        summary: "whole nodes: acknowledged runs complete, each step is recorded once, fencing tokens rise",
        nodeCounts: [3, 3, 4, 5], rates: .survivable,
        limits: SimulationLimits(virtualTime: .seconds(1_200), steps: 50_000_000)
    ) { run in
        let load = WorkflowLoad(run)
        try await withCluster(in: run.world) { cluster in try await load.play(on: cluster) }
    }
}

/// Clients that start workflows on every node while faults happen, and what is checked of them.
private final class WorkflowLoad: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only.
    /// What must be done once the faults have ended: a cluster, every run, and equal states.
    private static let formingLimit: Duration = .seconds(30)
    private static let agreementLimit: Duration = .seconds(30)

    private let run: ScenarioRun
    private let oracle = GroupOracle()
    private var world: SimulationWorld { run.world }

    init(_ run: ScenarioRun) { self.run = run }

    func play(on cluster: SimulatedCluster) async throws {
        do {
            try await checkedPlay(on: cluster)
        } catch {
            throw oracle.failure ?? error
        }
        try oracle.check()
    }

    private func checkedPlay(on cluster: SimulatedCluster) async throws {
        cluster.observer = oracle
        let threshold = 20 + Int(world.random(below: 400))
        let window = run.drawLogWindow()
        cluster.configure = { configuration in
            configuration.groups.logWindowBytes = window
            configuration.groups.snapshotThreshold = threshold
            configuration.groups.entriesKeptBehindSnapshot = threshold / 4
            configuration.limits.restsAfter = .milliseconds(500)
            configuration.limits.stepsInMemory = 1
        }
        let clients = WorkflowClients(WorkflowNodes(cluster), oracle)
        for _ in 0..<run.nodeCount { cluster.addNode(workflows: [clients.workflow]) }
        try await cluster.untilFormed()
        let end = world.now.advanced(by: run.load)
        try await withThrowingTaskGroup(of: Void.self) { group in
            clients.work(until: end, in: &group)
            group.addTask { [self] in try await run.inject(into: clients.nodes, until: end) }
            try await group.waitForAll()
        }
        try await cluster.untilFormed(within: Self.formingLimit)
        try await clients.awaitRuns()
        try await untilEqual(clients.nodes)
    }

    private func untilEqual(_ nodes: WorkflowNodes) async throws {
        try await world.wait(
            until: "equal states", within: Self.agreementLimit, every: .milliseconds(100)
        ) { [self] in
            var seen: Set<[UInt64]> = []
            for id in nodes.nodes {
                let hashes = try await nodes.node(id)?.stateHashes() ?? []
                for (group, index, hash) in hashes { oracle.replica(of: group, reached: hash, at: index) }
                seen.insert(hashes.flatMap { [$0.group.rawValue, $0.index.rawValue, $0.hash] })
            }
            try oracle.check()
            return seen.count == 1
        }
    }
}
