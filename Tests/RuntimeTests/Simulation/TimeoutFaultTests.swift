import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// The times that a retry policy gives a step, on whole nodes whose owners crash.
@Suite("Time limits of steps under faults", .timeLimit(.minutes(5)))
struct TimeoutFaultTests {
    enum Kind: CaseIterable, Sendable { case attemptTimeout, heartbeatTimeout, timeLimit }
    private struct Broken: Error {}

    /// When attempts began and were cancelled, in virtual time.
    private final class Log: @unchecked Sendable {
        // Unchecked: each belongs to one simulation and is touched on its thread only.
        struct Begin {
            var attempt: Int
            var token: UInt64
            var from: Int?
            var time: MonotonicTime
        }
        var world: SimulationWorld?
        private(set) var begins: [Begin] = []
        /// How long attempts lasted that were cancelled, of each owner's.
        private(set) var cancelled: [(attempt: Int, token: UInt64, after: Duration)] = []

        func begin(_ step: StepContext) throws -> MonotonicTime {
            let now = world?.now ?? MonotonicTime(nanoseconds: 0)
            begins.append(
                Begin(
                    attempt: step.attempt, token: step.fencingToken, from: try step.lastProgress(as: Int.self),
                    time: now))
            return now
        }
        func cancel(_ step: StepContext, _ begun: MonotonicTime) {
            guard let world else { return }
            cancelled.append((step.attempt, step.fencingToken, begun.duration(to: world.now)))
        }
    }

    private static func policy(_ kind: Kind) -> RetryPolicy {
        var policy = RetryPolicy(attempts: kind == .timeLimit ? nil : 3)
        (policy.delay, policy.jitter) = (.seconds(1), 0)
        switch kind {
        case .attemptTimeout: policy.attemptTimeout = .seconds(2)
        case .heartbeatTimeout: policy.heartbeatTimeout = .seconds(2)
        case .timeLimit: policy.timeLimit = .seconds(20)
        }
        return policy
    }

    /// How long an attempt takes until it is cancelled.
    private static func length(_ kind: Kind) -> Duration {
        switch kind {
        case .attemptTimeout: .seconds(2)
        case .heartbeatTimeout: .milliseconds(3 * 500 + 2_000)
        case .timeLimit: .zero
        }
    }

    /// Never comes to its end. The second attempt is the one that is disturbed.
    private static func endless(_ kind: Kind, _ log: Log, _ saboteur: Saboteur) -> Workflow<Int, Int> {
        let policy = policy(kind)
        return Workflow("endless", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("never", retry: policy) { step in
                let begun = try log.begin(step)
                if step.attempt == 2 { saboteur.pass("attempt") }
                guard kind != .timeLimit else { throw Broken() }
                do {
                    let from = try step.lastProgress(as: Int.self) ?? 0
                    for beat in 1...3 where kind == .heartbeatTimeout {
                        try await step.clock.sleep(for: .milliseconds(500))
                        try await step.heartbeat(from + beat)
                    }
                    try await step.clock.sleep(for: .seconds(1_000))
                } catch is CancellationError {
                    log.cancel(step, begun)
                    throw CancellationError()
                }
            }
            return 1
        }
    }

    private static func delay(_ kind: Kind, _ moment: CrashMoment) -> ClosedRange<Duration> {
        let end = length(kind)
        switch moment {
        case .before: return .zero ... .zero
        // While the attempt lasts; where that takes no time, while its failure is recorded.
        case .during:
            return kind == .timeLimit ? .zero ... .milliseconds(6) : .milliseconds(50)...(end - .milliseconds(50))
        case .after: return end...(end + .milliseconds(kind == .timeLimit ? 1_900 : 20))
        }
    }

    @Test(
        "attempts and their times are kept by whoever goes on with a step, whenever the owner crashes",
        arguments: Kind.allCases, CrashMoment.allCases)
    func limits(kind: Kind, moment: CrashMoment) async throws {
        for seed in Simulation.seeds(3) {
            let log = Log()
            let saboteur = Saboteur(at: "attempt", after: Self.delay(kind, moment))
            let endless = Self.endless(kind, log, saboteur)
            try await withSimulation(seed: seed, nodes: 3, workflows: [endless]) { simulation in
                log.world = simulation.world
                defer { log.world = nil }
                let run = try await simulation.submit(endless, id: "a", input: 0)
                try await saboteur.aim(at: "a", simulation)
                try await saboteur.repair(simulation)
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                let last = try #require(log.begins.last?.attempt)
                #expect(error?.failure?.type == "WorkflowError.stepFailed")
                let cause = kind == .timeLimit ? "Broken" : "WorkflowError.stepTimedOut"
                let message = error?.failure?.message ?? ""
                #expect(message.contains("failed at attempt \(last): \(cause)"), "seed \(seed): \(message)")
                // An attempt that was cut off has its number again; there is no other that is made twice.
                let attempts = log.begins.map(\.attempt)
                #expect(attempts == attempts.sorted() && Set(attempts) == Set(1...last), "seed \(seed): \(attempts)")
                #expect(attempts.count <= last + 1 && (kind == .timeLimit || last == 3), "seed \(seed): \(attempts)")
                #expect(Set(log.begins.map(\.token)) == [1, 2], "seed \(seed)")
                try Self.check(kind, moment, log, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    private static func check(_ kind: Kind, _ moment: CrashMoment, _ log: Log, _ comment: Comment) throws {
        let first = try #require(log.begins.first?.time)
        switch kind {
        case .attemptTimeout, .heartbeatTimeout:
            // The one that the crash cut off was cancelled with its node.
            let whole = log.cancelled.filter { moment == .after || $0.attempt != 2 || $0.token != 1 }.map(\.after)
            #expect(whole.count >= 3, comment)
            #expect(whole.allSatisfy { $0 >= length(kind) && $0 < length(kind) + .milliseconds(20) }, "\(whole)")
            // What an attempt told before it fell silent is where the next one goes on.
            let told = log.begins.map { $0.from ?? 0 }
            #expect(kind == .attemptTimeout ? told.allSatisfy { $0 == 0 } : told.last ?? 0 >= 6, "\(told)")
        case .timeLimit:
            #expect(log.begins.allSatisfy { first.duration(to: $0.time) < .seconds(20) }, comment)
            #expect(log.begins.count >= 4, comment)
        }
    }
}
