import FlotillaIO
import Testing

@testable import FlotillaBenchmarks

/// Machines that come back under other addresses, all at once, as where containers are scheduled anew.
@Suite("Clusters that have moved", .timeLimit(.minutes(4)))
struct MovedClusterTests {
    private struct Output: Decodable, Sendable { var steps: Int }

    @Test("nodes that all have new addresses find each other by those that they were told to join, and go on")
    func moved() async throws {
        let scratch = try Scratch("flotilla-moved")
        let cluster = Cluster(.init(executable: try nodeExecutable(), directory: scratch.path))
        do {
            try await cluster.start()
            try await run(cluster, "before", from: 1)
            try await move(cluster)
            for node in cluster.nodes {
                let known = try await cluster.api(node).result(of: "before", wait: .seconds(30), as: Output.self)
                #expect(known?.steps == 3, "node \(node)")
                try await run(cluster, "behind-\(node)", from: node)
            }
        } catch {
            await cluster.killAll()
            throw error
        }
        await cluster.killAll()
        scratch.remove()
    }

    private func move(_ cluster: Cluster) async throws {
        for attempt in 1...3 {
            try await cluster.move()
            for node in cluster.nodes { try await cluster.spawn(node) }
            do {
                return try await cluster.waitUntilFormed()
            } catch  where attempt < 3 && "\(error)".contains("in use") {
                // Somebody took a port meanwhile.
                continue
            }
        }
    }

    private func run(_ cluster: Cluster, _ id: String, from node: Int) async throws {
        let api = await cluster.api(node)
        let answer = try await api.start(type: "benchmark_steps", id: id, input: "{\"steps\":3}")
        #expect(answer.status == 201, "\(answer.problem)")
        #expect(try await api.result(of: id, wait: .seconds(30), as: Output.self)?.steps == 3)
    }
}
