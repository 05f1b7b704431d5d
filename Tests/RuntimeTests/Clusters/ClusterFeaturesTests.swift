import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Forks, objects and streams in a fleet of several clusters", .timeLimit(.minutes(5)))
struct ClusterFeaturesTests {
    private static let add = ObjectMethod<Int, Int>("add")
    private static let counter = DurableObject("counter", version: 1, initial: 0).on(add) {
        (count: inout Int, amount: Int) in
        count += amount
        return count
    }
    private static let counting = Workflow<String, [Int]>("counting", version: 1) { key, context in
        var seen: [Int] = []
        for _ in 0..<3 {
            seen.append(try await context.call(counter, key, add, 1))
            try await context.emit(seen.count)
        }
        return seen
    }

    @Test(
        "any node calls objects, follows streams and forks runs, whichever clusters they are in; ids stay with one run")
    func anywhere() async throws {
        try await withSimulation(seed: 4, nodes: 7, workflows: [Self.counter, Self.counting]) { simulation in
            try await simulation.node(1).running().manage([.beginMigration])
            for number in 1...4 {
                let run = try await simulation.node(number).start(
                    Self.counting, id: "w\(number)", input: "k\(number % 2)")
                _ = try await run.result(timeout: .seconds(30))
            }
            // Two workflows counted by three under each key.
            for asked in 1...7 {
                for key in ["k0", "k1"] {
                    #expect(try await simulation.node(asked).state(of: Self.counter, key) == 6)
                }
                var seen: [Int] = []
                for try await element in try simulation.node(asked).stream(of: "w1", as: Int.self) {
                    seen.append(element.value)
                }
                #expect(seen == [1, 2, 3])
            }
            for (asked, id) in [(2, "mine"), (6, nil)] as [(Int, String?)] {
                let node = try simulation.node(asked)
                let fork = try await node.fork("w1", from: "counter.add", occurrence: 1, id: id)
                #expect(!fork.existed && (id == nil || fork.workflowID == id))
                for reader in 1...7 {
                    let values = try await simulation.node(reader).result(
                        of: fork.workflowID, as: [Int].self, timeout: .seconds(30))
                    #expect(values.count == 3 && values[0] <= 6 && values[1] > 6, "\(values)")
                }
            }
            // The same fork again is that run; another one under the id, and a start, are a conflict.
            #expect(try await simulation.node(5).fork("w1", from: "counter.add", occurrence: 1, id: "mine").existed)
            for taken in ["mine", "w2"] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await simulation.node(3).fork("w1", from: "counter.add", occurrence: 2, id: taken)
                }
                #expect(error?.code == .conflict)
            }
            let start = await #expect(throws: WorkflowError.self) {
                try await simulation.node(3).start(Self.counting, id: "mine", input: "other")
            }
            #expect(start?.code == .conflict)
            #expect(try await simulation.node(7).state(of: Self.counter, "k1") == 10)
        }
    }
}
