import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Who waits for a result, on every node, while the owner of the run or the leader of its group crashes.
@Suite("Waiting for results, simulated", .timeLimit(.minutes(5)))
struct WaitingSimulationTests {
    private static func working(_ saboteur: Saboteur) -> Workflow<Int, Int> {
        Workflow("working", version: 1) { (input: Int, context: WorkflowContext) async throws -> Int in
            try await context.sleep(for: .seconds(2))
            saboteur.pass("before")
            let value = try await context.step("work") { step in
                try await step.clock.sleep(for: .milliseconds(20))
                return input * 2
            }
            saboteur.pass("after")
            return value
        }
    }

    /// Who waits at a node: the value, or that the node says that it is no more. Nobody waits for ever.
    private static func wait(on number: Int, _ simulation: SimulatedCluster) async throws -> Int? {
        let node = try simulation.node(number)
        do {
            return try await node.result(of: "a", as: Int.self)
        } catch is NodeError {
            return nil
        } catch let error as WorkflowError where error.code == .stopped {
            return nil
        }
    }

    @Test(
        "whoever waited before the end hears of it, on each node that lives, whenever the owner or the leader crashes",
        arguments: CrashMoment.allCases, [false, true])
    func waiters(moment: CrashMoment, isLeader: Bool) async throws {
        for seed in Simulation.seeds(4) {
            // At the end: while the result of the run is on its way to the record, or just behind.
            let place = moment == .before ? "before" : "after"
            let saboteur = Saboteur(
                at: place, after: moment == .after ? .milliseconds(4) ... .milliseconds(12) : .zero ... .milliseconds(6)
            )
            let working = Self.working(saboteur)
            try await withSimulation(seed: seed, nodes: 5, workflows: [working], configure: snapshotOften) {
                simulation in
                try await simulation.submit(working, id: "a", input: 21)
                let owner = try await simulation.owner(of: "a")
                let victim = try #require(isLeader ? try await simulation.workflowLeader() : owner)
                saboteur.aim(at: victim, simulation)
                try await withThrowingTaskGroup(of: (Int, Int?).self) { group in
                    for number in simulation.nodes {
                        for _ in 0..<3 { group.addTask { (number, try await Self.wait(on: number, simulation)) } }
                    }
                    try await saboteur.strike(simulation)
                    for try await (number, value) in group {
                        // One whose node has gone may have heard before.
                        #expect(value == 42 || (value == nil && number == victim), "seed \(seed), node \(number)")
                    }
                    #expect(try await simulation.ask { try await $0.describe("a").info.status } == .completed)
                }
                try await saboteur.repair(simulation)
                // Whoever comes later finds it at once.
                for number in simulation.nodes {
                    try await simulation.untilFormed()
                    #expect(try await Self.wait(on: number, simulation) == 42, "seed \(seed)")
                }
            }
        }
    }

    @Test("a wait with a time limit ends at the limit or with the value, never with neither, while nodes are cut off")
    func limits() async throws {
        for seed in Simulation.seeds(4) {
            let working = Self.working(Saboteur(at: "nowhere"))
            try await withSimulation(seed: seed, nodes: 3, workflows: [working]) { simulation in
                try await simulation.submit(working, id: "a", input: 21)
                let lone = 1 + Int(simulation.world.random(below: 3))
                let others = simulation.nodes.filter { $0 != lone }
                await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                simulation.partition([lone], from: others)
                let cutOff = try simulation.node(lone)
                async let apart: Int = cutOff.result(of: "a", as: Int.self, timeout: .seconds(60))
                async let together = simulation.node(others[0]).result(of: "a", as: Int.self, timeout: .seconds(60))
                #expect(try await together == 42, "seed \(seed)")
                await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(5)))
                simulation.heal()
                do {
                    #expect(try await apart == 42, "seed \(seed)")
                } catch let error as WorkflowError where error.code == .unavailable {
                    // It says that it does not know, and knows once it is asked again.
                    try await simulation.untilFormed()
                    #expect(try await cutOff.result(of: "a", as: Int.self, timeout: .seconds(60)) == 42, "seed \(seed)")
                }
                try await simulation.submit(working, id: "b", input: 1)
                let tooShort = await #expect(throws: WorkflowError.self) {
                    try await cutOff.result(of: "b", as: Int.self, timeout: .milliseconds(500))
                }
                #expect(tooShort?.code == .timedOut)
                #expect(try await simulation.result(of: "b", as: Int.self) == 2)
            }
        }
    }
}
