import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Versions of workflows that come and go with the nodes that have them.
@Suite("Versions, simulated", .timeLimit(.minutes(5)))
struct VersionSimulationTests {
    private static func one(_ ledger: Ledger, _ saboteur: Saboteur) -> Workflow<Int, String> {
        Workflow("v", version: 1) { (_: Int, context: WorkflowContext) async throws -> String in
            try await context.step("begin") { ledger.append("begin", $0) }
            try await context.sleep(for: .seconds(20))
            saboteur.pass("before")
            try await context.step("end") { step in
                ledger.append("end", step)
                saboteur.pass("during")
                try await step.clock.sleep(for: .milliseconds(20))
            }
            saboteur.pass("after")
            try await context.sleep(for: .seconds(1))
            return "one"
        }
    }
    private static let two = Workflow("v", version: 2) { (_: Int, _: WorkflowContext) async throws -> String in "two" }

    /// Takes version 1 away by an upgrade of one node after the other, and waits until the run says so.
    private static func upgrade(_ simulation: SimulatedCluster) async throws {
        for number in simulation.nodes {
            simulation.crash(number, dropUnsynced: true)
            await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
            simulation.restart(number, workflows: [Self.two])
            try await simulation.untilFormed()
        }
        try await simulation.wait(until: "the run is parked", within: .seconds(30)) {
            try await simulation.ask { try await $0.describe("old").info.status } == .parked
        }
    }

    private static func checkParked(_ simulation: SimulatedCluster) async throws {
        for number in simulation.runningNodes {
            let known = try await simulation.node(number).describe("old")
            #expect(known.info.status == .parked && known.info.owner == nil)
            #expect(known.info.parkedReason?.contains("no live node has 'v' version 1") == true)
            #expect(known.waits.first?.reason == .noNode)
            #expect(known.steps.map(\.name) == ["begin"] && known.timers.map(\.hasFired) == [false])
        }
    }

    @Test(
        "a run whose version no node has is parked over crashes, and goes on when it is back, whenever its owner crashes",
        arguments: CrashMoment.allCases)
    func parked(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(3) {
            let ledger = Ledger()
            let saboteur = Saboteur(
                at: "\(moment)", after: .zero...(moment == .before ? .zero : .milliseconds(10)))
            let one = Self.one(ledger, saboteur)
            try await withSimulation(seed: seed, nodes: 3, workflows: [one], configure: snapshotOften) { simulation in
                let run = try await simulation.submit(one, id: "old", input: 0)
                try await simulation.wait(until: "it sleeps", within: .seconds(20)) {
                    try await simulation.ask { try await $0.describe("old").timers.count } == 1
                }
                try await Self.upgrade(simulation)
                try await Self.checkParked(simulation)
                // Its sleep is over, and nobody is there to wake it. What has a node goes on beside it.
                await simulation.skip(.seconds(60))
                let leader = try #require(try await simulation.workflowLeader())
                simulation.crash(leader, dropUnsynced: true)
                #expect(try await simulation.submit(Self.two, id: "new", input: 0).result() == "two")
                let late = try await simulation.submit(one, id: "late", input: 0)
                try await Self.checkParked(simulation)
                simulation.restart(leader)
                try await simulation.untilFormed()

                // Back on the one node, whose crash parks it once more, until it returns.
                let back = 1 + Int(simulation.world.random(below: 3))
                saboteur.aim(at: back, simulation)
                simulation.crash(back)
                simulation.restart(back, workflows: [one, Self.two])
                #expect(try await saboteur.strike(simulation) == back)
                try await simulation.wait(until: "it is parked again", within: .seconds(30)) {
                    try await simulation.ask { try await $0.describe("late").info.status } == .parked
                }
                try await saboteur.repair(simulation)
                #expect(try await run.result() == "one", "seed \(seed)")
                #expect(try await late.result() == "one", "seed \(seed)")
                let known = try await simulation.ask { try await $0.describe("old") }
                #expect(known.steps.map(\.name) == ["begin", "end"] && known.info.version == 1, "seed \(seed)")
                // The older one's once: it was recorded before all this.
                let begins = ledger.effects.filter { $0.name == "begin" }
                #expect((2...3).contains(begins.count) && Set(begins.map(\.key)).count == 2, "seed \(seed)")
                #expect(begins.count { $0.key == begins[0].key } == 1, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test("runs of two versions end on their own ones while nodes with one of them crash, in the middle of an upgrade")
    func sideBySide() async throws {
        for seed in Simulation.seeds(4) {
            let one = Self.one(Ledger(), Saboteur(at: "nowhere"))
            let next = Workflow("v", version: 2) { (_: Int, context: WorkflowContext) async throws -> String in
                try await context.sleep(for: .seconds(10))
                return "two"
            }
            try await withSimulation(seed: seed, nodes: 4, workflows: [one], configure: snapshotOften) { simulation in
                for number in 0..<4 { try await simulation.submit(one, id: "one-\(number)", input: 0) }
                for number in 1...2 {
                    simulation.crash(number, dropUnsynced: true)
                    simulation.restart(number, workflows: [next])
                    try await simulation.untilFormed()
                }
                for number in 0..<4 { try await simulation.submit(next, id: "two-\(number)", input: 0) }
                for _ in 0..<3 {
                    let victim = 1 + Int(simulation.world.random(below: 4))
                    simulation.crash(victim, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .milliseconds(100) ... .seconds(6)))
                    for info in try await simulation.ask({ try await $0.list(WorkflowFilter(type: "v")).runs }) {
                        guard info.status == .running, let owner = info.owner else { continue }
                        #expect((owner.rawValue <= 2) == (info.version == 2), "seed \(seed): \(info)")
                    }
                    simulation.restart(victim)
                }
                for number in 0..<4 {
                    #expect(try await simulation.result(of: "one-\(number)", as: String.self) == "one", "seed \(seed)")
                    #expect(try await simulation.result(of: "two-\(number)", as: String.self) == "two", "seed \(seed)")
                }
                let versions = try await simulation.ask { try await $0.workflowVersions().versions }
                #expect(versions.filter { $0.type == "v" }.map(\.version) == [1, 2], "\(versions)")
            }
        }
    }
}
