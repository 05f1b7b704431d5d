import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// The history of checkpoints on whole nodes: over crashes, transfers of snapshots and changes of the owner.
@Suite struct CheckpointHistoryTests {
    private static let total = 60

    /// Records its way, and sees at each point what it recorded before.
    private static let counting = Workflow("counting", version: 1) {
        (bytes: Int, context: WorkflowContext) async throws -> Int in
        let filler = String(repeating: "x", count: bytes)
        for number in 0..<total {
            try await context.checkpoint("progress", "\(number) \(filler)")
            try await context.checkpoint("other", number)
            let seen = try await context.checkpoint("progress", as: String.self)
            if seen?.hasPrefix("\(number) ") != true { throw CheckpointLost(seen: seen, number: number) }
            try await context.sleep(for: .milliseconds(200))
        }
        return total
    }

    private struct CheckpointLost: Error {
        var seen: String?
        var number: Int
    }

    private func withSimulations(
        _ count: Int, threshold: Int, _ body: @escaping @Sendable (SimulatedCluster) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(count) {
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.counting],
                configure: { configuration in
                    configuration.groups.snapshotThreshold = threshold
                    configuration.groups.entriesKeptBehindSnapshot = 1
                }, body)
        }
    }

    private func expectWholeHistory(of id: String, on node: Int, _ simulation: SimulatedCluster) async throws {
        var numbers: [Int] = []
        var next: UInt64? = 0
        while let start = next {
            let page = try await simulation.node(node).checkpoints("progress", of: id, from: start, limit: 7)
            numbers += page.checkpoints.map {
                Int(String(decoding: $0.value, as: UTF8.self).dropFirst().prefix { $0 != " " }) ?? -1
            }
            next = page.next
        }
        #expect(numbers == Array(0..<Self.total), "\(id) on node \(node)")
    }

    @Test("RM-20: every node has the whole history after crashes at any moment that lost what was not synced")
    func crashes() async throws {
        try await withSimulations(4, threshold: 25) { simulation in
            let run = try await simulation.submit(Self.counting, id: "a", input: 20)
            for round in 0..<8 {
                await simulation.advance(by: simulation.world.random(in: .milliseconds(200) ... .milliseconds(1_500)))
                let victim = 1 + round % 3
                simulation.crash(victim, unsynced: .dropped)
                await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(800)))
                simulation.restart(victim)
            }
            #expect(try await run.result() == Self.total)
            try await simulation.untilConverged()
            for id in simulation.nodes { try await expectWholeHistory(of: "a", on: id, simulation) }
        }
    }

    @Test(
        "RM-20: a node that gets a snapshot gets the history with it, and can go on as the owner",
        arguments: [10, 40 << 10])
    func transfer(bytes: Int) async throws {
        try await withSimulations(3, threshold: 20) { simulation in
            simulation.crash(3)
            let run = try await simulation.submit(Self.counting, id: "a", input: bytes)
            try await simulation.wait(until: "most is recorded", within: .seconds(60)) {
                (try await simulation.node(1).describe("a").checkpoints.last?.count ?? 0) > 45
            }
            simulation.restart(3)
            try await simulation.untilConverged()
            let group = try #require(simulation.node(3).current?.core.hosted[NodeStart.executionGroup.group])
            #expect(try await group.report().snapshotsInstalled > 0, "node 3 caught up without a snapshot")
            // The run goes to a node that reads what it never applied.
            simulation.crash(1)
            simulation.restart(1)
            let owner = try await simulation.owner(of: "a")
            if let owner, owner != 3 { simulation.crash(owner) }
            #expect(try await run.result() == Self.total)
            if let owner, owner != 3 { simulation.restart(owner) }
            try await simulation.untilConverged()
            for id in simulation.nodes { try await expectWholeHistory(of: "a", on: id, simulation) }
        }
    }
}
