import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Groups that lost their majority and begin again with what one survivor has.
@Suite struct GroupRefoundingTests {
    private static let group = SimulatedFleet.group

    /// Three nodes with a group, of which two are lost after it has taken some numbers.
    private func withSurvivor(seeds: Int, _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void)
        async throws
    {
        try await withFleets(nodes: 3, seeds: seeds, groups: []) { fleet in
            let foundation = GroupFoundation(
                group: Self.group, incarnation: 1, kind: .benchmark, voters: fleet.nodes)
            for node in fleet.nodes { try await fleet.cores[node]?.found(foundation) }
            for number in UInt64(1)...5 {
                _ = try await fleet.group(NodeID(1)).propose([Journal.operation(number)], ownerEpoch: 0)
            }
            try await fleet.wait("entries") { reports in
                reports.count == 3 && Set(reports.values.map(\.appliedIndex)).count == 1
            }
            await fleet.crash(NodeID(2), .killed)
            await fleet.crash(NodeID(3), .killed)
            try await body(fleet)
        }
    }

    private func expectAlone(_ fleet: SimulatedFleet, _ numbers: [UInt64]) async throws {
        let node = NodeID(1)
        try await fleet.wait("a leader of the new incarnation") { reports in
            reports[node].map { $0.incarnation == 2 && $0.voters == [node] && $0.leader == node } ?? false
        }
        let known = try await fleet.numbers(node)
        #expect(known.starts(with: numbers), "FLOTILLA_SEED=\(fleet.world.seed): \(known)")
        _ = try await fleet.group(node).propose([Journal.operation(100)], ownerEpoch: 0)
        #expect(try await fleet.numbers(node) == known + [100])
    }

    @Test("TT-38: a group goes on in a new incarnation, with what the survivor had, as often as it is told to")
    func survivor() async throws {
        try await withSurvivor(seeds: 5) { fleet in
            let core = fleet.cores[NodeID(1)]!
            try await core.refound(Self.group, incarnation: 2)
            try await core.refound(Self.group, incarnation: 2)
            try await expectAlone(fleet, [1, 2, 3, 4, 5])
            let replica = try await fleet.group(NodeID(1)).report().replica
            #expect(replica.rawValue > 3, "an id that no session of the old incarnation knows: \(replica)")
            await fleet.crash(NodeID(1), .powerLost(.dropped))
            try await fleet.start(NodeID(1))
            try await fleet.group(NodeID(1)).barrier()
            #expect(try await fleet.numbers(NodeID(1)) == [1, 2, 3, 4, 5, 100])
            // Those that return speak for another incarnation.
            try await fleet.start(NodeID(2))
            try await fleet.start(NodeID(3))
            try await fleet.world.sleep(for: .seconds(5))
            _ = try await fleet.group(NodeID(1)).propose([Journal.operation(101)], ownerEpoch: 0)
            #expect(try await fleet.numbers(NodeID(1)).suffix(2) == [100, 101])
            #expect(try await fleet.group(NodeID(1)).report().voters == [NodeID(1)])
        }
    }

    @Test(
        "a replica whose group begins anew elsewhere takes no part any more, keeps what it has, and may begin it after all"
    )
    func withdrawn() async throws {
        try await withFleets(nodes: 3, seeds: 3, groups: []) { fleet in
            let foundation = GroupFoundation(
                group: Self.group, incarnation: 1, kind: .benchmark, voters: fleet.nodes)
            for node in fleet.nodes { try await fleet.cores[node]?.found(foundation) }
            for number in UInt64(1)...5 {
                _ = try await fleet.group(NodeID(1)).propose([Journal.operation(number)], ownerEpoch: 0)
            }
            for node in [NodeID(1), NodeID(2)] { await fleet.cores[node]?.withdraw(Self.group, before: 2) }
            let group = try await fleet.group(NodeID(1))
            for _ in 1...2 {
                let refused = await #expect(throws: GroupError.self) {
                    _ = try await group.propose([Journal.operation(6)], ownerEpoch: 0)
                }
                #expect(refused?.code == .stopped)
                await #expect(throws: GroupError.self) { try await group.barrier() }
                // The third one has no majority without them.
                await #expect(throws: GroupError.self) { try await fleet.group(NodeID(3)).barrier() }
                try await fleet.world.sleep(for: .seconds(3))
            }
            #expect(try await fleet.numbers(NodeID(1)).starts(with: [1, 2, 3, 4, 5]))
            await fleet.crash(NodeID(3), .killed)
            try await fleet.cores[NodeID(1)]?.refound(Self.group, incarnation: 3)
            try await fleet.wait("a leader of the new incarnation") { reports in
                reports[NodeID(1)].map { $0.incarnation == 3 && $0.leader == NodeID(1) } ?? false
            }
            #expect(try await fleet.numbers(NodeID(1)) == [1, 2, 3, 4, 5])
        }
    }

    @Test("what was in the survivor's log and not committed is in the new incarnation: others may have committed it")
    func uncommittedTail() async throws {
        var kept = 0
        for seed in Simulation.seeds(6) {
            kept += try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.groups = []
                try await fleet.startAll()
                let foundation = GroupFoundation(
                    group: Self.group, incarnation: 1, kind: .benchmark, voters: fleet.nodes)
                for node in fleet.nodes { try await fleet.cores[node]?.found(foundation) }
                _ = try await fleet.group(NodeID(1)).propose([Journal.operation(1)], ownerEpoch: 0)
                // The leader writes what nobody else gets.
                let reports = try await fleet.group(NodeID(1)).report()
                let leader = try #require(reports.leader)
                for node in fleet.nodes where node != leader { await fleet.crash(node, .killed) }
                let group = try await fleet.group(leader)
                let wasKept = try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask {
                        let error = await #expect(throws: GroupError.self) {
                            _ = try await group.propose([Journal.operation(2)], ownerEpoch: 0)
                        }
                        #expect(error?.code == .stopped)
                    }
                    try await fleet.world.sleep(for: .milliseconds(200))
                    try await fleet.cores[leader]!.refound(Self.group, incarnation: 2)
                    try await tasks.waitForAll()
                    return try await fleet.numbers(leader) == [1, 2]
                }
                await fleet.stopAll()
                return wasKept ? 1 : 0
            }.value
        }
        #expect(kept > 0)
    }

    @Test(
        "a power failure at any change of the disk leaves the old replica or the new one, with everything, never both")
    func powerLost() async throws {
        for changes in 1...14 {
            try await withSurvivor(seeds: 1) { fleet in
                let node = NodeID(1)
                fleet.world.disk(of: node).losePower(afterChanges: changes, .anyKept)
                let core = fleet.cores[node]!
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask {
                        do {
                            try await core.refound(Self.group, incarnation: 2)
                        } catch is GroupError {
                        } catch is LogError {
                        }
                    }
                    try await fleet.world.sleep(for: .seconds(1))
                    fleet.world.disk(of: node).losePower(afterChanges: nil)
                    await fleet.crash(node, .powerLost(.dropped))
                    try await tasks.waitForAll()
                }
                try await fleet.start(node)
                try await fleet.cores[node]!.refound(Self.group, incarnation: 2)
                try await expectAlone(fleet, [1, 2, 3, 4, 5])
            }
        }
    }
}
