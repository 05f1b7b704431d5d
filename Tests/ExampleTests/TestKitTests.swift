import Flotilla
import FlotillaSimulation
import Foundation
import Testing

@testable import FlotillaExamples

/// What a user's tests of workflows look like; the README shows them.
@Suite struct TestKitTests {
    // README skipping
    @Test("a payment that nobody answers ends after three days, which take no time")
    func nobodyAnswers() async throws {
        let example = HumanApproval()
        try await withSimulation(seed: 1, workflows: example.workflows) { simulation in
            let payment = try await simulation.submit(example.workflow, id: "payment-1", input: 500)
            await simulation.advance(by: .seconds(5))  // it has asked
            await simulation.skip(.seconds(3 * 86_400 - 60))
            #expect(try await simulation.node(1).describe("payment-1").info.status == .running)
            await simulation.skip(.seconds(60))
            #expect(try await payment.result() == "500 cents: nobody answered")
        }
    }
    // README skipping

    // README failing
    @Test("an order is packed although the warehouse fails twice, and its answer is lost once")
    func warehouseFails() async throws {
        let example = OrderSaga()
        try await withSimulation(seed: 1, workflows: example.workflows) { simulation in
            simulation.failStep("pack", of: "order-1")
            simulation.failStep("pack", of: "order-1", afterItsEffect: true)
            let order = OrderSaga.Order(item: "kettle", cents: 3_000)
            let run = try await simulation.submit(example.workflow, id: "order-1", input: order)
            #expect(try await run.result() == "parcel of kettle")
            #expect(await example.shop.journal == ["reserve kettle", "charge 3000", "pack kettle"])
        }
    }
    // README failing

    // README replay
    @Test("a change of the code that running orders would misread is found before it is deployed")
    func changedCode() async throws {
        let example = OrderSaga()
        let history = try await withSimulation(seed: 1, workflows: example.workflows) { simulation in
            let order = OrderSaga.Order(item: "kettle", cents: 3_000)
            _ = try await simulation.submit(example.workflow, id: "order-1", input: order).result()
            return try await simulation.node(1).wholeHistory(of: "order-1")  // or WorkflowHistory(json: bytes)
        }.value
        try await replay(history: history, against: example.workflow)

        let changed = Workflow("order_saga", version: 1) {
            (order: OrderSaga.Order, context: WorkflowContext) async throws -> String in
            try await context.step("charge-card") { _ in }
            return "parcel of \(order.item)"
        }
        await #expect(throws: ReplayMismatch.self) { try await replay(history: history, against: changed) }
    }
    // README replay

    @Test("a step without retries that is told to fail fails its run, and no other step or run")
    func failsOnce() async throws {
        let workflow = Workflow("two_steps", version: 1) { (input: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("first") { _ in }
            return try await context.step("second") { _ in input }
        }
        try await withSimulation(seed: 1, workflows: [workflow]) { simulation in
            simulation.failStep("second", of: "a")
            let failing = try await simulation.submit(workflow, id: "a", input: 1)
            let other = try await simulation.submit(workflow, id: "b", input: 2)
            #expect(try await other.result() == 2)
            let error = await #expect(throws: WorkflowError.self) { try await failing.result() }
            #expect(error?.failure?.type == "StepFailedByScenario")
            #expect(try await simulation.node(1).describe("a").steps.map(\.name) == ["first"])
        }
    }

    @Test("the README shows these three tests, word for word", arguments: ["skipping", "failing", "replay"])
    func readme(_ name: String) throws {
        let source = try String(contentsOf: URL(fileURLWithPath: #filePath), encoding: .utf8)
        let code = source.components(separatedBy: "    // README \(name)\n")[1].split(separator: "\n").map {
            $0.hasPrefix("    ") ? $0.dropFirst(4) : $0
        }
        let readme = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../README.md")
        let text = try String(contentsOf: readme, encoding: .utf8).split(separator: "\n").joined(separator: "\n")
        #expect(code.count > 10)
        #expect(text.contains(code.joined(separator: "\n")))
    }
}
