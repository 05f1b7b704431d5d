import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Schedules whose owner, or whose group's leader, crashes when they fire and when they are told something.
@Suite("Schedules under faults", .timeLimit(.minutes(5)))
struct ScheduleFaultTests {
    private static let second: Int64 = 1_000_000_000
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("work") { _ in input }
    }
    private static let slow = Workflow<Int, Int>("slow", version: 1) { input, context in
        try await context.sleep(for: .seconds(25))
        return input
    }

    private static func description(_ name: String, _ simulation: SimulatedCluster) async throws -> ScheduleDescription
    {
        try await simulation.ask { try await $0.schedule(name) }
    }

    private static func runs(_ type: String, _ simulation: SimulatedCluster) async throws -> [WorkflowInfo] {
        try await simulation.ask { try await $0.list(WorkflowFilter(type: type), limit: 1_000).runs }
    }

    /// The wall clock of the machines, which all show the same.
    private static func now(_ simulation: SimulatedCluster) async throws -> Int64 {
        try await simulation.ask { try await $0.count().asOf }
    }

    /// Whom the next crash hits: the schedule's owner, or the leader of its group.
    private static func victim(_ name: String, _ simulation: SimulatedCluster) async throws -> Int {
        let owner = try await simulation.owner(of: ScheduleWorkflow.id(of: name))
        let leader = try await simulation.workflowLeader()
        return try #require(simulation.world.chance(0.5) ? owner ?? leader : leader ?? owner)
    }

    // MARK: Firings

    /// Turns the calendar on until shortly before a moment, and lives through it: a node crashes then.
    private static func fire(
        at firing: Int64, _ moment: CrashMoment, _ name: String, _ simulation: SimulatedCluster
    ) async throws {
        try await simulation.untilFormed()
        await simulation.skip(.nanoseconds(firing - (try await now(simulation)) - 40 * second))
        let victim = try await victim(name, simulation)
        let left = Duration.nanoseconds(firing - (try await now(simulation)))
        switch moment {
        case .before: await simulation.advance(by: left - simulation.world.random(in: .milliseconds(1) ... .seconds(3)))
        case .during: await simulation.advance(by: left + simulation.world.random(in: .zero ... .milliseconds(15)))
        case .after: await simulation.advance(by: left + simulation.world.random(in: .milliseconds(50) ... .seconds(3)))
        }
        simulation.crash(victim, dropUnsynced: true)
        await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(4)))
        simulation.restart(victim)
        await simulation.advance(by: .seconds(10))
    }

    @Test(
        "each day fires once by a calendar, also where clocks are changed, whenever the owner or the leader crashes",
        arguments: CrashMoment.allCases)
    func calendar(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.quick]) { simulation in
                // Friday before the one change of 2030, or before the other one.
                let start = WallTime(rfc3339: seed % 2 == 0 ? "2030-10-25T12:00:00Z" : "2030-03-29T12:00:00Z")
                await simulation.skip(
                    .nanoseconds((try #require(start)).nanoseconds - (try await Self.now(simulation))))
                try await simulation.untilFormed()
                let nightly = Schedule("quick", cron: "30 2 * * *", timeZone: "Europe/Berlin", input: 1)
                _ = try await simulation.ask { try await $0.createSchedule("night", nightly) }
                // The hour from 2 to 3 is left out on 31 March, and comes twice on 27 October.
                let expected =
                    seed % 2 == 0
                    ? ["10-26T00:30", "10-27T00:30", "10-28T01:30"] : ["03-30T01:30", "03-31T01:00", "04-01T00:30"]
                var ids: [String] = []
                for day in expected {
                    let id = "night@2030-\(day):00Z"
                    let firing = try #require(WallTime(rfc3339: "2030-\(day):00Z")).nanoseconds
                    #expect(try await Self.description("night", simulation).next.first == firing, "seed \(seed): \(id)")
                    try await Self.fire(at: firing, moment, "night", simulation)
                    ids.append(id)
                    let runs = try await Self.runs("quick", simulation)
                    #expect(runs.map(\.workflowID) == ids, "seed \(seed)")
                    #expect(runs.allSatisfy { $0.status == .completed }, "seed \(seed)")
                    #expect(runs.last?.startedAt ?? 0 >= firing, "seed \(seed): too early")
                }
                let known = try await Self.description("night", simulation)
                #expect(known.fired == 3 && known.skipped == 0 && known.problem == nil, "seed \(seed): \(known)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test("each firing with its jitter starts once, not before it is due, whenever nodes crash")
    func jitter() async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.quick], configure: snapshotOften) {
                simulation in
                var schedule = Schedule("quick", everySeconds: 10, input: 1)
                schedule.jitterSeconds = 7
                let jittered = schedule
                _ = try await simulation.ask { try await $0.createSchedule("j", jittered) }
                for _ in 0..<5 {
                    await simulation.advance(by: simulation.world.random(in: .seconds(5) ... .seconds(20)))
                    let victim = try await Self.victim("j", simulation)
                    simulation.crash(victim, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(4)))
                    simulation.restart(victim)
                }
                await simulation.advance(by: .seconds(20))
                let known = try await Self.description("j", simulation)
                let runs = try await Self.runs("quick", simulation)
                #expect(known.fired == runs.count && runs.count >= 6 && known.skipped == 0, "seed \(seed): \(known)")
                let times = runs.compactMap { WallTime(rfc3339: String($0.workflowID.dropFirst(2)))?.nanoseconds }
                for (run, time) in zip(runs, times) {
                    let late = run.startedAt - time
                    #expect(late >= jittered.jitter(of: time, "j") && late < 25 * Self.second, "seed \(seed): \(late)")
                }
                let sorted = times.sorted()
                #expect(
                    times.count == runs.count
                        && zip(sorted, sorted.dropFirst()).allSatisfy { $1 - $0 == 10 * Self.second })
            }
        }
    }

    @Test(
        "an overlap is skipped, or the one before is cancelled first, although the owner or the leader crashes",
        arguments: [ScheduleOverlap.skip, .cancel])
    func overlaps(overlap: ScheduleOverlap) async throws {
        for seed in Simulation.seeds(4) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.slow], configure: snapshotOften) {
                simulation in
                var schedule = Schedule("slow", everySeconds: 10, input: 1)
                schedule.overlap = overlap
                let overlapping = schedule
                _ = try await simulation.ask { try await $0.createSchedule("s", overlapping) }
                for _ in 0..<4 {
                    // Around a firing, mostly: they come every ten seconds.
                    await simulation.advance(by: simulation.world.random(in: .seconds(9) ... .seconds(14)))
                    let victim = try await Self.victim("s", simulation)
                    simulation.crash(victim, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(4)))
                    simulation.restart(victim)
                }
                await simulation.advance(by: .seconds(12))
                let known = try await Self.description("s", simulation)
                let runs = try await Self.runs("slow", simulation).sorted { $0.startedAt < $1.startedAt }
                #expect(runs.count == known.fired && Set(runs.map(\.workflowID)).count == runs.count, "seed \(seed)")
                // Never two at a time.
                for (one, next) in zip(runs, runs.dropFirst()) {
                    let ended = try #require(one.finishedAt, "seed \(seed): \(one) and \(next) run at the same time")
                    #expect(ended <= next.startedAt, "seed \(seed)")
                }
                let ended = overlap == .skip ? WorkflowStatus.completed : .cancelled
                #expect(runs.dropLast().allSatisfy { $0.status == ended }, "seed \(seed): \(runs.map(\.status))")
                let firings = known.fired + known.skipped + known.queued
                let passed = (try await Self.now(simulation) - (runs.first?.startedAt ?? 0)) / (10 * Self.second) + 1
                #expect(Int64(firings) >= passed - 1 && Int64(firings) <= passed, "seed \(seed): \(known)")
                #expect(overlap == .skip ? known.skipped > known.fired : known.fired > known.skipped, "seed \(seed)")
            }
        }
    }

    // MARK: Commands

    /// Tells a schedule something while its owner or leader crashes. Asked again, where nobody knows whether it was done.
    private static func tell(
        _ name: String, _ moment: CrashMoment, _ simulation: SimulatedCluster,
        _ work: @escaping @Sendable (Node) async throws -> Void
    ) async throws {
        await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(3)))
        try await simulation.crash(try await victim(name, simulation), moment) { try await simulation.ask(work) }
        try await simulation.untilFormed()
    }

    @Test(
        "what a schedule is told is done, once, whenever its owner or the leader crashes",
        arguments: CrashMoment.allCases)
    func commands(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.quick], configure: snapshotOften) {
                simulation in
                let schedule = Schedule("quick", everySeconds: 600, input: 1)
                _ = try await simulation.ask { try await $0.createSchedule("c", schedule) }
                func count() async throws -> Int { try await Self.runs("quick", simulation).count }
                func change(_ command: ScheduleCommand) async throws {
                    try await Self.tell("c", moment, simulation) { _ = try await $0.changeSchedule("c", command) }
                }
                try await change(.pause(note: "lunch"))
                await simulation.skip(.seconds(1_300))
                var known = try await Self.description("c", simulation)
                #expect(known.isPaused && known.note == "lunch" && known.fired == 0, "seed \(seed): \(known)")
                try await change(.resume)
                known = try await Self.description("c", simulation)
                #expect(!known.isPaused && known.fired == 0 && known.next.count == 5, "what was missed is left out")

                let start = try #require(WallTime(rfc3339: "2029-12-31T00:00:00Z")).nanoseconds
                let past = ScheduleCommand.backfill(from: start, to: start + 3_600 * Self.second)
                try await change(.replace(Schedule("quick", cron: "*/20 * * * *", input: 2)))
                // Twice fires once: each has its id.
                for _ in 0..<2 { try await change(past) }
                try await simulation.wait(until: "all have ended", within: .seconds(30)) {
                    try await Self.description("c", simulation).queued == 0
                }
                let ids = try await Self.runs("quick", simulation).map(\.workflowID)
                #expect(ids == ["00", "20", "40"].map { "c@2029-12-31T00:\($0):00Z" }, "seed \(seed)")

                try await change(.trigger)
                // Once; a second time only where the answer to the first was lost with the node that was asked.
                #expect([4, 5].contains(try await count()), "seed \(seed)")
                known = try await Self.description("c", simulation)
                #expect(known.schedule.cron == "*/20 * * * *" && known.problem == nil, "seed \(seed): \(known)")
                let fired = try await count()
                #expect(known.fired == fired, "seed \(seed): \(known)")

                try await Self.tell("c", moment, simulation) { node in
                    do {
                        try await node.deleteSchedule("c")
                    } catch let error as WorkflowError where error.code == .notFound {
                        // The answer to an earlier attempt was lost.
                    }
                }
                await simulation.skip(.seconds(3_000))
                #expect(try await count() == fired, "seed \(seed): what is deleted fires no more")
                for number in simulation.nodes {
                    #expect(try await simulation.node(number).schedules().isEmpty, "seed \(seed)")
                }
            }
        }
    }
}
