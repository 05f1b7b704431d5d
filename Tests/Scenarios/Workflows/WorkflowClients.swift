import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

/// Clients that start workflows on every node while faults happen, and what is checked of their runs.
final class WorkflowClients: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only.
    private static let clientCount = 4
    private static let stepCount = 3
    private static let workflowName = "random"
    private static let completionLimit: Duration = .seconds(60)

    let nodes: WorkflowNodes
    let workflow: Workflow<Int, [String]>
    private let oracle: GroupOracle
    private let steps: StepLog
    private(set) var acknowledged: Set<Int> = []
    private var world: SimulationWorld { nodes.world }

    init(_ nodes: WorkflowNodes, _ oracle: GroupOracle) {
        (self.nodes, self.oracle) = (nodes, oracle)
        let steps = StepLog()
        self.steps = steps
        workflow = Self.makeWorkflow(steps)
    }

    private static func makeWorkflow(_ steps: StepLog) -> Workflow<Int, [String]> {
        Workflow(workflowName, version: 1) { (number: Int, context: WorkflowContext) async throws -> [String] in
            var results: [String] = []
            for step in 1...stepCount {
                results.append(
                    try await context.step(repeats(number) ? "step" : "step \(step)") { scope in
                        steps.add("\(number)/\(step)", scope)
                        return "\(number)/\(step)"
                    })
                try await context.sleep(for: .milliseconds(Int64(number % 7) * 300 + 100))
            }
            return results
        }
    }

    /// Whether a run takes one step again and again: then most of its steps are in the history.
    private static func repeats(_ number: Int) -> Bool { !number.isMultiple(of: 2) }

    /// Starts runs and looks at what they recorded.
    func work(until end: MonotonicTime, in group: inout ThrowingTaskGroup<Void, any Error>) {
        for client in 0..<Self.clientCount {
            group.addTask { [self] in try await startRuns(from: client * 100_000, until: end) }
        }
        group.addTask { [self] in try await lookAtRecords(until: end) }
        group.addTask { [self] in try await nodes.compareStates(until: end, by: oracle) }
    }

    // MARK: Clients

    private func startRuns(from first: Int, until end: MonotonicTime) async throws {
        var number = first
        while world.now < end {
            try oracle.check()
            if try await start(number) { acknowledged.insert(number) }
            number += 1
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_200)) + 100))
        }
    }

    /// - Returns: whether the start was acknowledged. The same start is asked for until then, or given up.
    private func start(_ number: Int) async throws -> Bool {
        try await nodes.start(workflow, id: Self.id(number), input: number)
    }

    private static func id(_ number: Int) -> String { "run-\(number)" }

    func anyNode() -> Node? { nodes.anyNode() }

    // MARK: Checks under way

    private func lookAtRecords(until end: MonotonicTime) async throws {
        while world.now < end {
            try await world.sleep(for: .milliseconds(500))
            guard let node = anyNode() else { continue }
            for number in acknowledged.sorted().suffix(5) {
                let description = try? await nodes.withTimeLimit(.seconds(2)) {
                    try await node.describe(Self.id(number))
                }
                for step in description?.steps ?? [] {
                    guard Self.repeats(number) else {
                        steps.sawRecorded("\(number)/\(step.name.dropFirst("step ".count))")
                        continue
                    }
                    // Those before it are recorded too.
                    for earlier in 0...step.occurrence { steps.sawRecorded("\(number)/\(earlier + 1)") }
                }
            }
        }
    }

    // MARK: Checks at the end

    /// Every run that was acknowledged completes, asked of any node, and no step of it ran again after it was recorded.
    func awaitRuns() async throws {
        guard acknowledged.count > Self.clientCount else {
            throw ScenarioFailure("a load of \(acknowledged.count) runs shows nothing")
        }
        for number in acknowledged.sorted() {
            guard let node = anyNode() else { throw ScenarioFailure("all nodes are down after the faults") }
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
        try steps.check()
    }
}
