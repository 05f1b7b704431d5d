import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Clusters in which nothing runs", .timeLimit(.minutes(5)))
struct IdleClusterTests {
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("double") { _ in input * 2 }
    }

    @Test(
        "TT-40: a cluster goes when nothing has run there for its time to live, and not before; with zero it goes at once"
    )
    func timeToLive() async throws {
        try await withSimulation(seed: 1, nodes: 0, workflows: [Self.quick]) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy(targetClusterSize: 3)
                policy.singleClusterBelow = 3
                policy.pinnedTypes = ["quick"]
                configuration.executionClusterPolicy = policy
            }
            for _ in 0..<5 { simulation.addNode(workflows: [Self.quick]) }
            try await simulation.wait(until: "the first cluster is gone", within: .seconds(120)) {
                guard simulation.runningNodes.count == 5, let fleet = try? await simulation.node(5).fleet() else {
                    return false
                }
                return fleet.mode == "twoTier" && fleet.nodes.count == 5
            }
            let node = try simulation.node(5)
            let home = try #require(try await node.clusters().first?.id)
            let idle = try await node.createCluster(on: [1, 2, 3].map { NodeID($0) }, pinnedType: "quick")
            let created = simulation.world.now
            await simulation.advance(by: .seconds(200))
            #expect(try await run(1, on: 1, simulation) == 2, "a burst")
            let ended = simulation.world.now
            let left = created.advanced(by: .seconds(305)).nanoseconds - ended.nanoseconds
            await simulation.advance(by: .nanoseconds(left))
            #expect(try await phase(of: idle, simulation) == "active", "the burst keeps it")
            await simulation.advance(
                by: .nanoseconds(ended.advanced(by: .seconds(299)).nanoseconds - simulation.world.now.nanoseconds))
            #expect(try await phase(of: idle, simulation) == "active", "4:59")
            // What is reported is known a second later, and the leader looks once a second.
            try await simulation.wait(until: "it is given up", within: .seconds(4)) {
                try await phase(of: idle, simulation) != "active"
            }
            try await simulation.wait(until: "it is gone", within: .seconds(20)) {
                try await phase(of: idle, simulation) == nil
            }
            #expect(try await node.result(of: "quick-1", as: Int.self, timeout: .seconds(5)) == 2)

            try await simulation.setPolicy(on: 5) { $0.idleTimeToLive = .zero }
            #expect(try await run(2, on: 2, simulation) == 4)
            try await simulation.wait(until: "the home of all ids is left alone", within: .seconds(20)) {
                try await node.clusters().map(\.id) == [home]
            }
            #expect(try await run(3, on: 3, simulation) == 6)
        }
    }

    private func run(_ input: Int, on number: Int, _ simulation: SimulatedCluster) async throws -> Int {
        try await simulation.node(number).start(Self.quick, id: "quick-\(input)", input: input).result()
    }

    private func phase(of id: String, _ simulation: SimulatedCluster) async throws -> String? {
        try await simulation.node(5).clusters().first { $0.id == id }?.phase
    }
}
