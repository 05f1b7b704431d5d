import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What operators are told of running nodes.
@Suite("Status of a fleet", .timeLimit(.minutes(5)))
struct FleetStatusTests {
    private static let stepping = Workflow<Int, Int>("stepping", version: 1) { input, context in
        for number in 0..<input { _ = try await context.step("step \(number)") { _ in number } }
        try await context.sleep(for: .seconds(600))
        return input
    }

    private func ask(_ simulation: SimulatedCluster, _ node: Int, _ path: String) async throws -> String {
        let response = await HTTPAPI(node: try simulation.node(node)).respond(
            to: HTTPRequest(
                method: "GET", path: path, segments: path.split(separator: "/").map(String.init), query: [], body: []))
        #expect(response.status == 200)
        return String(decoding: response.body, as: UTF8.self)
    }

    @Test("a cluster that loses its quorum says so on any node, with who is silent, and recovers by itself")
    func quorum() async throws {
        try await withSimulation(seed: 1, nodes: 5, workflows: [Self.stepping]) { simulation in
            let id = try await simulation.node(1).createCluster(on: [3, 4, 5].map { NodeID($0) })
            try await simulation.wait(until: "a leader") { try await simulation.node(1).cluster(id).leader != nil }
            let healthy = try await simulation.node(2).fleet()
            #expect(healthy.mode == "single" && healthy.nodes.count == 5 && healthy.problem == nil)
            #expect(healthy.clusters.allSatisfy { $0.problem == nil && $0.leader != nil }, "\(healthy.clusters)")
            #expect(healthy.nodes.allSatisfy { $0.silentFor == nil })
            simulation.crash(4)
            simulation.crash(5)
            await simulation.advance(by: .seconds(3))
            let fleet = try await simulation.node(2).fleet()
            let cluster = try #require(fleet.clusters.first { $0.id == id })
            #expect(cluster.problem?.contains("1 of 3 voters answer") == true, "\(cluster)")
            #expect(cluster.problem?.contains("node 4 is silent for") == true)
            #expect(fleet.nodes[3].silentFor ?? 0 >= 2)
            simulation.restart(4)
            simulation.restart(5)
            try await simulation.wait(until: "it works again") {
                let cluster = try await simulation.node(2).cluster(id)
                return cluster.problem == nil && cluster.leader != nil
            }
        }
    }

    @Test("TT-48: a scrape has all seven families, with the values of what is counted")
    func metrics() async throws {
        try await withSimulation(seed: 1, nodes: 3, workflows: [Self.stepping]) { simulation in
            for number in 1...4 {
                _ = try await simulation.submit(Self.stepping, id: "run-\(number)", input: 5)
            }
            try await simulation.wait(until: "all steps are recorded") {
                for number in 1...4 where try await simulation.node(1).describe("run-\(number)").timers.isEmpty {
                    return false
                }
                return true
            }
            let status = try await simulation.node(1).cluster(ExecutionCluster.common.text)
            let leader = Int(try #require(status.leader))
            let services = try await simulation.node(leader).running()
            let before = await services.core.counters().scheduler
            let text = try await ask(simulation, leader, "metrics")
            let after = await services.core.counters().scheduler
            let samples = Dictionary(
                uniqueKeysWithValues: text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
                    let space = line.lastIndex(of: " ")!
                    return (String(line[..<space]), Double(line[line.index(after: space)...])!)
                })
            let label = "{cluster_id=\"\(ExecutionCluster.common.text)\"}"
            #expect(samples["flotilla_cluster_workflows" + label] == 4)
            #expect(samples["flotilla_cluster_checkpoints_total" + label] == 20)
            let rounds = try #require(samples["flotilla_cluster_quorum_seconds_count" + label])
            let total = try #require(samples["flotilla_cluster_quorum_seconds_sum" + label])
            let report = try await services.core.hosted.group(ExecutionCluster.commonGroup).report()
            #expect(rounds > 0 && rounds <= Double(report.quorumRounds))
            // What the simulated network and disk take: more than nothing, less than an election.
            #expect(total > 0 && total / rounds < 1, "\(total) s in \(rounds) rounds")
            #expect(samples["flotilla_node_memberships{node=\"\(leader)\"}"] == 1)
            let sent = try #require(samples["flotilla_node_messages_total{node=\"\(leader)\",direction=\"sent\"}"])
            #expect((Double(before.messagesOut)...Double(after.messagesOut)).contains(sent))
            #expect(samples["flotilla_fleet_workflows"] == 4)
            #expect(samples["flotilla_fleet_utilisation"] == 0.2)
            // A member that does not lead tells nothing of the cluster.
            let other = try await ask(simulation, leader % 3 + 1, "metrics")
            #expect(!other.contains("cluster_id=") && other.contains("flotilla_fleet_workflows 4\n"))
        }
    }

    @Test("TT-47: clusters are listed in the order of their making, on every node")
    func order() async throws {
        try await withSimulation(seed: 1, nodes: 3, workflows: []) { simulation in
            var made: [String] = [ExecutionCluster.common.text]
            for node in [3, 1, 2, 1] {
                await simulation.advance(by: .milliseconds(5))
                made.append(try await simulation.node(node).createCluster())
            }
            for node in 1...3 {
                try await simulation.wait(until: "node \(node) has heard of all") {
                    try await simulation.node(node).clusters().count == 5
                }
                let clusters = try await simulation.node(node).clusters()
                #expect(clusters.map(\.id) == made)
                #expect(clusters.map(\.createdAt) == clusters.map(\.createdAt).sorted())
            }
        }
    }
}
