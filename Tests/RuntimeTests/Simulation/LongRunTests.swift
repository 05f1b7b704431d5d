import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Runs that take the same steps again and again, so that most of what they recorded is in the history beside the state,
/// on whole nodes.
@Suite(.timeLimit(.minutes(5))) struct LongRunTests {
    private static let count = 40
    private static let progress = WorkflowQuery<Bool, Int>("progress")
    private struct Shaky: Error {}

    /// What happened in the world outside: which steps ran, by workflow.
    private typealias Log = Lock<[String: [Int]]>

    /// Its input says behind which step it sleeps for long; 0 for none.
    /// - Parameter hasGaps: it also takes steps that have no result now and then, which no replay can do.
    private static func loop(_ log: Log, hasGaps: Bool = false) -> Workflow<Int, [Int]> {
        Workflow("loop", version: 1) { (longSleep: Int, context: WorkflowContext) async throws -> [Int] in
            var values: [Int] = []
            var ids: Set<String> = []
            let done = context.variable(0)
            context.answer(Self.progress) { _ in done.value }
            for number in 0..<count {
                ids.insert("\(try await context.uuid("id"))")
                if hasGaps, number % 4 == 1 {
                    do { try await context.step("shaky") { _ in if number % 8 == 1 { throw Shaky() } } } catch is Shaky
                    {}
                }
                let value = try await context.step("square") { _ in
                    log.withLock { $0[context.workflowID, default: []].append(number) }
                    return number * number
                }
                values.append(value)
                done.update { $0 = number + 1 }
                if number % 3 == 0 { try await context.sleep(for: .milliseconds(60)) }
                if number + 1 == longSleep { try await context.sleep(for: .seconds(60), name: "long") }
            }
            return values + [ids.count]
        }
    }

    private static let expected = (0..<count).map { $0 * $0 } + [count]

    @Sendable private static func configure(_ configuration: inout NodeConfiguration) {
        configuration.groups.snapshotThreshold = 40
        configuration.groups.entriesKeptBehindSnapshot = 1
        configuration.limits.stepsInMemory = 2
        configuration.limits.restsAfter = .seconds(2)
    }

    /// Each node has the whole record, and the code fits it.
    private func checkRecord(
        of id: String, _ workflow: Workflow<Int, [Int]>, hasGaps: Bool = false, _ simulation: SimulatedCluster
    ) async throws {
        try await simulation.untilConverged()
        for number in simulation.nodes {
            let node = try simulation.node(number)
            let history = try await node.wholeHistory(of: id)
            let squares = history.events.filter { $0.name == "square" }
            #expect(squares.map(\.occurrence) == Array(0..<UInt64(Self.count)))
            #expect(history.events.map(\.recordedAt) == history.events.map(\.recordedAt).sorted())
            let description = try await node.describe(id)
            #expect(description.earlierSteps >= UInt64(2 * (Self.count - 2)))
            #expect(description.steps.filter { $0.name == "square" }.map(\.occurrence) == [38, 39])
            guard !hasGaps else { continue }
            try await replay(history: history, against: workflow)
            // A run that has ended is asked by a replay of its body.
            #expect(try await node.query(id, Self.progress, true) == Self.count)
        }
    }

    @Test("a run whose steps are mostly in the history goes on behind each of them, whenever owners and others crash")
    func crashes() async throws {
        for seed in Simulation.seeds(6) {
            let (log, hasGaps) = (Log([:]), seed % 2 == 0)
            let loop = Self.loop(log, hasGaps: hasGaps)
            try await withSimulation(seed: seed, nodes: 3, workflows: [loop], configure: Self.configure) { simulation in
                let run = try await simulation.submit(loop, id: "a", input: 0)
                var crashes = 0
                for round in 0..<6 {
                    await simulation.advance(by: simulation.world.random(in: .milliseconds(20) ... .milliseconds(700)))
                    let owner = try? await simulation.owner(of: "a")
                    let victim = round % 2 == 0 ? owner ?? 1 : 1 + round % 3
                    simulation.crash(victim, unsynced: .dropped)
                    crashes += 1
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                    simulation.restart(victim)
                }
                #expect(try await run.result() == Self.expected, "seed \(seed)")
                let runs = log.withLock { $0["a"] ?? [] }
                #expect(Set(runs) == Set(0..<Self.count) && runs.count <= Self.count + crashes, "seed \(seed)")
                try await checkRecord(of: "a", loop, hasGaps: hasGaps, simulation)
            }
        }
    }

    @Test("a run that rests comes back with the steps that are in the history", arguments: CrashMoment.allCases)
    func rests(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(2) {
            let loop = Self.loop(Log([:]))
            try await withSimulation(seed: seed, nodes: 3, workflows: [loop], configure: Self.configure) { simulation in
                let run = try await simulation.submit(loop, id: "a", input: 30)
                try await simulation.wait(until: "it sleeps", within: .seconds(30)) {
                    try await simulation.ask { try await $0.describe("a").timers.contains { $0.name == "long" } }
                }
                let owner = try #require(try await simulation.owner(of: "a"))
                try await simulation.crash(owner, moment, during: .seconds(1) ... .seconds(4)) {
                    await simulation.advance(by: .seconds(5))
                }
                #expect(try await run.result() == Self.expected, "seed \(seed)")
                try await checkRecord(of: "a", loop, simulation)
            }
        }
    }

    @Test("a node that gets a snapshot gets the steps with it, and goes on as the owner")
    func snapshot() async throws {
        for seed in Simulation.seeds(3) {
            let loop = Self.loop(Log([:]))
            try await withSimulation(seed: seed, nodes: 3, workflows: [loop], configure: Self.configure) { simulation in
                simulation.crash(3)
                let run = try await simulation.submit(loop, id: "a", input: 35)
                try await simulation.wait(until: "it sleeps", within: .seconds(60)) {
                    try await simulation.node(1).describe("a").timers.contains { $0.name == "long" }
                }
                simulation.restart(3)
                try await simulation.untilConverged()
                let group = try #require(simulation.node(3).current?.core.hosted[NodeStart.executionGroup.group])
                #expect(try await group.report().snapshotsInstalled > 0, "node 3 caught up without a snapshot")
                let other = try #require(try await simulation.owner(of: "a"))
                simulation.crash(other)
                simulation.crash(other == 1 ? 2 : 1)
                await simulation.advance(by: .milliseconds(200))
                simulation.restart(other == 1 ? 2 : 1)
                #expect(try await run.result() == Self.expected, "seed \(seed)")
                simulation.restart(other)
                try await checkRecord(of: "a", loop, simulation)
            }
        }
    }

    @Test(
        "a fork begins behind any step, in the history or not, and does nothing again that is before it",
        arguments: CrashMoment.allCases)
    func forks(moment: CrashMoment) async throws {
        for (seed, step) in zip(Simulation.seeds(4), [0, 7, 37, 39] as [UInt64]) {
            let log = Log([:])
            let loop = Self.loop(log)
            try await withSimulation(seed: seed, nodes: 3, workflows: [loop], configure: Self.configure) { simulation in
                #expect(try await simulation.submit(loop, id: "a", input: 0).result() == Self.expected)
                try await simulation.crash(1 + Int(seed % 3), moment, during: .zero ... .milliseconds(30)) {
                    let id = try await simulation.ask {
                        try await $0.fork("a", from: "square", occurrence: step, id: "b").workflowID
                    }
                    #expect(id == "b")
                }
                #expect(try await simulation.result(of: "b", as: [Int].self) == Self.expected, "seed \(seed)")
                #expect(Set(log.withLock { $0["b"] ?? [] }) == Set(Int(step)..<Self.count), "seed \(seed)")
                try await checkRecord(of: "b", loop, simulation)
                // The source and the fork are apart.
                try await simulation.ask { _ = try await $0.prune("a") }
                try await checkRecord(of: "b", loop, simulation)
            }
        }
    }

    @Test("a run is forked while it goes on")
    func forksRunning() async throws {
        for seed in Simulation.seeds(3) {
            let log = Log([:])
            let loop = Self.loop(log)
            try await withSimulation(seed: seed, nodes: 3, workflows: [loop], configure: Self.configure) { simulation in
                let run = try await simulation.submit(loop, id: "a", input: 0)
                for number in 1...4 {
                    await simulation.advance(by: simulation.world.random(in: .milliseconds(50) ... .milliseconds(200)))
                    let last = try await simulation.ask { try await $0.describe("a") }.steps.last {
                        $0.name == "square"
                    }
                    guard let last else { continue }
                    let id = "b\(number)"
                    let forked = try await simulation.ask {
                        try await $0.fork("a", from: "square", occurrence: last.occurrence, id: id).workflowID
                    }
                    #expect(try await simulation.result(of: forked, as: [Int].self) == Self.expected, "seed \(seed)")
                    #expect(log.withLock { $0[forked]?.first } == Int(last.occurrence), "seed \(seed)")
                }
                #expect(try await run.result() == Self.expected)
            }
        }
    }

    @Test("what a fork would have to bring along is bounded, and it says so")
    func largeFork() async throws {
        let large = Workflow("large", version: 1) { (count: Int, context: WorkflowContext) async throws -> Int in
            for _ in 0..<count {
                _ = try await context.step("page") { _ in String(repeating: "x", count: 1 << 20) }
            }
            return count
        }
        let keepOne: @Sendable (inout NodeConfiguration) -> Void = { $0.limits.stepsInMemory = 1 }
        try await withSimulation(seed: 1, nodes: 1, workflows: [large], configure: keepOne) { simulation async throws in
            #expect(try await simulation.submit(large, id: "a", input: 12).result() == 12)
            let error = await #expect(throws: WorkflowError.self) {
                try await simulation.node(1).fork("a", from: "page", occurrence: 11, id: "b")
            }
            #expect(error?.code == .invalidInput && error?.message.contains("earlier step") == true)
            #expect(try await simulation.node(1).fork("a", from: "page", occurrence: 3, id: "b").workflowID == "b")
            #expect(try await simulation.result(of: "b", as: Int.self) == 12)
        }
    }

    @Test("code that does not fit a step in the history pauses the run there, and names it")
    func mismatch() async throws {
        let mended = Lock(false)
        let changed = Workflow("changed", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            if mended.withLock({ $0 }) {
                for number in 0..<10 { _ = try await context.step("s") { _ in "\(number)" } }
            } else {
                for number in 0..<10 { _ = try await context.step("s") { _ in number } }
            }
            try await context.sleep(for: .seconds(60))
            return 1
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [changed], configure: Self.configure) { simulation in
            _ = try await simulation.submit(changed, id: "a", input: 0)
            await simulation.advance(by: .seconds(1))
            mended.withLock { $0 = true }
            let owner = try #require(try await simulation.owner(of: "a"))
            simulation.crash(owner)
            try await simulation.wait(until: "it is paused", within: .seconds(30)) {
                try await simulation.ask { try await $0.describe("a").info.status } == .paused
            }
            let reason = try await simulation.ask { try await $0.describe("a").info.reason } ?? ""
            #expect(reason.contains("! step s#0") && reason.contains("- step s#7"), "\(reason)")
        }
    }

    @Test("runs move to another cluster with the steps that are in the history, whoever crashes")
    func moves() async throws {
        for seed in Simulation.seeds(2) {
            let loop = Self.loop(Log([:]))
            try await withSimulation(seed: seed, nodes: 4, workflows: [loop], configure: Self.configure) { simulation in
                for number in 0..<4 { _ = try await simulation.submit(loop, id: "w\(number)", input: 35) }
                await simulation.advance(by: .seconds(5))
                try await simulation.migrate(to: [2, 3, 4])
                simulation.crash(3)
                try await simulation.untilFirstClusterIsSealed()
                simulation.restart(3)
                for number in 0..<4 {
                    let output = try await simulation.node(1).result(
                        of: "w\(number)", as: [Int].self, timeout: .seconds(120))
                    #expect(output == Self.expected, "seed \(seed)")
                    let history = try await simulation.node(2).wholeHistory(of: "w\(number)")
                    try await replay(history: history, against: loop)
                }
            }
        }
    }
}
