public import Flotilla
import FlotillaIO

/// Runs a scenario on a cluster of simulated nodes: the nodes of production, on virtual time, with a simulated network
/// and disk. The scenario begins when the nodes have formed a cluster.
///
/// ```swift
/// try await withSimulation(seed: 42, nodes: 5, workflows: [orderProcessing]) { simulation in
///     let run = try await simulation.node(1).start(orderProcessing, id: "a", input: order)
///     simulation.partition([1, 2], from: [3, 4, 5])
///     await simulation.advance(by: .seconds(5))
///     simulation.heal()
///     simulation.crash(3, dropUnsynced: true)
///     simulation.restart(3)
///     #expect(try await run.result().ok)
/// }
/// ```
///
/// One seed is one history, in every process and build. Time passes only while the scenario waits, and costs nothing;
/// waiting for a result drives it, up to `limits`. Steps that wait do so by `StepContext.clock`: `Task.sleep`,
/// `Task.yield` and `@MainActor` leave the simulation and end it with an error.
///
/// The simulation runs on a thread of its own, so that many can run at the same time. What the scenario starts must
/// have ended when it returns; the nodes end with it.
/// - Parameters:
///   - seed: chooses every delay, order and random number. `Simulation.seeds` makes some for a random test.
///   - nodes: how many there are at the beginning. With 0 the scenario adds its own.
///   - workflows: what each of them can run.
///   - limits: how far virtual time may go, an hour by default, and how many steps may be taken.
///   - configure: changes each node's configuration before it starts; see `SimulatedCluster.configure`.
/// - Returns: what `body` returned, and the hash of the history.
/// - Throws: `SimulationError`, always with the seed: `bodyFailed` where `body` threw, and others where the scenario
///   did not reach its end, left something behind, or did what cannot be done.
@discardableResult
public func withSimulation<Value: Sendable>(
    seed: UInt64, nodes: Int = 3, workflows: [any RegisterableWorkflow], limits: SimulationLimits = SimulationLimits(),
    configure: (@Sendable (inout NodeConfiguration) -> Void)? = nil,
    _ body: @escaping @Sendable (_ simulation: SimulatedCluster) async throws -> Value
) async throws -> SimulationResult<Value> {
    precondition(nodes >= 0, "a cluster of \(nodes) nodes cannot be simulated")
    return try await Simulation.run(seed: seed, limits: limits) { world in
        try await withCluster(in: world) { simulation in
            simulation.configure = configure
            for _ in 0..<nodes { simulation.addNode(workflows: workflows) }
            if nodes > 0 { try await simulation.untilFormed() }
            return try await body(simulation)
        }
    }
}

/// Gives nodes a scope: when this returns, all of them have ended.
package func withCluster<Value: Sendable>(
    in world: SimulationWorld, _ body: (SimulatedCluster) async throws -> Value
) async throws -> Value {
    // Unbounded, but the scenario takes starts out as fast as it makes them: both are on one thread.
    let (starts, launch) = AsyncStream<@Sendable () async -> Void>.makeStream(bufferingPolicy: .unbounded)
    return try await withThrowingTaskGroup(of: Void.self) { scope in
        scope.addTask {
            await withDiscardingTaskGroup { group in
                for await start in starts { group.addTask { await start() } }
            }
        }
        let simulation = SimulatedCluster(world) { launch.yield($0) }
        let result: Result<Value, any Error>
        do { result = .success(try await body(simulation)) } catch { result = .failure(error) }
        simulation.endAll()
        launch.finish()
        try await scope.waitForAll()
        if case .success = result, let failure = simulation.failure() { throw failure }
        return try result.get()
    }
}
