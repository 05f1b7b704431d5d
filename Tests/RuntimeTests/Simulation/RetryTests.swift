import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Steps that are tried again, on whole nodes under virtual time.
@Suite struct RetryTests {
    private struct Broken: Error {}
    private struct Refused: Error {}

    /// What happened in the world outside: when each attempt began, and its number.
    private final class Log: Sendable {
        private let entries = Lock<[(attempt: Int, time: NodeClock.Instant)]>([])
        func add(_ step: StepContext) { entries.withLock { $0.append((step.attempt, step.clock.now)) } }
        var attempts: [Int] { entries.withLock { $0.map(\.attempt) } }
        var pauses: [Duration] {
            entries.withLock { entries in zip(entries, entries.dropFirst()).map { $0.time.duration(to: $1.time) } }
        }
    }

    private static func policy(_ attempts: Int?) -> RetryPolicy {
        var policy = RetryPolicy(attempts: attempts) { !($0 is Refused) }
        policy.delay = .seconds(1)
        policy.jitter = 0
        return policy
    }

    /// One step that fails until its attempt `successAt`.
    private static func flaky(
        _ log: Log, _ policy: RetryPolicy, successAt: Int = .max, takes: Duration = .milliseconds(10)
    ) -> Workflow<Int, Int> {
        Workflow("flaky", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("charge", retry: policy) { step in
                log.add(step)
                try await step.clock.sleep(for: takes)
                guard step.attempt >= successAt else { throw Broken() }
                return step.attempt
            }
        }
    }

    private func failure(_ body: () async throws -> Int) async throws -> WorkflowFailure? {
        let error = await #expect(throws: WorkflowError.self) { try await body() }
        return error?.failure
    }

    @Test("a step is tried again with growing pauses until it succeeds, and the attempt is recorded with its result")
    func succeeds() async throws {
        for seed in Simulation.seeds(3) {
            let log = Log()
            let workflow = Self.flaky(log, Self.policy(10), successAt: 4)
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow]) { simulation in
                let run = try await simulation.submit(workflow, id: "a", input: 0)
                await simulation.advance(by: .seconds(2))
                let waiting = try await simulation.node(1).describe("a").failedSteps
                #expect(waiting.map(\.name) == ["charge"] && waiting.first?.failure.type == "Broken")
                #expect(waiting.first?.nextAt ?? 0 > waiting.first?.failedAt ?? .max)
                #expect(try await run.result() == 4)
                #expect(log.attempts == [1, 2, 3, 4])
                for (pause, least) in zip(log.pauses, [1, 2, 4]) {
                    #expect(pause >= .seconds(least) && pause < .seconds(least) + .milliseconds(500))
                }
                let events = try await simulation.node(2).history(of: "a").events
                #expect(events.count == 1)
                guard case .step(_, _, attempt: 4, let duration) = events[0].detail else {
                    Issue.record("\(events)")
                    return
                }
                #expect(duration >= .milliseconds(10))
                #expect(try await simulation.node(2).describe("a").failedSteps.isEmpty)
            }
        }
    }

    @Test("when no attempt is left, or an error says that none helps, the step has failed, and its failure is told")
    func fails() async throws {
        let log = Log()
        let workflow = Self.flaky(log, Self.policy(3))
        let refused = Workflow("refused", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("refused", retry: Self.policy(nil)) { _ in throw Refused() }
            return 0
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow, refused]) { simulation in
            let run = try await simulation.submit(workflow, id: "a", input: 0)
            let failure = try await failure { try await run.result() }
            #expect(failure?.type == "WorkflowError.stepFailed")
            #expect(failure?.message == "step charge#0 failed at attempt 3: Broken: Broken()")
            #expect(log.attempts == [1, 2, 3])
            let at = try await simulation.submit(refused, id: "b", input: 0)
            #expect(try await self.failure { try await at.result() }?.message.contains("attempt 1: Refused") == true)
            let history = try await simulation.node(1).wholeHistory(of: "a")
            try await replay(history: history, against: workflow)
            let read = try WorkflowHistory(json: HistoryJSON.value(history).canonicalBytes)
            try await replay(history: read, against: workflow)
            #expect(log.attempts == [1, 2, 3])
            // Tried again from outside, it has all its attempts.
            try await simulation.control("a", .retry)
            _ = try await self.failure { try await run.result() }
            #expect(log.attempts == [1, 2, 3, 1, 2, 3])
        }
    }

    @Test("an attempt that takes too long is cancelled and has failed; the time in all ends the step")
    func timeouts() async throws {
        let (log, other) = (Log(), Log())
        var slow = Self.policy(3)
        slow.attemptTimeout = .seconds(2)
        var limited = Self.policy(nil)
        limited.timeLimit = .seconds(10)
        let workflow = Self.flaky(log, slow, takes: .seconds(60))
        let never = limited
        let late = Workflow("late", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("charge", retry: never) { step in
                other.add(step)
                throw Broken()
            }
            return 0
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow, late]) { simulation in
            let run = try await simulation.submit(workflow, id: "a", input: 0)
            let failure = try await failure { try await run.result() }
            #expect(failure?.message.contains("attempt 3: WorkflowError.stepTimedOut") == true)
            #expect(log.attempts == [1, 2, 3])
            for (pause, least) in zip(log.pauses, [3, 4]) {
                #expect(pause >= .seconds(least) && pause < .seconds(least) + .milliseconds(500))
            }
            let second = try await simulation.submit(late, id: "b", input: 0)
            #expect(try await self.failure { try await second.result() }?.message.contains("Broken") == true)
            // After 0, 1, 3 and 7 seconds; the next would come after 15.
            #expect(other.attempts == [1, 2, 3, 4])
        }
    }

    @Test("a body that takes longer and returns a value all the same has done the step")
    func lateSuccess() async throws {
        var policy = Self.policy(3)
        policy.attemptTimeout = .seconds(1)
        let log = Log()
        let patient = policy
        let workflow = Workflow("patient", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("charge", retry: patient) { step in
                log.add(step)
                try? await step.clock.sleep(for: .seconds(5))
                return step.attempt
            }
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow]) { simulation in
            let run = try await simulation.submit(workflow, id: "a", input: 0)
            #expect(try await run.result() == 1)
            #expect(log.attempts == [1])
        }
    }

    @Test("attempts count on over crashes of the owners: none that failed is forgotten, and none is made too many")
    func takeovers() async throws {
        for seed in Simulation.seeds(6) {
            let log = Log()
            let workflow = Self.flaky(log, Self.policy(6), takes: .milliseconds(400))
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow]) { simulation in
                let run = try await simulation.submit(workflow, id: "a", input: 0)
                for _ in 0..<3 {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(8)))
                    guard let owner = try await simulation.owner(of: "a") else { break }
                    simulation.crash(owner, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                    simulation.restart(owner)
                }
                let failure = try await failure { try await run.result() }
                #expect(failure?.message.contains("failed at attempt 6: Broken") == true, "seed \(seed)")
                // An attempt that was cut off before its failure was recorded has its number again.
                #expect(Set(log.attempts) == Set(1...6) && log.attempts == log.attempts.sorted(), "seed \(seed)")
                #expect(log.attempts.count <= 6 + 3, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test("a body that goes on behind a failed step does so under its next owner, and the step is not tried again")
    func handled() async throws {
        for seed in Simulation.seeds(3) {
            let log = Log()
            let workflow = Workflow("handling", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> String in
                var told = ""
                do {
                    try await context.step("charge", retry: Self.policy(2)) { step in
                        log.add(step)
                        throw Broken()
                    }
                } catch let error as WorkflowError where error.code == .stepFailed {
                    told = error.message
                }
                try await context.step("undo") { _ in }
                try await context.sleep(for: .seconds(20))
                return told
            }
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow]) { simulation in
                let run = try await simulation.submit(workflow, id: "a", input: 0)
                await simulation.advance(by: .seconds(10))
                let owner = try #require(try await simulation.owner(of: "a"))
                simulation.crash(owner, dropUnsynced: true)
                #expect(try await run.result() == "step charge#0 failed at attempt 2: Broken: Broken()")
                #expect(log.attempts == [1, 2])
                simulation.restart(owner)
            }
        }
    }

    @Test("a run that is cancelled while a step waits for its next attempt hears of it at once")
    func cancelled() async throws {
        let log = Log()
        var policy = Self.policy(nil)
        policy.delay = .seconds(1_000)
        policy.delayMax = .seconds(1_000)
        let workflow = Self.flaky(log, policy)
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow]) { simulation in
            let run = try await simulation.submit(workflow, id: "a", input: 0)
            await simulation.advance(by: .seconds(5))
            try await simulation.control("a", .cancel)
            let error = await #expect(throws: WorkflowError.self) { try await run.result(timeout: .seconds(10)) }
            #expect(error?.code == .cancelled)
            #expect(log.attempts == [1])
        }
    }

    @Test(
        "the time in all counts on over owners that crash in the middle of a first attempt, and starts over with a retry"
    )
    func timeLimitOverOwners() async throws {
        for seed in Simulation.seeds(4) {
            let log = Log()
            var policy = Self.policy(nil)
            policy.timeLimit = .seconds(60)
            let workflow = Self.flaky(log, policy, successAt: 1, takes: .seconds(40))
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow]) { simulation in
                let run = try await simulation.submit(workflow, id: "a", input: 0)
                await simulation.advance(by: simulation.world.random(in: .seconds(25) ... .seconds(35)))
                let first = try #require(try await simulation.owner(of: "a"))
                simulation.crash(first, dropUnsynced: true)
                await simulation.advance(by: .seconds(1))
                simulation.restart(first)
                // The second attempt has less time than it takes.
                let failure = try await failure { try await run.result() }
                #expect(failure?.message.contains("stepTimedOut") == true, "seed \(seed): \(failure as Any)")
                let since = try #require(try await simulation.node(1).describe("a").info.startedAt as Int64?)
                let end = try #require(try await simulation.node(1).describe("a").info.finishedAt)
                #expect((60...62).contains((end - since) / 1_000_000_000), "seed \(seed)")
                #expect(log.attempts == [1, 1])
                try await simulation.control("a", .retry)
                #expect(try await run.result() == 1, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test(
        "a step whose policy says so is cancelled when its run is to end, also under its next owner",
        arguments: [false, true])
    func cancelledWithRun(isCrashed: Bool) async throws {
        for seed in Simulation.seeds(3) {
            let log = Log()
            var policy = Self.policy(3)
            policy.isCancelledWithRun = true
            let given = policy
            let workflow = Workflow("long", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                do {
                    try await context.step("copy", retry: given) { step in
                        log.add(step)
                        try await step.clock.sleep(for: .seconds(3_600))
                    }
                } catch let error as WorkflowError where error.code == .cancelled {
                    // Who has heard of it is left in peace.
                    try await context.step("tidy", retry: given) { try await $0.clock.sleep(for: .seconds(5)) }
                    throw error
                }
                return 1
            }
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow]) { simulation in
                let run = try await simulation.submit(workflow, id: "a", input: 0)
                await simulation.advance(by: .seconds(2))
                let owner = try #require(try await simulation.owner(of: "a"))
                try await simulation.control("a", .cancel, reason: "enough")
                if isCrashed {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(20)))
                    simulation.crash(owner, dropUnsynced: true)
                }
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(error?.code == .cancelled, "seed \(seed)")
                let events = try await simulation.ask { try await $0.history(of: "a").events.map(\.name) }
                #expect(events == ["$cancelled", "tidy"], "seed \(seed)")
                #expect(log.attempts.count <= (isCrashed ? 2 : 1))
            }
        }
    }
}
