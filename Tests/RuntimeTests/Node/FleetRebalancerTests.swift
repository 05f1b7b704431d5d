import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// The rebalancer on simulated nodes.
@Suite("The rebalancer of a fleet", .timeLimit(.minutes(5)))
struct FleetRebalancerTests {
    static let waiting = Workflow("waiting", version: 1) {
        (input: Int, context: WorkflowContext) async throws -> Int in
        var sum = 0
        for number in 1...10 {
            sum += try await context.step("step \(number)") { _ in number * input }
            try await context.sleep(for: .seconds(5))
        }
        return sum
    }

    /// A fleet whose runs begin in one execution cluster, on the first nodes; the last three vote in the management group.
    static func withFleet(
        of count: Int, clusterOf size: Int, seeds: Int,
        _ body: @escaping @Sendable (SimulatedCluster, GroupID) async throws -> Void
    ) async throws {
        try await withSimulations(seeds: seeds, nodes: 0, workflows: [waiting]) { simulation in
            // It leaves its first cluster when the test says so.
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.singleClusterBelow = 1_000
                configuration.executionClusterPolicy = policy
            }
            for _ in 0..<count { simulation.addNode(workflows: [waiting]) }
            try await simulation.untilFormed()
            let managers = Set(simulation.nodes.suffix(3))
            try await simulation.setPolicy(on: 1) { policy in
                policy.voterSelection = .fixed(managers.sorted().map { NodeID(UInt64($0)) })
                policy.targetClusterSize = size
                policy.idleTimeToLive = .seconds(100_000)
                policy.memberFailureTimeout = .seconds(10)
            }
            try await simulation.waitForVoters(managers, within: .seconds(20))
            let group = try await simulation.createCluster(1, on: Array(1...UInt64(size)))
            try await simulation.command(.beginMigration, on: count)
            try await simulation.wait(
                until: "the first cluster has given away all ids, and is gone", within: .seconds(90)
            ) {
                let fleet = try await simulation.fleet(count)
                return fleet.mode == .twoTier && fleet.slots.slots(of: group).count == SlotMap.count
            }
            try await body(simulation, group)
        }
    }

    private static func victims(_ count: Int, of size: Int, _ simulation: SimulatedCluster) -> [Int] {
        var random = SeededGenerator(seed: simulation.world.nextSeed())
        return Array((1...size).shuffled(using: &random).prefix(count))
    }

    private static func members(_ simulation: SimulatedCluster, on node: Int) async throws -> Set<Int> {
        let cluster = try await simulation.fleet(node).clusters[ManagementBench.cluster(1)]
        return Set((cluster?.members.keys).map { $0.map { Int($0.rawValue) } } ?? [])
    }

    @Test("TT-38, TT-44: of 3, 5 and 7 members 1, 2 and 3 may die: runs go on, and others take their places")
    func lostMembers() async throws {
        for size in [3, 5, 7] {
            try await Self.withFleet(of: size + 4, clusterOf: size, seeds: 1) { simulation, group in
                let observer = size + 4
                let run = try await simulation.submit(Self.waiting, id: "a", input: 1)
                let dead = Set(Self.victims(size / 2, of: size, simulation))
                for node in dead.sorted() { simulation.crash(node) }
                try await simulation.wait(until: "the dead are replaced", within: .seconds(60)) {
                    let members = try await Self.members(simulation, on: observer)
                    return members.count == size && members.isDisjoint(with: dead)
                }
                // As management wants it, so it is.
                let member = try await Self.members(simulation, on: observer).subtracting(dead).min()!
                try await simulation.wait(until: "the group has its voters") {
                    guard let hosted = simulation.hostedGroups(member).first(where: { $0.identity.group == group })
                    else { return false }
                    let report = try await hosted.report()
                    return report.voters.count == size && report.outgoingVoters.isEmpty
                        && Set(report.voters.map { Int($0.rawValue) }).isDisjoint(with: dead)
                }
                #expect(try await run.result() == 55)
                for node in dead { simulation.restart(node) }
                try await simulation.wait(until: "those that come back have nothing of it") {
                    dead.allSatisfy { node in
                        !simulation.hostedGroups(node).contains { $0.identity.group == group }
                            && !simulation.hostedGroups(node).isEmpty
                    }
                }
            }
        }
    }

    @Test(
        "TT-44: one more than a cluster of 3, 5 or 7 tolerates: it waits, nobody is replaced, and goes on when one is back"
    )
    func lostMajority() async throws {
        for size in [3, 5, 7] {
            try await Self.withFleet(of: size + 4, clusterOf: size, seeds: 1) { simulation, group in
                let observer = size + 4
                let run = try await simulation.submit(Self.waiting, id: "a", input: 1)
                let dead = Self.victims(size / 2 + 1, of: size, simulation)
                for node in dead { simulation.crash(node) }
                await simulation.advance(by: .seconds(25))
                let voters = try await simulation.fleet(observer).clusters[ManagementBench.cluster(1)]?.voters
                #expect(voters?.map { Int($0.rawValue) } == Array(1...size))
                simulation.restart(dead[0])
                #expect(try await run.result() == 55)
                for node in dead.dropFirst() { simulation.restart(node) }
            }
        }
    }

    @Test("TT-28, TT-29: a busy fleet is left alone and says so; once it is not, the next period does what is missing")
    func busy() async throws {
        try await Self.withFleet(of: 7, clusterOf: 3, seeds: 2) { simulation, _ in
            let period: Duration = .seconds(50)
            simulation.machineLoad = 0.95
            try await simulation.setPolicy(on: 7) { policy in
                policy.rebalancePeriod = period
                policy.readyClusters = 2
            }
            let before = try await simulation.fleet(7).clusters.members.count { $0.value.isActive }
            await simulation.advance(by: .seconds(5))
            #expect(simulation.eventLog.contains("rebalancing is skipped"))
            simulation.machineLoad = 0.1
            let freedAt = simulation.world.now
            // Nothing has happened that asks for a plan.
            await simulation.advance(by: .seconds(30))
            #expect(try await simulation.fleet(7).clusters.members.count { $0.value.isActive } == before)
            try await simulation.wait(until: "two ready clusters", within: period) {
                try await simulation.fleet(7).clusters.members.count { $0.value.isActive && $0.value.runs.isEmpty } == 2
            }
            #expect(freedAt.duration(to: simulation.world.now) <= period)
        }
    }

    @Test("TT-28: a node that is to leave gives its places to others at once, and what it ran goes on")
    func draining() async throws {
        try await Self.withFleet(of: 7, clusterOf: 3, seeds: 2) { simulation, group in
            let run = try await simulation.submit(Self.waiting, id: "a", input: 2)
            try await simulation.command(.drainNode(NodeID(2), isDraining: true), on: 7)
            try await simulation.wait(until: "another has its place", within: .seconds(15)) {
                let members = try await Self.members(simulation, on: 7)
                return members.count == 3 && !members.contains(2)
            }
            try await simulation.wait(until: "node 2 has nothing of it") {
                !simulation.hostedGroups(2).contains { $0.identity.group == group }
            }
            #expect(try await run.result() == 110)
        }
    }
}
