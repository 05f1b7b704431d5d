import Flotilla
import FlotillaSimulation
import Foundation
import Testing

/// The README's example, as it stands there.
@Suite struct FailoverExampleTests {
    // README
    actor Bank {
        var charges: [String: Int] = [:]
        func charge(_ amount: Int, key: String) { charges[key] = amount }
    }

    @Test(arguments: Simulation.seeds(20))
    func chargesOnceWhenItsNodeDies(seed: UInt64) async throws {
        let bank = Bank()
        let payment = Workflow("payment", version: 1) { (amount: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("charge") { step in
                try await step.clock.sleep(for: .milliseconds(20))  // the bank takes its time, virtually
                await bank.charge(amount, key: step.idempotencyKey)
            }
            try await context.sleep(for: .seconds(60))
            return amount
        }
        try await withSimulation(seed: seed, nodes: 3, workflows: [payment]) { simulation in
            let run = try await simulation.submit(payment, id: "order-17", input: 100)
            let owner = try #require(try await simulation.owner(of: "order-17"))
            // Before the charge, in the middle of it, or after it is recorded: the seed says.
            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(60)))
            simulation.crash(owner, dropUnsynced: true)
            #expect(try await run.result() == 100)
            #expect(await bank.charges.count == 1)
        }
    }
    // README

    @Test("the README shows this code, word for word")
    func readme() throws {
        let source = try String(contentsOf: URL(fileURLWithPath: #filePath), encoding: .utf8)
        let code = source.components(separatedBy: "    // README\n")[1].split(separator: "\n").map {
            $0.hasPrefix("    ") ? $0.dropFirst(4) : $0
        }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
        let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        #expect(code.count > 20)
        #expect(readme.split(separator: "\n").joined(separator: "\n").contains(code.joined(separator: "\n")))
    }
}
