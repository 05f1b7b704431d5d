import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// A member whose state machine cannot follow.
@Suite struct SlowMemberTests {
    private static let size = 64 << 10

    @Test("a member that cannot apply holds a bounded part of the log, hinders nobody, and catches up")
    func bounded() async throws {
        try await withFleets(nodes: 3, seeds: 2) { fleet in
            try await fleet.waitForVoters(3)
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            let slow = try #require(fleet.nodes.first { $0 != leader })
            let (group, slowGroup) = (try await fleet.group(leader), try await fleet.group(slow))
            try await slowGroup.perform { ($0.stateMachine as? Journal)?.isReadyToApply = false }
            for round: UInt64 in 0..<12 {
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in round * 16..<round * 16 + 16 {
                        tasks.addTask {
                            _ = try await group.propose([Journal.operation(number, padding: Self.size)], ownerEpoch: 0)
                        }
                    }
                    try await tasks.waitForAll()
                }
            }
            try await fleet.world.sleep(for: .seconds(2))
            let report = try await slowGroup.report()
            let held = Int(report.lastIndex.rawValue - report.appliedIndex.rawValue) * Self.size
            #expect(held > 0 && held < 4 << 20, "\(held) of \(192 * Self.size) bytes")
            #expect(report.stopReason == nil && report.status.leader != nil)
            try await slowGroup.perform { ($0.stateMachine as? Journal)?.isReadyToApply = true }
            try await slowGroup.barrier()
            #expect(try await fleet.numbers(slow) == fleet.numbers(leader))
            #expect(try await fleet.numbers(slow).sorted() == Array(0..<192))
        }
    }
}
