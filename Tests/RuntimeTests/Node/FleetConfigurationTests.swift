import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Foundation
import Testing

@testable import Flotilla

/// How nodes are configured as a fleet, and what becomes of it on simulated nodes.
@Suite("Configuration of a fleet", .timeLimit(.minutes(10)))
struct FleetConfigurationTests {
    // README
    static let founder = NodeConfiguration.bootstrap(address: "127.0.0.1:5001", id: 1)
        .withManagementRole(.voter)
        .withExecutionClusterPolicy(
            ExecutionClusterPolicy(
                maximumWorkflowsPerCluster: 20, targetClusterSize: 5, strategy: .roundRobin, rebalanceThreshold: 0.3))

    static let learner = NodeConfiguration.join(address: "127.0.0.1:5047", seeds: ["127.0.0.1:5001"], id: 47)
        .withManagementRole(.learner)
        .withLabels(["zone": "b"])
    // README

    @Test("the README shows this code, word for word")
    func readme() throws {
        let source = try String(contentsOf: URL(fileURLWithPath: #filePath), encoding: .utf8)
        let code = source.components(separatedBy: "    // README\n")[1].split(
            separator: "\n", omittingEmptySubsequences: false
        ).map { $0.replacingOccurrences(of: "    static let", with: "let") }
        let lines = code.map { $0.hasPrefix("        ") ? String($0.dropFirst(4)) : String($0) }
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { root.deleteLastPathComponent() }
        let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        #expect(readme.contains(lines.joined(separator: "\n").trimmingCharacters(in: .newlines)))
    }

    @Test("TT-34: what is chained is what the node has; a copy is changed, not the original")
    func chained() throws {
        #expect(Self.founder.founds && Self.founder.join.isEmpty && Self.founder.id == NodeID(1))
        #expect(Self.founder.listen == "127.0.0.1:5001" && Self.founder.managementRole == .voter)
        #expect(Self.founder.executionClusterPolicy == ExecutionClusterPolicy())
        #expect(!Self.learner.founds && Self.learner.join == ["127.0.0.1:5001"] && Self.learner.id == NodeID(47))
        let more = Self.learner.withLabels(["zone": "c", "rack": "1"])
        #expect(more.labels == ["zone": "c", "rack": "1"] && Self.learner.labels == ["zone": "b"])
        try Self.founder.validate()
        try Self.learner.validate()
    }

    @Test("a policy that cannot be used is refused, and one on a node that joins as well")
    func refused() {
        let wrong = Self.founder.withExecutionClusterPolicy(ExecutionClusterPolicy(targetClusterSize: 9))
        #expect(throws: NodeError.self) { try wrong.validate() }
        let joining = Self.learner.withExecutionClusterPolicy(ExecutionClusterPolicy())
        #expect(throws: NodeError.self) { try joining.validate() }
    }

    @Test("the founder's policy counts once: after a change and a restart it is the changed one")
    func founding() async throws {
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            guard configuration.founds else { return }
            configuration.executionClusterPolicy = ExecutionClusterPolicy(maximumWorkflowsPerCluster: 7)
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [], configure: configure) { simulation in
            #expect(try await simulation.node(3).policy().maximumWorkflowsPerCluster == 7)
            var policy = try await simulation.node(2).policy()
            policy.maximumWorkflowsPerCluster = 8
            try await simulation.node(2).setPolicy(policy)
            simulation.crash(1)
            simulation.restart(1)
            try await simulation.wait(until: "node 1 is ready") {
                (try? await simulation.node(1).status().ready) == true
            }
            try await simulation.wait(until: "it was told that its configuration does not count") {
                simulation.eventLog.contains("another policy than this node's configuration")
            }
            #expect(try await simulation.node(1).policy() == policy)
        }
    }

    @Test("nodes that ask to vote do, whoever came first, and those that ask to be learners never")
    func roles() async throws {
        for seed in Simulation.seeds(2) {
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                switch configuration.id.rawValue {
                case 1, 5, 6: configuration.managementRole = .voter
                case 2, 3: configuration.managementRole = .learner
                default: break
                }
            }
            try await withSimulation(seed: seed, nodes: 7, workflows: [], configure: configure) { simulation in
                try await simulation.waitForVoters([1, 5, 6], within: .seconds(20), least: 1)
                // Of those that are left, one that does not ask is next.
                simulation.crash(6)
                try await simulation.waitForVoters([1, 4, 5], within: .seconds(10))
                simulation.restart(6)
                try await simulation.waitForVoters([1, 5, 6], within: .seconds(10))
                let nodes = try await simulation.node(1).fleet().nodes
                #expect(nodes.map(\.wantedRole) == ["voter", "learner", "learner", nil, "voter", "voter", nil])
            }
        }
    }

    @Test(
        "TT-01, TT-34: of 50 nodes three vote and 47 are learners, as they ask; every node's management state lists all"
    )
    func manyNodes() async throws {
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            configuration = configuration.withManagementRole(configuration.id.rawValue <= 3 ? .voter : .learner)
            guard configuration.founds else { return }
            var policy = ExecutionClusterPolicy()
            policy.singleClusterBelow = 100
            configuration = configuration.withExecutionClusterPolicy(policy)
        }
        try await withSimulation(seed: 1, nodes: 0, workflows: [], configure: configure) { simulation in
            for _ in 1...50 { simulation.addNode(workflows: []) }
            try await simulation.wait(until: "all have joined") {
                try await simulation.fleet(1).nodes.count == 50
            }
            // Without what they ask for five of so many would vote.
            #expect(try await simulation.node(50).policy().voterCount(nodes: 50) == 5)
            try await simulation.waitForVoters([1, 2, 3], within: .seconds(30), least: 1)
            for node in 1...50 {
                let fleet = try await simulation.fleet(node)
                #expect(fleet.nodes.count == 50 && fleet.voters == [1, 2, 3].map { NodeID($0) }, "node \(node)")
            }
        }
    }
}
