import Flotilla
import FlotillaSimulation
import Testing

/// What users write: nothing but the two products is imported here.
@Suite struct WithSimulationTests {
    struct Order: Codable, Sendable {
        var items: [String]
    }
    struct Receipt: Codable, Sendable {
        var ok: Bool
        var packed: [String]
    }

    private static let orderProcessing = Workflow("order_processing", version: 1) {
        (order: Order, context: WorkflowContext) async throws -> Receipt in
        var packed: [String] = []
        for item in order.items {
            packed.append(try await context.step("pack \(item)") { _ in item })
            try await context.sleep(for: .seconds(2))
        }
        return Receipt(ok: packed == order.items, packed: packed)
    }
    private static let order = Order(items: ["a", "b", "c"])

    @Test("a workflow goes on over a partition and a power failure, as in the documentation's example")
    func example() async throws {
        let orderProcessing = Self.orderProcessing
        let order = Self.order
        try await withSimulation(seed: 42, nodes: 5, workflows: [orderProcessing]) { simulation in
            let run = try await simulation.node(1).start(orderProcessing, id: "a", input: order)
            simulation.partition([1, 2], from: [3, 4, 5])
            await simulation.advance(by: .seconds(5))
            simulation.heal()
            simulation.crash(3, dropUnsynced: true)
            simulation.restart(3)
            #expect(try await run.result().ok)
        }
    }
}
