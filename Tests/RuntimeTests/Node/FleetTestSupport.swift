import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

// The management group of simulated nodes, as tests look at it and change it.

extension SimulatedCluster {
    /// What a node knows of the fleet.
    func fleet(_ node: Int) async throws -> ManagementState {
        try await self.node(node).running().machines.management.withLock { $0 }
    }

    /// A command of the management group, proposed on a node.
    func command(_ operations: ManagementOperation..., on node: Int) async throws {
        let group = try await self.node(node).running().managementGroup
        let answer = try await group.propose(operations.map(\.encoded), ownerEpoch: 0)
        #expect(answer.code == 0, "\(operations): \(String(decoding: answer.body, as: UTF8.self))")
    }

    func setPolicy(on node: Int, _ change: (inout ExecutionClusterPolicy) -> Void) async throws {
        var policy = try await fleet(node).policy
        change(&policy)
        try await command(.setPolicy(policy), on: node)
    }

    /// What a node's replica of the management group looks like.
    func managementReport(_ node: Int) async throws -> GroupReport {
        try await self.node(node).running().managementGroup.report()
    }

    /// Waits until all running nodes have these voters of the management group in force. On the way their number is odd,
    /// and not below `least`.
    func waitForVoters(_ expected: Set<Int>, within limit: Duration, least: Int = 3) async throws {
        try await wait(until: "management voters \(expected.sorted())", within: limit) {
            var isDone = true
            for node in runningNodes {
                let report = try await managementReport(node)
                // One that has just started may still read its log, and know of no more than it has read.
                for voters in [report.voters, report.outgoingVoters]
                where !voters.isEmpty && report.status.role == .leader {
                    #expect(!voters.count.isMultiple(of: 2) && voters.count >= least, "node \(node): \(voters)")
                }
                isDone =
                    isDone && report.outgoingVoters.isEmpty && Set(report.voters.map { Int($0.rawValue) }) == expected
            }
            return isDone
        }
    }

    func voters(_ node: Int) async throws -> Set<Int> {
        Set(try await managementReport(node).voters.map { Int($0.rawValue) })
    }

    /// What a node hosts; nothing while it is down.
    func hostedGroups(_ node: Int) -> [RaftGroup] { (try? self.node(node).current)?.core.hosted.all ?? [] }

    /// Creates an execution cluster, and waits until it has a leader that all of its nodes know.
    func createCluster(_ number: UInt64, on nodes: [UInt64]) async throws -> GroupID {
        let observer = runningNodes[0]
        try await command(ManagementBench.create(number, nodes), on: observer)
        let id = ManagementBench.cluster(number)
        let group = try #require(try await fleet(observer).clusters[id]?.group)
        try await wait(until: "\(id) has a leader") {
            for node in nodes {
                guard let hosted = hostedGroups(Int(node)).first(where: { $0.identity.group == group }),
                    try await hosted.membership().leader != nil
                else { return false }
            }
            return true
        }
        return group
    }
}
