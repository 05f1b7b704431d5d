import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Steps that tell how far they are, on whole nodes under virtual time.
@Suite struct HeartbeatTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }
    private struct Broken: Error {}

    /// What the attempts did in the world outside.
    private final class Log: Sendable {
        struct Begin: Sendable {
            var attempt: Int
            var from: Int?
        }
        private let state = Lock<(begins: [Begin], told: Int)>(([], 0))
        func begin(_ step: StepContext) throws -> Int? {
            let from = try step.lastProgress(as: Int.self)
            state.withLock { $0.begins.append(Begin(attempt: step.attempt, from: from)) }
            return from
        }
        func tell(_ progress: Int) { state.withLock { $0.told = max($0.told, progress) } }
        var begins: [Begin] { state.withLock { $0.begins } }
        var told: Int { state.withLock { $0.told } }
    }

    /// Copies so many blocks, one each 100 ms, and goes on where the attempt before was.
    private static func copying(_ blocks: Int, _ log: Log) -> Workflow<Int, Int> {
        Workflow("copying", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("copy") { step in
                var block = try log.begin(step) ?? 0
                while block < blocks {
                    try await step.clock.sleep(for: .milliseconds(100))
                    block += 1
                    log.tell(block)
                    try await step.heartbeat(block)
                }
                return block
            }
        }
    }

    @Test(
        "the next owner goes on where the step was a second ago, whenever the last one crashes",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(4) {
            let log = Log()
            let workflow = Self.copying(100, log)
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow], configure: snapshotOften) {
                simulation in
                let run = try await simulation.submit(workflow, id: "c", input: 0)
                // The first block takes 100 ms, and is recorded at once; then one of ten is.
                switch moment {
                case .before: await simulation.advance(by: .milliseconds(50))
                case .during:
                    await simulation.advance(by: simulation.world.random(in: .milliseconds(100) ... .seconds(2)))
                case .after: await simulation.advance(by: .seconds(5))
                }
                let owner = try #require(try await simulation.owner(of: "c"))
                let recorded = try await simulation.node(owner).describe("c").progress.first
                let told = log.told
                simulation.crash(owner, dropUnsynced: true)
                #expect(try await run.result() == 100, "seed \(seed)")
                let begins = log.begins
                #expect(begins.count == 2 && begins[0].from == nil, "seed \(seed): \(begins)")
                let from = begins.last?.from
                if let recorded {
                    let known = try JSONCoding.decode(Int.self, from: recorded.value)
                    #expect(recorded.name == "copy" && recorded.attempt == 1 && Int(recorded.owner.rawValue) == owner)
                    #expect(from ?? -1 >= known, "seed \(seed): \(from ?? -1) of \(told), \(known) on record")
                }
                #expect(moment != .after || recorded != nil)
                #expect(
                    from ?? 0 <= told && (told < 12 || from ?? 0 >= told - 12), "seed \(seed): \(from ?? 0) of \(told)")
                // What has a result has no progress any more.
                #expect(try await simulation.ask { try await $0.describe("c").progress.isEmpty })
                simulation.restart(owner)
                try await simulation.untilConverged()
            }
        }
    }

    @Test("however often a body tells how far it is, that is recorded once a second")
    func rate() async throws {
        let workflow = Workflow("busy", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("beat") { step in
                for beat in 0..<5_000 {
                    try await step.clock.sleep(for: .milliseconds(2))
                    try await step.heartbeat(beat)
                    try await step.heartbeat()
                }
                return 1
            }
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow]) { simulation in
            func applied() async throws -> UInt64 {
                let groups = try await simulation.node(1).status().groups
                return groups.first { $0.kind == "workflow" }?.appliedIndex ?? 0
            }
            let before = try await applied()
            #expect(try await simulation.submit(workflow, id: "b", input: 0).result() == 1)
            let entries = try await applied() - before
            // The start, eleven times the progress, the result and the end; and what leaders do now and then.
            #expect((13...20).contains(entries), "\(entries) entries")
        }
    }

    @Test("an attempt that tells nothing for too long is cancelled, and the next one goes on from what was told last")
    func silence() async throws {
        let log = Log()
        var policy = RetryPolicy(attempts: 3)
        policy.heartbeatTimeout = .seconds(2)
        policy.jitter = 0
        let patience = policy
        let workflow = Workflow("silent", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("copy", retry: patience) { step in
                let from = try log.begin(step) ?? 0
                // Nine times a sign within the time, which is longer in all, and then none.
                for number in 1...9 {
                    try await step.clock.sleep(for: .milliseconds(900))
                    try await step.heartbeat(from + number)
                }
                if step.attempt < 3 { try await step.clock.sleep(for: .seconds(1_000)) }
                return from + 9
            }
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [workflow]) { simulation in
            let run = try await simulation.submit(workflow, id: "s", input: 0)
            await simulation.advance(by: .seconds(11))
            let failed = try await simulation.node(1).describe("s").failedSteps
            #expect(failed.first?.failure.type == "WorkflowError.stepTimedOut")
            #expect(failed.first?.failure.message.contains("heartbeat") == true)
            #expect(try await run.result() == 27)
            #expect(log.begins.map(\.attempt) == [1, 2, 3])
            // The failure of an attempt takes along what was told since the last record.
            #expect(log.begins.map(\.from) == [nil, 9, 18])
        }
    }

    @Test("a heartbeat behind the end of its attempt, and too much progress, are refused by name")
    func refusals() async throws {
        let kept = Lock<StepContext?>(nil)
        let codes = Lock<[WorkflowError.Code]>([])
        let workflow = Workflow("leaky", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("a") { step in
                kept.withLock { $0 = step }
                do {
                    try await step.heartbeat([UInt8](repeating: 0, count: 60_000))
                } catch let error as WorkflowError { codes.withLock { $0.append(error.code) } }
            }
            do {
                try await kept.withLock { $0 }?.heartbeat(1)
            } catch let error as WorkflowError { codes.withLock { $0.append(error.code) } }
            return 1
        }
        try await withSimulation(seed: 1, nodes: 1, workflows: [workflow]) { simulation async throws in
            #expect(try await simulation.submit(workflow, id: "l", input: 0).result() == 1)
        }
        #expect(codes.withLock { $0 } == [.resultTooLarge, .contextEnded])
    }
}
