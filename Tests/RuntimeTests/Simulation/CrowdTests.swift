import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// More runs than a node replays at a time, when it takes them over.
@Suite("Runs that come all at once", .timeLimit(.minutes(5)))
struct CrowdTests {
    private static let go = WorkflowSignal<Int>("go")

    /// How many bodies are in memory, were at most, and have begun.
    private final class Bodies: Sendable {
        private let counts = Lock((now: 0, most: 0, all: 0))
        var most: Int { counts.withLock { $0.most } }
        var all: Int { counts.withLock { $0.all } }
        func forget() { counts.withLock { $0 = (0, 0, 0) } }
        func enter() { counts.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1), $0.all + 1) } }
        func leave() { counts.withLock { $0.now -= 1 } }
    }

    /// Starts runs that one node of three has the code for.
    private func withRuns(
        _ workflow: Workflow<Int, Int>, count: Int, seed: UInt64, restsAfter: Duration?,
        _ body: @escaping @Sendable (SimulatedCluster, [WorkflowRun<Int>]) async throws -> Void
    ) async throws {
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            configuration.limits.replayedBodiesMax = 8
            configuration.limits.restsAfter = restsAfter
        }
        try await withSimulation(seed: seed, nodes: 0, workflows: [], configure: configure) { simulation in
            _ = simulation.addNode(workflows: [workflow])
            for _ in 0..<2 { _ = simulation.addNode(workflows: []) }
            try await simulation.untilFormed()
            var runs: [WorkflowRun<Int>] = []
            for number in 0..<count {
                runs.append(try await simulation.submit(workflow, id: "run-\(number)", input: number))
            }
            try await simulation.wait(until: "all wait", within: .seconds(20)) {
                try await simulation.node(2).describe("run-\(count - 1)").waits.isEmpty == false
            }
            try await body(simulation, runs)
        }
    }

    @Test("forty sleeping runs of a node that comes back are replayed a few at a time, and wake when they are due")
    func sleeping() async throws {
        for seed in Simulation.seeds(2) {
            let bodies = Bodies()
            let nap = Workflow<Int, Int>("nap", version: 1) { number, context in
                bodies.enter()
                defer { bodies.leave() }
                try await context.sleep(for: .seconds(60))
                return number
            }
            try await withRuns(nap, count: 40, seed: seed, restsAfter: .seconds(5)) { simulation, runs in
                simulation.crash(1, dropUnsynced: true)
                await simulation.advance(by: .seconds(1))
                bodies.forget()
                simulation.restart(1)
                await simulation.advance(by: .seconds(20))
                #expect(bodies.most <= 8 && bodies.all == 40, "seed \(seed): \(bodies.most) of \(bodies.all)")
                for (number, run) in runs.enumerated() { #expect(try await run.result() == number) }
                for number in [0, 20, 39] {
                    let events = try await simulation.node(2).history(of: "run-\(number)").events
                    guard case .sleep(let deadline, let firedAt?) = events.first?.detail else {
                        Issue.record("seed \(seed): \(events)")
                        continue
                    }
                    #expect((0..<1_000_000_000).contains(firedAt - deadline), "seed \(seed): \(firedAt - deadline)")
                }
            }
        }
    }

    @Test(
        "where those that run do not come to wait the others follow all the same, and one that is told goes on at once",
        arguments: [nil, .seconds(5)] as [Duration?])
    func working(restsAfter: Duration?) async throws {
        for seed in Simulation.seeds(2) {
            let works = Lock(false)
            let long = Workflow<Int, Int>("long", version: 1) { number, context in
                if number < 30 {
                    try await context.step("work") { step in
                        try await step.clock.sleep(for: .seconds(works.withLock { $0 } ? 600 : 3_600))
                    }
                    return number
                }
                return try await context.receive(Self.go)
            }
            try await withRuns(long, count: 60, seed: seed, restsAfter: restsAfter) { simulation, runs in
                simulation.crash(1, dropUnsynced: true)
                await simulation.advance(by: .seconds(1))
                works.withLock { $0 = true }
                simulation.restart(1)
                try await simulation.wait(until: "it runs again", within: .seconds(20)) {
                    try await simulation.node(2).describe("run-0").info.owner != nil
                }
                let before = simulation.world.now
                try await simulation.signal("run-59", Self.go, 17, from: ("test", 1))
                #expect(try await runs[59].result() == 17)
                #expect(before.duration(to: simulation.world.now) < .seconds(2), "seed \(seed)")
                for number in 30..<59 {
                    try await simulation.signal("run-\(number)", Self.go, number, from: ("test", 1))
                }
                for number in 30..<59 { #expect(try await runs[number].result() == number) }
                #expect(before.duration(to: simulation.world.now) < .seconds(10), "seed \(seed)")
                for number in 0..<30 { #expect(try await runs[number].result() == number) }
            }
        }
    }
}
