import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Runs that leave the cluster some time after their end, on whole nodes under virtual time.
@Suite struct RetentionTests {
    private static let quick = Workflow("quick", version: 1) {
        (number: Int, context: WorkflowContext) async throws -> Int in
        try await context.checkpoint("progress", number)
        return number
    }

    private static let lasting = Workflow("lasting", version: 1) {
        (number: Int, context: WorkflowContext) async throws -> Int in
        try await context.sleep(for: .seconds(2_000))
        return number
    }

    /// - Parameter portion: how many runs one command removes.
    private func withSimulations(
        _ count: Int, keeping retention: WorkflowRetention, portion: Int = 3,
        _ body: @escaping @Sendable (SimulatedCluster) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(count) {
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.quick, Self.lasting],
                configure: { configuration in
                    configuration.retention = retention
                    configuration.limits.prunePortion = portion
                    configuration.groups.snapshotThreshold = 60
                    configuration.groups.entriesKeptBehindSnapshot = 5
                }, body)
        }
    }

    /// - Returns: the started runs' ids, all of which have ended.
    private static func finish(_ numbers: Range<Int>, _ simulation: SimulatedCluster) async throws -> [RunID] {
        var ids: [RunID] = []
        for number in numbers {
            let run = try await simulation.submit(quick, id: "q\(number)", input: number)
            #expect(try await run.result() == number)
            ids.append(run.runID)
        }
        return ids
    }

    private static func listed(_ number: Int, _ simulation: SimulatedCluster) async throws -> [String] {
        var ids: [String] = []
        var after: String?
        repeat {
            let page = try await simulation.node(number).list(after: after, limit: 4)
            ids += page.runs.map(\.workflowID)
            after = page.next
        } while after != nil
        return ids
    }

    /// Whose checkpoints a node's store still has.
    private static func stored(_ runs: [RunID], on number: Int, _ simulation: SimulatedCluster) async throws -> [Int] {
        let journal = try #require(try simulation.node(number).current?.machines.checkpoints)
        return try await journal.read { store throws(LogError) in
            var found: [Int] = []
            for (place, runID) in runs.enumerated() {
                let run = CheckpointRun(
                    group: NodeStart.executionGroup.group, run: RunKey("default", "q\(place)"), runID: runID)
                if try store.latest(of: CheckpointKey(run: run, name: "progress")) != nil { found.append(place) }
            }
            return found
        }
    }

    private static func leader(_ simulation: SimulatedCluster) async throws -> Int? {
        guard let number = simulation.runningNodes.first else { return nil }
        let status = try await simulation.node(number).status()
        return status.groups.first { $0.group == NodeStart.executionGroup.group.rawValue }?.leader.map { Int($0) }
    }

    @Test("runs are removed on all nodes once they ended so long ago, not before, and those that go on stay")
    func age() async throws {
        try await withSimulations(3, keeping: WorkflowRetention(age: .seconds(600), count: nil)) { simulation in
            _ = try await simulation.submit(Self.lasting, id: "lasting", input: 1)
            let runs = try await Self.finish(0..<10, simulation)
            await simulation.advance(by: .seconds(560))
            #expect(try await Self.listed(1, simulation).count == 11)
            await simulation.advance(by: .seconds(60))
            for node in simulation.nodes {
                #expect(try await Self.listed(node, simulation) == ["lasting"])
                #expect(try await Self.stored(runs, on: node, simulation) == [])
            }
            try await simulation.untilConverged()
        }
    }

    @Test("so many that ended are kept, those that ended last, also while others are started under removed ids")
    func count() async throws {
        try await withSimulations(3, keeping: WorkflowRetention(age: nil, count: 5)) { simulation in
            let runs = try await Self.finish(0..<20, simulation)
            await simulation.advance(by: .seconds(5))
            for node in simulation.nodes {
                #expect(try await Self.listed(node, simulation) == (15..<20).map { "q\($0)" })
                #expect(try await Self.stored(runs, on: node, simulation) == Array(15..<20))
            }
            let again = try await simulation.submit(Self.quick, id: "q3", input: 33)
            #expect(try await again.result() == 33 && again.runID != runs[3])
            await simulation.advance(by: .seconds(5))
            #expect(try await Self.listed(2, simulation) == (16..<20).map { "q\($0)" } + ["q3"])
            try await simulation.untilConverged()
        }
    }

    @Test(
        "a leader that dies while it removes is followed by one that goes on, and a node that was away gets there too")
    func failover() async throws {
        let retention = WorkflowRetention(age: .seconds(30), count: 40)
        try await withSimulations(6, keeping: retention) { simulation in
            let runs = try await Self.finish(0..<40, simulation)
            // All are there still: they go together, in portions of three.
            await simulation.advance(by: .seconds(25))
            let away = 1 + Int(simulation.world.random(below: 3))
            simulation.crash(away, dropUnsynced: true)
            try await simulation.wait(until: "some are removed", within: .seconds(60)) {
                let node = try #require(simulation.runningNodes.first)
                return try await Self.listed(node, simulation).count < 40
            }
            let leader = try #require(try await Self.leader(simulation))
            simulation.restart(away)
            simulation.crash(leader, dropUnsynced: true)
            await simulation.advance(by: simulation.world.random(in: .seconds(1) ... .seconds(20)))
            simulation.restart(leader)
            try await simulation.wait(until: "all are removed", within: .seconds(60)) {
                try await Self.listed(1, simulation).isEmpty
            }
            try await simulation.untilConverged()
            for node in simulation.nodes {
                #expect(try await Self.listed(node, simulation) == [])
                #expect(try await Self.stored(runs, on: node, simulation) == [], "node \(node)")
            }
        }
    }

    @Test(
        "a run that is removed by hand is gone from all nodes, and its id is free, whenever the leader crashes",
        arguments: CrashMoment.allCases)
    func byHand(moment: CrashMoment) async throws {
        try await withSimulations(3, keeping: .forever) { simulation in
            let runs = try await Self.finish(0..<4, simulation)
            try await simulation.submit(Self.lasting, id: "lasting", input: 1)
            let early = await #expect(throws: WorkflowError.self) { try await simulation.node(1).prune("lasting") }
            #expect(early?.code == .wrongState)
            let leader = try #require(try await Self.leader(simulation))
            try await simulation.crash(leader, moment) {
                do {
                    try await simulation.ask { try await $0.prune("q1") }
                } catch let error as WorkflowError where error.code == .notFound {
                    // The answer to an earlier attempt was lost.
                }
                let gone = await #expect(throws: WorkflowError.self) {
                    try await simulation.ask { try await $0.describe("q1") }
                }
                #expect(gone?.code == .notFound)
            }
            try await simulation.untilConverged()
            for node in simulation.nodes {
                #expect(try await Self.listed(node, simulation) == ["q0", "q2", "q3", "lasting"])
                try await simulation.wait(until: "its checkpoints are removed", within: .seconds(10)) {
                    try await Self.stored(runs, on: node, simulation) == [0, 2, 3]
                }
            }
            let again = try await simulation.submit(Self.quick, id: "q1", input: 11)
            #expect(try await again.result() == 11 && again.runID != runs[1])
        }
    }

    @Test("every list that is taken while runs are removed has all that stay, each once and in order")
    func listing() async throws {
        try await withSimulations(3, keeping: WorkflowRetention(age: .seconds(1), count: nil), portion: 1) {
            simulation in
            var stay: [String] = []
            for number in 0..<12 {
                _ = try await Self.finish(number * 3..<number * 3 + 3, simulation)
                let run = try await simulation.submit(Self.lasting, id: "l\(number)", input: number)
                stay.append(run.workflowID)
                let node = 1 + Int(simulation.world.random(below: 3))
                let listed = try await Self.listed(node, simulation)
                #expect(listed.filter { $0.hasPrefix("l") } == stay)
                #expect(Set(listed).count == listed.count)
            }
        }
    }
}
