import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// A disk that is full, seen from the groups.
@Suite struct FleetDiskTests {
    private static func fill(_ fleet: SimulatedFleet, _ node: NodeID) { fleet.world.disk(of: node).capacity = 0 }

    /// Proposes numbers until the group refuses one.
    /// - Returns: those that were acknowledged, the error, and the ones whose outcome nobody has told yet.
    private static func proposeUntilRefused(
        _ fleet: SimulatedFleet, on node: NodeID, from first: UInt64
    ) async throws -> (acknowledged: [UInt64], error: GroupError, open: [UInt64]) {
        let group = try await fleet.group(node)
        let acknowledged = Lock<[UInt64]>([])
        let refused = Lock<GroupError?>(nil)
        let last = Lock<UInt64>(first)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in first..<first + 4_000 {
                guard refused.withLock({ $0 == nil }) else { break }
                last.withLock { $0 = number }
                tasks.addTask {
                    do {
                        _ = try await group.propose([Journal.operation(number, padding: 64 << 10)], ownerEpoch: 0)
                        acknowledged.withLock { $0.append(number) }
                    } catch let error as GroupError where error.code == .diskFull {
                        refused.withLock { $0 = $0 ?? error }
                    } catch is CancellationError {
                    }
                }
                try await fleet.world.sleep(for: .milliseconds(20))
            }
            tasks.cancelAll()
        }
        let known = acknowledged.withLock { $0 }
        let error = try #require(refused.withLock { $0 })
        return (known, error, (first..<last.withLock { $0 }).filter { !known.contains($0) })
    }

    @Test("a single node whose disk is full refuses commands by name, answers reads, and goes on when there is room")
    func single() async throws {
        try await withFleets(nodes: 1, seeds: 3) { fleet in
            let node = NodeID(1)
            let group = try await fleet.group(node)
            _ = try await group.propose([Journal.operation(1)], ownerEpoch: 0)
            Self.fill(fleet, node)
            let outcome = try await Self.proposeUntilRefused(fleet, on: node, from: 2)
            #expect(outcome.error.message.contains("make room on that disk"), "\(outcome.error)")
            try await group.barrier()
            #expect(try await group.report().stopReason == nil)
            fleet.world.disk(of: node).capacity = nil
            try await fleet.world.sleep(for: .milliseconds(500))
            _ = try await group.propose([Journal.operation(5_000)], ownerEpoch: 0)
            let numbers = try await fleet.numbers(node)
            #expect(Set(outcome.acknowledged).isSubset(of: numbers))
            // What was taken before the disk was full is done after all, once.
            #expect(numbers.count == Set(numbers).count)
            #expect(Set(numbers).subtracting(outcome.acknowledged).isSubset(of: [1, 5_000] + outcome.open))
        }
    }

    @Test("a leader whose disk is full keeps its term, and the others commit what they propose")
    func leaderOfThree() async throws {
        try await withFleets(nodes: 3, seeds: 3) { fleet in
            try await fleet.waitForVoters(3)
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            let term = try await fleet.group(leader).report().status.term
            Self.fill(fleet, leader)
            let outcome = try await Self.proposeUntilRefused(fleet, on: leader, from: 1)
            let other = fleet.nodes.first { $0 != leader }!
            _ = try await fleet.group(other).propose([Journal.operation(5_000)], ownerEpoch: 0)
            try await fleet.group(leader).barrier()
            try await fleet.world.sleep(for: .seconds(5))
            #expect(try await fleet.group(leader).report().status.term == term)
            fleet.world.disk(of: leader).capacity = nil
            try await fleet.world.sleep(for: .milliseconds(500))
            _ = try await fleet.group(leader).propose([Journal.operation(5_001)], ownerEpoch: 0)
            for node in fleet.nodes {
                try await fleet.group(node).barrier()
                let numbers = try await fleet.numbers(node)
                #expect(Set(outcome.acknowledged + [5_000, 5_001]).isSubset(of: numbers))
                #expect(numbers.count == Set(numbers).count)
            }
        }
    }
}
