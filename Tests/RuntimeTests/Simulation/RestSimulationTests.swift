import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Runs that leave memory while they wait, on whole nodes, of which some crash.
@Suite("Runs that rest, simulated", .timeLimit(.minutes(5)))
struct RestSimulationTests {
    private static let go = WorkflowSignal<Int>("go")
    private static let change = WorkflowUpdate<Int, Int>("change")

    private static let child = Workflow<Int, Int>("child", version: 1) { seconds, context in
        try await context.sleep(for: .seconds(seconds))
        return seconds
    }

    private static let restSoon: @Sendable (inout NodeConfiguration) -> Void = { $0.limits.restsAfter = .seconds(2) }

    /// One branch for each thing that can be waited for. A condition holds when a signal has come.
    private static func waiting(_ token: Lock<String>) -> Workflow<Int, [Int]> {
        Workflow("waiting", version: 1) { _, context in
            let approval = try await context.awakeable("approval", as: Int.self)
            token.withLock { $0 = approval.token }
            let signalled = context.variable(0)
            return try await withThrowingTaskGroup(of: Int.self) { group in
                group.addTask {
                    try await context.sleep(for: .seconds(50), name: "nap")
                    return try await context.step("after the nap") { _ in 1 }
                }
                group.addTask {
                    signalled.set(try await context.receive(Self.go))
                    return 2
                }
                group.addTask {
                    let request = try await context.receive(Self.change)
                    try await request.reply(request.input + 1)
                    return 4
                }
                group.addTask { try await approval.value() }
                group.addTask {
                    try await context.condition("signalled") { signalled.value == 0 ? nil : signalled.value }
                }
                group.addTask { try await context.child(Self.child, name: "child", input: 32).result() }
                return try await group.reduce(into: []) { $0.append($1) }.sorted()
            }
        }
    }

    @Test(
        "whatever a run waits for finds it while it rests, whether or not its owner crashes", arguments: [false, true])
    func everything(crashes: Bool) async throws {
        for seed in Simulation.seeds(5) {
            let token = Lock("")
            let waiting = Self.waiting(token)
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [waiting, Self.child],
                configure: Self.restSoon
            ) { simulation in
                let run = try await simulation.submit(waiting, id: "a", input: 0)
                func rest() async throws {
                    try await simulation.wait(until: "the run rests", within: .seconds(30)) {
                        guard let owner = try await simulation.owner(of: "a"), let node = try? simulation.node(owner)
                        else {
                            return false
                        }
                        let engine = try await node.running().clusters
                            .engine(of: ExecutionCluster.commonGroup)
                        return engine.state.withLock { state in
                            state.running[RunKey("default", "a")] == nil && state.resting.count > 0
                        }
                    }
                }
                try await rest()
                if crashes, let owner = try await simulation.owner(of: "a") {
                    simulation.crash(owner, dropUnsynced: true)
                    try await rest()
                    simulation.restart(owner)
                }
                let node = try simulation.node(Int(simulation.world.random(below: 3)) + 1)
                #expect(try await node.update("a", Self.change, 6, updateID: "u") == 7, "seed \(seed)")
                try await rest()
                try await node.signal("a", Self.go, 8)
                try await rest()
                try await node.resolve(token.withLock { $0 }, 16)
                #expect(try await run.result() == [1, 2, 4, 8, 16, 32], "seed \(seed)")
                try await replay(history: try await node.wholeHistory(of: "a"), against: waiting)
            }
        }
    }
}
