import Flotilla
import FlotillaSimulation
import Testing

@testable import shop

@Test(arguments: Simulation.seeds(10))
func shipsAlthoughItsNodeDies(seed: UInt64) async throws {
    try await withSimulation(seed: seed, nodes: 3, workflows: [shipping]) { simulation in
        let run = try await simulation.submit(shipping, id: "order-1", input: Order(item: "kettle", cents: 4_200))
        await simulation.advance(by: .seconds(1))
        let owner = try #require(try await simulation.owner(of: "order-1"))
        simulation.crash(owner, dropUnsynced: true)
        #expect(try await run.result() == "a kettle, by charge of 4200 cents")
    }
}
