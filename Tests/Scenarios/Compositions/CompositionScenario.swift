import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

extension Scenario {
    /// Whole nodes whose workflows have to do with each other, in one cluster or in several that come and go.
    package static let compositions = Scenario(
        name: "compositions",
        summary:
            "parents, children, signals between workflows, new executions and schedules: each child is started, each "
            + "signal received and each firing started once, and every parent ends",
        nodeCounts: [3, 4, 5, 5], rates: .survivable,
        limits: SimulationLimits(virtualTime: .seconds(1_800), steps: 100_000_000)
    ) { run in
        try await withCluster(in: run.world) { cluster in
            try await CompositionPlay(run, cluster).play()
        }
    }
}

/// One history of workflows that are tied to each other. Touched on the simulation's thread only.
private final class CompositionPlay: @unchecked Sendable {
    // Unchecked: see above.
    private static let clientCount = 2
    private static let readyLimit: Duration = .seconds(60)
    /// For what has begun to end, once there are no faults.
    private static let endLimit: Duration = .seconds(120)

    private let run: ScenarioRun
    private let cluster: SimulatedCluster
    private let oracle = GroupOracle()
    private let nodes: WorkflowNodes
    private let steps = StepLog()
    private let families: Families
    private let schedules: Schedules
    /// Parents that may have begun.
    private var started: Set<Int> = []
    private var acknowledged: Set<Int> = []
    private var world: SimulationWorld { run.world }

    init(_ run: ScenarioRun, _ cluster: SimulatedCluster) {
        (self.run, self.cluster) = (run, cluster)
        nodes = WorkflowNodes(cluster)
        families = Families(steps)
        schedules = Schedules(nodes, leaf: families.leaf.type.name)
    }

    func play() async throws {
        do {
            try await checkedPlay()
        } catch {
            throw oracle.failure ?? error
        }
        try oracle.check()
    }

    private func checkedPlay() async throws {
        cluster.observer = oracle
        let threshold = 50 + Int(world.random(below: 400))
        let window = run.drawLogWindow()
        cluster.configure = { configuration in
            configuration.groups.logWindowBytes = window
            configuration.groups.snapshotThreshold = threshold
            configuration.groups.entriesKeptBehindSnapshot = threshold / 4
            configuration.limits.restsAfter = .milliseconds(500)
        }
        for _ in 0..<run.nodeCount { cluster.addNode(workflows: families.all) }
        try await untilReady()
        for number in 0..<Families.tallyCount {
            guard try await nodes.start(families.tally, id: Families.tallyID(number), input: []) else {
                throw ScenarioFailure("tally \(number) cannot be started")
            }
        }
        try await schedules.create()
        let end = world.now.advanced(by: run.load)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 1...Self.clientCount {
                group.addTask { [self] in try await startParents(from: client * 1_000, until: end) }
            }
            group.addTask { [self] in try await schedules.disturb(until: end) }
            group.addTask { [self] in try await divide(until: end) }
            group.addTask { [self] in try await nodes.compareStates(until: end, by: oracle) }
            group.addTask { [self] in try await run.inject(into: nodes, until: end) }
            try await group.waitForAll()
        }
        try await untilReady()
        try await awaitParents()
        try await schedules.check(steps)
        try await closeTallies()
        try await untilNothingRuns()
        try checkChildren()
        try steps.check()
    }

    private func untilReady() async throws {
        try await world.wait(until: "all nodes are ready", within: Self.readyLimit, every: .milliseconds(200)) {
            [self] in
            for id in nodes.nodes {
                guard let status = try? await nodes.node(id)?.status(), status.ready else { return false }
            }
            return true
        }
    }

    // MARK: What happens

    private func startParents(from first: Int, until end: MonotonicTime) async throws {
        var number = first
        while world.now < end {
            try oracle.check()
            started.insert(number)
            let input = Families.Parent(number: number)
            if try await nodes.start(families.parent, id: Families.id(of: number), input: input) {
                acknowledged.insert(number)
            }
            number += 1
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 2_500)) + 500))
        }
    }

    /// In half of the histories the fleet comes to have two tiers, so that all runs move, and clusters are many.
    private func divide(until end: MonotonicTime) async throws {
        let isDivided = world.random(below: 2) == 0
        let pause = Duration.milliseconds(Int64(world.random(below: UInt64(run.load.components.seconds) * 500)))
        guard isDivided, run.nodeCount > 3 else { return }
        try await world.sleep(for: pause)
        try await nodes.insisting("the policy is another one", within: Self.endLimit) { node in
            var policy = try await node.policy()
            policy.singleClusterBelow = 3
            policy.targetClusterSize = 3
            policy.maximumWorkflowsPerCluster = 12
            policy.idleTimeToLive = .seconds(10)
            policy.memberFailureTimeout = .seconds(8)
            try await node.setPolicy(policy)
        }
        run.log("the fleet has two tiers from here on")
    }

    // MARK: What must come of it

    private func awaitParents() async throws {
        guard !acknowledged.isEmpty else { throw ScenarioFailure("a load without parents shows nothing") }
        for number in acknowledged.sorted() {
            let id = Families.id(of: number)
            let result = try await nodes.insisting("'\(id)' has completed", within: Self.endLimit) { node in
                try await node.result(of: id, as: Int.self, timeout: .seconds(10))
            }
            guard result == Families.result(of: number) else { throw ScenarioFailure("'\(id)' came to \(result)") }
        }
    }

    private func closeTallies() async throws {
        for number in 0..<Families.tallyCount {
            let id = Families.tallyID(number)
            let heard = try await nodes.insisting("'\(id)' has ended", within: Self.endLimit) { node in
                do {
                    try await node.signal(id, Families.heard, Families.enough, from: ("the scenario", 1))
                } catch let error as WorkflowError where error.code == .wrongState {
                    // It has had it.
                }
                return try await node.result(of: id, as: [Int].self, timeout: .seconds(10))
            }
            try Families.check(tally: number, heard: heard, started: started, ended: acknowledged)
        }
    }

    /// Also what nobody was told had begun ends.
    private func untilNothingRuns() async throws {
        try await world.wait(until: "no run is left", within: Self.endLimit, every: .milliseconds(500)) { [self] in
            guard let node = nodes.anyNode() else { return false }
            for status in WorkflowStatus.allCases where !status.isFinished {
                guard let page = try? await node.list(WorkflowFilter(status: status), limit: 1) else { return false }
                guard page.runs.isEmpty, !page.isPartial else { return false }
            }
            return true
        }
    }

    private func checkChildren() throws {
        for child in acknowledged.sorted().flatMap(Families.children(of:)) where !steps.hasRun(child) {
            throw ScenarioFailure("child '\(child)' was not started")
        }
    }
}
