import Flotilla
import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaBenchmarks

/// What the suite "A fleet of fifty" shows in a simulation, with sockets and files.
@Suite("A fleet of fifty over sockets", .timeLimit(.minutes(10)))
struct FiftyNodesTests {
    private static let order = Workflow<Int, Int>("order_processing", version: 1) { number, context in
        try await context.checkpoint("received", number)
        return try await context.step("charge") { _ in number * 2 }
    }
    private static let count = 50
    private static let patience: Duration = .seconds(300)

    @Test("TT-18, TT-34: of 50 nodes 3 vote and 47 learn; a workflow starts on each, and any other has its result")
    func fifty() async throws {
        let scratch = try Scratch("flotilla-fifty")
        defer { scratch.remove() }
        let fleet = try InProcessFleet(directory: scratch.path, workflows: [Self.order]) { configuration in
            configuration.handoverTimeLimit = .milliseconds(100)
            configuration = configuration.withManagementRole(configuration.id.rawValue <= 3 ? .voter : .learner)
            guard configuration.founds else { return }
            var policy = ExecutionClusterPolicy()
            policy.targetVoterCount = 3
            configuration = configuration.withExecutionClusterPolicy(policy)
        }
        let result: Result<Void, any Error>
        do {
            try await fleet.run(Self.count, progress: Progress(), Self.play)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await fleet.shutdown()
        try result.get()
    }

    private static func play(_ fleet: InProcessFleet) async throws {
        let deadline = ContinuousClock.now + patience
        for node in fleet.nodes {
            while true {
                let fleet = try await node.fleet()
                let voters = fleet.nodes.count { $0.role == "voter" }
                if fleet.mode == "twoTier", fleet.nodes.count == count, voters == 3 { break }
                let words: Comment = "\(fleet.mode): \(fleet.nodes.count) nodes, \(voters) voters"
                try #require(ContinuousClock.now < deadline, words)
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        for (place, node) in fleet.nodes.enumerated() {
            let run = try await node.start(order, id: "order-\(place)", input: place)
            #expect(!run.started.existed)
            let other = fleet.nodes[(place * 7 + 1) % count]
            #expect(try await other.result(of: "order-\(place)", as: Int.self) == 2 * place)
        }
    }
}
