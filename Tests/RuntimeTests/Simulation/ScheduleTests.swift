import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Schedules on whole nodes.
@Suite("Schedules", .timeLimit(.minutes(5)))
struct ScheduleTests {
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("work") { _ in input }
    }
    private static let slow = Workflow<Int, Int>("slow", version: 1) { input, context in
        try await context.sleep(for: .seconds(25))
        return input
    }

    private func runs(_ simulation: SimulatedCluster, _ type: String, on number: Int) async throws -> [WorkflowInfo] {
        try await simulation.node(number).list(WorkflowFilter(type: type), limit: 1_000).runs
    }

    /// Creates a schedule by whichever node takes it.
    private func create(_ simulation: SimulatedCluster, _ name: String, _ schedule: Schedule) async throws {
        try await simulation.untilFormed()
        try await simulation.node(1).createSchedule(name, schedule)
    }

    @Test("each firing starts its workflow once, over executions and whenever nodes crash")
    func crashes() async throws {
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.quick]) { simulation in
                try await create(simulation, "tick", Schedule("quick", everySeconds: 2, input: 7))
                // More than an execution has.
                for round in 0..<5 {
                    let victim = Int(simulation.world.random(below: 3)) + 1
                    await simulation.advance(by: simulation.world.random(in: .seconds(50) ... .seconds(60)))
                    simulation.crash(victim, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(5)))
                    simulation.restart(victim)
                    if round == 2 { try await simulation.untilFormed() }
                }
                await simulation.advance(by: .seconds(10))
                try await simulation.untilFormed()
                let known = try await simulation.node(2).schedule("tick")
                let started = try await runs(simulation, "quick", on: 3)
                #expect(Set(started.map(\.workflowID)).count == started.count)
                #expect(
                    started.count == known.fired && known.skipped == 0 && known.fired > 120, "seed \(seed): \(known)")
                // No firing was left out, none was moved.
                let anchor = known.recent.last.map { $0.time % 2_000_000_000 } ?? 0
                let times = started.compactMap { WallTime(rfc3339: String($0.workflowID.dropFirst(5)))?.nanoseconds }
                    .sorted()
                #expect(times.count == started.count && times.allSatisfy { $0 % 2_000_000_000 == anchor })
                #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 2_000_000_000 }, "seed \(seed)")
                #expect(try await simulation.node(1).describe(ScheduleWorkflow.id(of: "tick")).info.execution > 1)
            }
        }
    }

    @Test("overlaps are what the policy says", arguments: ScheduleOverlap.allCases)
    func overlaps(overlap: ScheduleOverlap) async throws {
        try await withSimulation(seed: 2, nodes: 3, workflows: [Self.slow]) { simulation in
            var schedule = Schedule("slow", everySeconds: 10, input: 1)
            schedule.overlap = overlap
            try await create(simulation, "s", schedule)
            await simulation.advance(by: .seconds(90))
            let known = try await simulation.node(2).schedule("s")
            let started = try await runs(simulation, "slow", on: 3)
            let running = started.filter { $0.status == .running }.count
            switch overlap {
            case .skip:
                #expect(known.fired == 3 && known.skipped == 6 && running == 1, "\(known)")
            case .queue:
                #expect(known.fired == 4 && known.queued == 5 && known.skipped == 0 && running == 1, "\(known)")
            case .cancel:
                #expect(known.fired == 9 && running == 1, "\(known)")
                #expect(started.filter { $0.status == .cancelled }.count == 8)
            case .allow:
                #expect(known.fired == 9 && running == 3 && known.running == nil, "\(known)")
            }
        }
    }

    @Test("a schedule is paused, resumed, triggered, backfilled, replaced and deleted, from any node")
    func commands() async throws {
        try await withSimulation(seed: 3, nodes: 3, workflows: [Self.quick]) { simulation in
            let hourly = Schedule("quick", cron: "*/10 * * * *", timeZone: "Europe/Berlin", input: 1)
            try await create(simulation, "hourly", hourly)
            let again = await #expect(throws: WorkflowError.self) {
                try await simulation.node(2).createSchedule("hourly", hourly)
            }
            #expect(again?.code == .conflict)
            let node = try simulation.node(2)
            #expect(try await node.changeSchedule("hourly", .pause(note: "lunch")).isPaused)
            await simulation.advance(by: .seconds(1_250))
            var known = try await simulation.node(3).schedule("hourly")
            #expect(known.fired == 0 && known.note == "lunch" && known.next.isEmpty)
            known = try await node.changeSchedule("hourly", .resume)
            #expect(known.next.count == 5 && known.fired == 0, "what was missed is left out")
            #expect(try await node.changeSchedule("hourly", .trigger).fired == 1)
            let start = WallTime(rfc3339: "2029-12-31T22:35:00Z")?.nanoseconds ?? 0
            let end = WallTime(rfc3339: "2029-12-31T23:00:00Z")?.nanoseconds ?? 0
            for _ in 0..<2 { _ = try await node.changeSchedule("hourly", .backfill(from: start, to: end)) }
            try await simulation.wait(until: "all have ended", within: .seconds(30)) {
                try await simulation.node(1).schedule("hourly").queued == 0
            }
            let ids = try await runs(simulation, "quick", on: 1).map(\.workflowID)
            #expect(ids.count == 3 && ids.contains("hourly@2029-12-31T22:40:00Z"))
            let tooMany = await #expect(throws: WorkflowError.self) {
                try await node.changeSchedule("hourly", .backfill(from: 0, to: end))
            }
            #expect(tooMany?.code == .rejected)
            let refused = await #expect(throws: WorkflowError.self) {
                try await node.changeSchedule("hourly", .replace(Schedule("quick", cron: "no")))
            }
            #expect(refused?.code == .rejected)
            known = try await node.changeSchedule("hourly", .replace(Schedule("quick", everySeconds: 5)))
            await simulation.advance(by: .seconds(12))
            #expect(try await node.schedule("hourly").fired == known.fired + 2)
            #expect(try await node.schedules().map(\.name) == ["hourly"])
            try await node.deleteSchedule("hourly")
            let gone = await #expect(throws: WorkflowError.self) { try await node.schedule("hourly") }
            #expect(gone?.code == .notFound)
            #expect(try await node.schedules().isEmpty)
            try await node.createSchedule("hourly", hourly)
            #expect(try await node.workflowVersions().versions.map(\.type) == ["quick"])
        }
    }

    @Test("a schedule goes on where its execution ends before it has heard of the end of what runs")
    func executions() async throws {
        let short = Workflow<Int, Int>("short", version: 1) { input, context in
            try await context.sleep(for: .seconds(1))
            return input
        }
        try await withSimulation(seed: 5, nodes: 3, workflows: [short]) { simulation in
            try await create(simulation, "s", Schedule("short", everySeconds: 10, input: 1))
            try await simulation.wait(until: "the first one runs", within: .seconds(20)) {
                try await simulation.node(1).schedule("s").running != nil
            }
            // So many commands that there is always one more, until behind the end of the execution.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for client in 0..<8 {
                    group.addTask {
                        for number in 0..<27 {
                            let command = number % 2 == 0 ? ScheduleCommand.pause(note: "") : .resume
                            _ = try await simulation.node(1 + client % 3).changeSchedule("s", command)
                        }
                    }
                }
                try await group.waitForAll()
            }
            _ = try await simulation.node(1).changeSchedule("s", .resume)
            let id = ScheduleWorkflow.id(of: "s")
            #expect(try await simulation.node(1).describe(id).info.execution == 2)
            let fired = try await simulation.node(2).schedule("s").fired
            await simulation.advance(by: .seconds(35))
            let known = try await simulation.node(2).schedule("s")
            #expect(known.fired >= fired + 3 && known.skipped == 0, "\(known)")
        }
    }

    @Test("what cannot be started is told, and the next firing tries again")
    func problems() async throws {
        try await withSimulation(seed: 4, nodes: 3, workflows: [Self.quick]) { simulation in
            try await create(simulation, "s", Schedule("nothing", everySeconds: 5))
            await simulation.advance(by: .seconds(12))
            let known = try await simulation.node(1).schedule("s")
            #expect(known.skipped == 2 && known.problem?.contains("unknownWorkflow") == true)
            _ = try await simulation.node(3).changeSchedule("s", .replace(Schedule("quick", everySeconds: 5, input: 1)))
            await simulation.advance(by: .seconds(6))
            let mended = try await simulation.node(2).schedule("s")
            #expect(mended.fired == 1 && mended.problem == nil)
        }
    }
}
