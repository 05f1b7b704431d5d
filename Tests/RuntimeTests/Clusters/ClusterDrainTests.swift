import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Clusters that are drained on running nodes", .timeLimit(.minutes(5)))
struct ClusterDrainTests {
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { input, context in
        let first = try await context.step("first") { _ in input + 1 }
        for number in 0..<3 { try await context.checkpoint("progress", number) }
        try await context.sleep(for: .seconds(20))
        return try await context.step("second") { _ in first * 2 }
    }

    @Test(
        "TT-52: the first cluster gives runs and ids to another one while workflows run, and is sealed, whoever leads")
    func migration() async throws {
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 4, workflows: [Self.waiting]) { simulation in
                for number in 0..<10 {
                    _ = try await simulation.node(1 + number % 4).start(Self.waiting, id: "w\(number)", input: number)
                }
                try await simulation.migrate(to: [2, 3, 4])
                // The leader of either group may be among them.
                simulation.crash(3)
                try await simulation.untilFirstClusterIsSealed()
                simulation.restart(3)
                for number in 0..<10 {
                    let output = try await simulation.node(1).result(
                        of: "w\(number)", as: Int.self, timeout: .seconds(60))
                    #expect(output == (number + 1) * 2, "seed \(seed)")
                    let again = try await simulation.node(2).start(Self.waiting, id: "w\(number)", input: number)
                    #expect(again.started.existed, "seed \(seed): the id belongs to the run that has moved")
                }
                let page = try await simulation.node(4).checkpoints("progress", of: "w5")
                #expect(page.checkpoints.map(\.number) == [0, 1, 2], "seed \(seed): history comes along")
                #expect(try await simulation.node(1).list().runs.count == 10)
            }
        }
    }
}
