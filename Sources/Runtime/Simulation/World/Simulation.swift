import FlotillaIO
import Glibc

/// Runs scenarios under a seeded executor with virtual time.
public enum Simulation {
    /// How much may still run at the body's last moment, without time passing, before that counts as a leftover.
    static let drainSteps: UInt64 = 100_000
    /// What a scenario that failed gets to unwind, after its tasks were cancelled.
    static let unwindSteps: UInt64 = 100_000

    /// Runs `body` and everything it starts on a thread of its own, deterministically, until the body has finished.
    ///
    /// Several may run at the same time, one thread each. The body runs as a task of the simulation and inherits the
    /// caller's task-local values (so that a test's expectations are counted for that test). It must reach the world
    /// only from tasks, timers and callbacks of this simulation.
    ///
    /// On the way out the scenario must be at rest: no living loop's timer, no sleeper, no worker's call pending.
    /// After an error the body's task and all sleepers are cancelled, paused processes go on, and everything gets a
    /// bounded number of steps to unwind. Tasks that are still suspended then are lost, memory included.
    /// - Throws: `SimulationError`, always with the seed.
    public static func run<Value: Sendable>(
        seed: UInt64, limits: SimulationLimits = SimulationLimits(),
        _ body: @escaping @Sendable (SimulationWorld) async throws -> Value
    ) async throws -> SimulationResult<Value> {
        let world = SimulationWorld(seed: seed, limits: limits)
        let outcome = Outcome<Value>()
        let task = startBody(in: world, outcome, body)
        var thread: pthread_t?
        await withUnsafeContinuation { continuation in
            thread = startThread {
                ExecutorHook.inside(world) {
                    outcome.failure = drive(world, task) { outcome.body != nil }
                }
                // Outside again: the caller's task goes back to the pool it came from.
                continuation.resume()
            }
            if thread == nil { continuation.resume() }
        }
        guard let thread else { throw world.error(.noThread, "the system has no thread to spare") }
        // Its last act was to resume us, so this waits for its exit alone.
        pthread_join(thread, nil)
        // A body that threw could not tidy up: what it left behind says less than what it threw.
        if let failure = outcome.failure, failure.code != .leftover || outcome.value != nil {
            throw failure
        }
        switch outcome.body {
        case .success(let value)?:
            return SimulationResult(
                value: value, seed: seed, traceHash: world.traceHash, steps: world.steps,
                elapsed: SimulationWorld.start.duration(to: world.now))
        case .failure(let cause)?:
            throw world.error(.bodyFailed, "the body threw \(cause)", cause: cause)
        case nil:
            preconditionFailure("the simulation with seed \(seed) stopped before its body finished")
        }
    }

    /// The seeds for a random test: 1 to `count`, always the same, so that a test does not fail by luck. The
    /// environment variable FLOTILLA_SEED replays one (`FLOTILLA_SEED=17`) or draws new ones (`FLOTILLA_SEED=random`).
    public static func seeds(_ count: Int) -> [UInt64] {
        guard let text = getenv("FLOTILLA_SEED").map({ String(cString: $0) }) else { return Array(1...UInt64(count)) }
        if let seed = UInt64(text) { return [seed] }
        precondition(text == "random", "FLOTILLA_SEED is \(text); it takes a number or the word random")
        return (0..<count).map { _ in .random(in: 0 ... .max) }
    }

    /// The root of everything in the world: the one task that is nobody's child, because the simulation stands for the
    /// process. It is made in the caller's context, for its task-local values, and lands on the ready list.
    private static func startBody<Value: Sendable>(
        in world: SimulationWorld, _ outcome: Outcome<Value>,
        _ body: @escaping @Sendable (SimulationWorld) async throws -> Value
    ) -> Task<Void, Never> {
        ExecutorHook.inside(world) {
            Task {
                let result: Result<Value, any Error>
                do {
                    result = .success(try await body(world))
                } catch {
                    result = .failure(error)
                }
                world.preconditionOnThread()
                outcome.body = result
            }
        }
    }

    private static func drive(
        _ world: SimulationWorld, _ task: Task<Void, Never>, until isDone: () -> Bool
    ) -> SimulationError? {
        defer { world.tearDown() }
        let failure =
            world.drive(limits: world.limits, until: isDone) ?? world.drain(maxSteps: drainSteps)
            ?? world.leftovers().map { world.error(.leftover, $0) }
        if failure != nil {
            task.cancel()
            world.unwind()
            let rest = SimulationLimits(
                virtualTime: .seconds(1_000_000), steps: world.steps + unwindSteps)
            // Whatever stops these stops them because of the failure already found.
            _ = world.drive(limits: rest, stopsAtFailure: false, until: isDone)
            _ = world.drain(maxSteps: unwindSteps)
        }
        return failure
    }
}

/// What the body came to.
private final class Outcome<Value: Sendable>: @unchecked Sendable {
    // Unchecked: the simulation thread's until that has been joined, and the caller's then.
    var body: Result<Value, any Error>?
    var value: Value? { try? body?.get() }
    /// Why the simulation did not come to rest, whatever the body came to.
    var failure: SimulationError?
}

/// Starts a thread, to be joined. Nil if there is none to be had.
private func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let box = Unmanaged.passRetained(Box(body))
    var thread = pthread_t()
    let result = pthread_create(
        &thread, nil,
        { argument in
            // Made by `passRetained` above, and given up here.
            if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, box.toOpaque())
    guard result == 0 else {
        box.release()
        return nil
    }
    return thread
}
