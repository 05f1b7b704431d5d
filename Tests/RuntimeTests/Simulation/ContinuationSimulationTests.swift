import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Workflows without an end, on whole nodes: the owner crashes around a new execution, and the run moves.
@Suite(.timeLimit(.minutes(5))) struct ContinuationSimulationTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let deposit = WorkflowSignal<Int>("deposit")
    private static let close = WorkflowUpdate<Bool, Int>("close")

    /// Takes three deposits in each execution, and ends when it is told to.
    private static let account = Workflow<[Int], [Int]>("account", version: 1) { known, context in
        var deposits = known
        for _ in 0..<3 {
            deposits.append(try await context.receive(Self.deposit))
            if deposits.count == 9 {
                try await context.receive(Self.close).reply(deposits.reduce(0, +))
                return deposits
            }
        }
        try await context.continueAsNew(deposits)
    }

    @Test(
        "each signal is received once and in order over all executions, whenever owners crash",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(4) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.account]) { simulation in
                let run = try await simulation.submit(Self.account, id: "a", input: [])
                for number in 1...9 as ClosedRange<UInt64> {
                    // The third and the sixth end an execution.
                    let crashes = number % 3 == 0
                    let owner = crashes ? try await simulation.owner(of: "a") : nil
                    if let owner, moment == .before { simulation.crash(owner, dropUnsynced: true) }
                    async let told: Void = simulation.signal("a", Self.deposit, Int(number), from: ("bank", number))
                    if let owner, moment == .during {
                        await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(25)))
                        simulation.crash(owner, dropUnsynced: true)
                    }
                    try await told
                    if let owner, moment == .after { simulation.crash(owner, dropUnsynced: true) }
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(300)))
                    if let owner { simulation.restart(owner) }
                }
                let sum = try await simulation.update("a", Self.close, true, updateID: "end")
                #expect(sum == 45, "seed \(seed)")
                #expect(try await run.result() == Array(1...9), "seed \(seed)")
                let info = try await simulation.node(1).describe("a").info
                #expect(info.execution == 3 && info.runID == run.runID)
                for former in ["a~1", "a~2"] {
                    #expect(try await simulation.node(2).describe(former).info.status == .continued)
                }
                try await simulation.untilConverged()
            }
        }
    }

    @Test("a run that has had several executions moves to another cluster with all of them, and goes on there")
    func moves() async throws {
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 4, workflows: [Self.account]) { simulation in
                let run = try await simulation.submit(Self.account, id: "a", input: [])
                for number in 1...5 as ClosedRange<UInt64> {
                    try await simulation.signal("a", Self.deposit, Int(number), from: ("bank", number))
                }
                try await simulation.migrate(to: [2, 3, 4])
                for number in 6...8 as ClosedRange<UInt64> {
                    try await simulation.signal("a", Self.deposit, Int(number), from: ("bank", number))
                }
                try await simulation.untilFirstClusterIsSealed()
                try await simulation.signal("a", Self.deposit, 9, from: ("bank", 9))
                #expect(try await simulation.update("a", Self.close, true, updateID: "end") == 45)
                #expect(try await run.result() == Array(1...9), "seed \(seed)")
                let again = try await simulation.node(1).start(Self.account, id: "a", input: [])
                #expect(again.started.existed && again.runID == run.runID)
                let list = try await simulation.node(3).list().runs.map(\.workflowID)
                #expect(Set(list) == ["a", "a~1", "a~2"], "seed \(seed)")
            }
        }
    }
}
