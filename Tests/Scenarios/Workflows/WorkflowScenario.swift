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
    private static let clientCount = 4
    private static let stepCount = 3
    private static let workflowName = "random"
    /// What must be done once the faults have ended: a cluster, every run, and equal states.
    private static let formingLimit: Duration = .seconds(30)
    private static let completionLimit: Duration = .seconds(60)
    private static let agreementLimit: Duration = .seconds(30)
    private static let stateCheckInterval: Duration = .seconds(4)

    private let run: ScenarioRun
    private let oracle = GroupOracle()
    private let steps = StepLog()
    private let workflow: Workflow<Int, [String]>
    private var acknowledged: Set<Int> = []
    private var world: SimulationWorld { run.world }

    init(_ run: ScenarioRun) {
        self.run = run
        workflow = Self.makeWorkflow(steps)
    }

    private static func makeWorkflow(_ steps: StepLog) -> Workflow<Int, [String]> {
        Workflow(workflowName, version: 1) { (number: Int, context: WorkflowContext) async throws -> [String] in
            var results: [String] = []
            for step in 1...stepCount {
                results.append(
                    try await context.step("step \(step)") { scope in
                        steps.add("\(number)/\(step)", scope)
                        return "\(number)/\(step)"
                    })
                try await context.sleep(for: .milliseconds(Int64(number % 7) * 300 + 100))
            }
            return results
        }
    }

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
        }
        for _ in 0..<run.nodeCount { cluster.addNode(workflows: [workflow]) }
        try await cluster.untilFormed()
        let nodes = WorkflowNodes(cluster)
        let end = world.now.advanced(by: run.load)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<Self.clientCount {
                group.addTask { [self] in try await startRuns(from: client * 100_000, on: nodes, until: end) }
            }
            group.addTask { [self] in try await lookAtRecords(nodes, until: end) }
            group.addTask { [self] in try await compareStates(nodes, until: end) }
            group.addTask { [self] in try await run.inject(into: nodes, until: end) }
            try await group.waitForAll()
        }
        try await cluster.untilFormed(within: Self.formingLimit)
        try await awaitRuns(nodes)
        try steps.check()
        try await untilEqual(nodes)
    }

    // MARK: Clients

    private func startRuns(from first: Int, on nodes: WorkflowNodes, until end: MonotonicTime) async throws {
        var number = first
        while world.now < end {
            try oracle.check()
            if try await start(number, on: nodes) { acknowledged.insert(number) }
            number += 1
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_200)) + 100))
        }
    }

    /// - Returns: whether the start was acknowledged. The same start is asked for until then, or given up.
    private func start(_ number: Int, on nodes: WorkflowNodes) async throws -> Bool {
        for _ in 0..<3 {
            if let node = anyNode(nodes) {
                do {
                    _ = try await withTimeLimit(.seconds(10)) { [workflow] in
                        try await node.start(workflow, id: Self.id(number), input: number)
                    }
                    return true
                } catch let error as WorkflowError where error.code == .conflict {
                    throw error
                } catch {
                    // Unknown outcome, or a node that is not there: asked again.
                }
            }
            try await world.sleep(for: .milliseconds(300))
        }
        return false
    }

    private static func id(_ number: Int) -> String { "run-\(number)" }

    private func anyNode(_ nodes: WorkflowNodes) -> Node? {
        let running = nodes.nodes.filter { nodes.isRunning($0) }
        guard !running.isEmpty else { return nil }
        return nodes.node(running[Int(world.random(below: UInt64(running.count)))])
    }

    /// A node that stands still does not answer, and its callers are not part of it.
    private func withTimeLimit<Value: Sendable>(
        _ limit: Duration, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask { [world] in
                try await world.sleep(for: limit)
                throw CancellationError()
            }
            defer { group.cancelAll() }
            return try await group.next()!
        }
    }

    // MARK: Checks under way

    private func lookAtRecords(_ nodes: WorkflowNodes, until end: MonotonicTime) async throws {
        while world.now < end {
            try await world.sleep(for: .milliseconds(500))
            guard let node = anyNode(nodes) else { continue }
            for number in acknowledged.sorted().suffix(5) {
                let description = try? await withTimeLimit(.seconds(2)) { try await node.describe(Self.id(number)) }
                for step in description?.steps ?? [] {
                    steps.sawRecorded("\(number)/\(step.name.dropFirst("step ".count))")
                }
            }
        }
    }

    /// Replicas of one group at one index have one state.
    private func compareStates(_ nodes: WorkflowNodes, until end: MonotonicTime) async throws {
        while world.now < end {
            try await world.sleep(for: Self.stateCheckInterval)
            for id in nodes.nodes {
                guard let node = nodes.node(id) else { continue }
                let hashes = try? await withTimeLimit(.seconds(1)) { try await node.stateHashes() }
                for (group, index, hash) in hashes ?? [] { oracle.replica(of: group, reached: hash, at: index) }
            }
        }
    }

    // MARK: Checks at the end

    private func awaitRuns(_ nodes: WorkflowNodes) async throws {
        guard acknowledged.count > Self.clientCount else {
            throw ScenarioFailure("a load of \(acknowledged.count) runs shows nothing")
        }
        for number in acknowledged.sorted() {
            let id = nodes.nodes[number % nodes.nodes.count]
            guard let node = nodes.node(id) else { throw ScenarioFailure("\(id) is down after the faults") }
            let results: [String]
            do {
                results = try await node.result(
                    of: Self.id(number), as: [String].self, timeout: Self.completionLimit)
            } catch {
                throw ScenarioFailure("\(Self.id(number)), which was acknowledged, does not complete: \(error)")
            }
            guard results == (1...Self.stepCount).map({ "\(number)/\($0)" }) else {
                throw ScenarioFailure("\(Self.id(number)) came to \(results)")
            }
        }
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
