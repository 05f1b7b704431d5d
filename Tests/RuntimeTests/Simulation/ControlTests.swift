import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What is asked of runs from outside, on whole nodes: the owner crashes before, while and after it is asked.
@Suite struct ControlTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private struct Broken: Error {}

    /// Books step by step, and gives everything back when it is to end.
    private static let booking = Workflow("booking", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        var done = 0
        do {
            for number in 0..<count {
                try await context.step("book \(number)") { try await $0.clock.sleep(for: .milliseconds(30)) }
                done += 1
                try await context.checkpoint("done", done)
                try await context.sleep(for: .milliseconds(200))
            }
        } catch let error as WorkflowError where error.code == .cancelled {
            for number in (0..<done).reversed() {
                try await context.step("give back \(number)") { try await $0.clock.sleep(for: .milliseconds(30)) }
                try await context.sleep(for: .milliseconds(50), name: "between")
            }
            throw error
        }
        return done
    }

    /// Asks for something while the owner crashes, and has the owner back afterwards.
    private static func crashOwner(
        _ moment: Moment, of id: String, _ simulation: SimulatedCluster,
        _ ask: @escaping @Sendable () async throws -> Void
    ) async throws {
        await simulation.advance(by: simulation.world.random(in: .milliseconds(300) ... .seconds(3)))
        guard let owner = try await simulation.owner(of: id) else { return try await ask() }
        switch moment {
        case .before:
            simulation.crash(owner, dropUnsynced: true)
            try await ask()
        case .during:
            async let asked: Void = ask()
            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(12)))
            simulation.crash(owner, dropUnsynced: true)
            try await asked
        case .after:
            try await ask()
            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(400)))
            simulation.crash(owner, dropUnsynced: true)
        }
        await simulation.advance(by: simulation.world.random(in: .milliseconds(100) ... .seconds(4)))
        simulation.restart(owner)
    }

    private static func descriptions(
        of id: String, _ simulation: SimulatedCluster
    ) async throws -> [WorkflowDescription] {
        try await simulation.untilConverged()
        var found: [WorkflowDescription] = []
        for node in simulation.nodes { found.append(try await simulation.node(node).describe(id)) }
        return found
    }

    @Test(
        "a run that is cancelled gives everything back, whenever its owner crashes, and all nodes know the reason",
        arguments: Moment.allCases)
    func cancel(moment: Moment) async throws {
        for seed in Simulation.seeds(4) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.booking]) { simulation in
                let run = try await simulation.submit(Self.booking, id: "a", input: 30)
                try await Self.crashOwner(moment, of: "a", simulation) {
                    try await simulation.control("a", .cancel, reason: "no money")
                }
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(error?.code == .cancelled)
                for description in try await Self.descriptions(of: "a", simulation) {
                    #expect(description.info.status == .cancelled && description.info.reason == "no money")
                    let names = description.steps.map(\.name)
                    let given = names.filter { $0.hasPrefix("give back") }.map { $0.dropFirst("give back ".count) }
                    let booked = names.filter { $0.hasPrefix("book") }.map { $0.dropFirst("book ".count) }
                    #expect(given.sorted() == booked.sorted() && !booked.isEmpty, "seed \(seed): \(names)")
                }
            }
        }
    }

    @Test(
        "RM-03: a run is terminated by any node, leader or follower, whenever its owner crashes; all know the reason",
        arguments: Moment.allCases)
    func terminate(moment: Moment) async throws {
        for seed in Simulation.seeds(4) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.booking]) { simulation in
                let run = try await simulation.submit(Self.booking, id: "a", input: 200)
                try await Self.crashOwner(moment, of: "a", simulation) {
                    try await simulation.control("a", .terminate, reason: "enough")
                }
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(error?.code == .terminated && error?.message.contains("enough") == true)
                let before = try await Self.descriptions(of: "a", simulation)
                await simulation.advance(by: .seconds(5))
                let after = try await Self.descriptions(of: "a", simulation)
                #expect(before == after && Set(after).count == 1)
                #expect(after[0].info.status == .terminated && after[0].info.reason == "enough")
            }
        }
    }

    @Test("RM-06: a run is terminated at any stage, on the leader and on a follower, with a checkpoint on its way")
    func stages() async throws {
        for seed in Simulation.seeds(6) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.booking]) { simulation in
                let status = try await simulation.node(1).status()
                let leader = try #require(status.groups.first { $0.kind == "workflow" }?.leader)
                for node in simulation.nodes {
                    let id = node == Int(leader) ? "by the leader" : "by follower \(node)"
                    try await simulation.submit(Self.booking, id: id, input: 50)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                    try await simulation.node(node).control(id, .terminate, reason: id)
                    let counts = try await simulation.node(node).describe(id).checkpoints.map(\.count)
                    await simulation.advance(by: .seconds(1))
                    for description in try await Self.descriptions(of: id, simulation) {
                        #expect(description.info.status == .terminated && description.info.reason == id)
                        #expect(description.checkpoints.map(\.count) == counts)
                    }
                }
            }
        }
    }

    @Test(
        "a paused run does nothing until it is resumed, and comes to its end then, whenever its owner crashes",
        arguments: Moment.allCases)
    func pause(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.booking]) { simulation in
                let run = try await simulation.submit(Self.booking, id: "a", input: 20)
                try await Self.crashOwner(moment, of: "a", simulation) { try await simulation.control("a", .pause) }
                let before = try await Self.descriptions(of: "a", simulation)
                await simulation.advance(by: .seconds(60))
                #expect(try await Self.descriptions(of: "a", simulation) == before)
                #expect(before[0].info.status == .paused && before[0].steps.count < 20)
                try await simulation.control("a", .resume)
                let owner = try #require(try await simulation.owner(of: "a"))
                simulation.crash(owner, dropUnsynced: true)
                #expect(try await run.result() == 20)
                simulation.restart(owner)
                let steps = try await Self.descriptions(of: "a", simulation)[0].steps
                #expect(steps.map(\.name).sorted() == (0..<20).map { "book \($0)" }.sorted())
            }
        }
    }

    @Test(
        "a failed run that is tried again goes on at the step that failed, whenever its next owner crashes",
        arguments: Moment.allCases)
    func retry(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            let isMended = Lock(false)
            let firsts = Lock<[UInt64]>([])
            let flaky = Workflow("flaky", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
                try await context.step("first") { step in firsts.withLock { $0.append(step.fencingToken) } }
                try await context.step("second") { step in
                    try await step.clock.sleep(for: .milliseconds(100))
                    if !isMended.withLock({ $0 }) { throw Broken() }
                }
                try await context.sleep(for: .seconds(1))
                return 2
            }
            try await withSimulation(seed: seed, nodes: 3, workflows: [flaky]) { simulation in
                let run = try await simulation.submit(flaky, id: "a", input: 0)
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(error?.failure?.type == "Broken")
                isMended.withLock { $0 = true }
                let victim = 1 + Int(simulation.world.random(below: 3))
                if moment == .before { simulation.crash(victim, dropUnsynced: true) }
                try await simulation.control("a", .retry)
                if moment != .before {
                    let wait = moment == .during ? Duration.milliseconds(60) : .milliseconds(600)
                    await simulation.advance(by: wait)
                    let owner = try await simulation.owner(of: "a") ?? victim
                    simulation.crash(owner, dropUnsynced: true)
                    simulation.restart(owner)
                } else {
                    simulation.restart(victim)
                }
                #expect(try await run.result() == 2)
                #expect(firsts.withLock { $0 } == [1])
                #expect(try await Self.descriptions(of: "a", simulation).allSatisfy { $0.info.status == .completed })
            }
        }
    }
}
