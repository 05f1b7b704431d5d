import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Runs that go on with code that does not fit what they have recorded.
@Suite("Code that does not fit the record") struct MismatchTests {
    private static let nap: Duration = .seconds(20)

    /// The code that the runs are started with.
    private static let original = Workflow("order", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> String in
        try await context.step("reserve") { _ in }
        let price = try await context.step("price") { _ in 17 }
        try await context.sleep(for: nap, name: "cool down")
        return "\(price)"
    }

    /// The same with a price that is a text.
    private static let changed = Workflow("order", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> String in
        try await context.step("check") { _ in }
        let price: String = try await context.step("price") { _ in "seventeen" }
        try await context.sleep(for: nap, name: "cool down")
        return price
    }

    /// Starts a run on node 1, of three nodes with that code, and lets it sleep there.
    private func withSleepingRun(
        seed: UInt64, _ body: @escaping @Sendable (SimulatedCluster, WorkflowRun<String>) async throws -> Void
    ) async throws {
        try await withSimulation(seed: seed, nodes: 0, workflows: []) { simulation in
            _ = simulation.addNode(workflows: [Self.original])
            for _ in 0..<2 { _ = simulation.addNode(workflows: []) }
            try await simulation.untilFormed()
            let run = try await simulation.submit(Self.original, id: "order-1", input: 0)
            try await simulation.wait(until: "it sleeps", within: .seconds(10)) {
                try await simulation.node(2).describe("order-1").waits.map(\.reason) == [.sleep]
            }
            try await body(simulation, run)
        }
    }

    @Test(
        "a run whose step is recorded as something else is paused with the difference, and goes on with code that fits")
    func anotherType() async throws {
        for seed in Simulation.seeds(3) {
            try await withSleepingRun(seed: seed) { simulation, run in
                simulation.crash(1)
                simulation.restart(1, workflows: [Self.changed])
                try await simulation.wait(until: "the run is paused", within: .seconds(20)) {
                    try await simulation.node(2).describe("order-1").info.status == .paused
                }
                let wait = try #require(try await simulation.node(3).describe("order-1").waits.first)
                #expect(wait.reason == .paused)
                let lines = wait.name.split(separator: "\n")
                #expect(lines.first?.contains("step price#0 is not a String") == true, "\(wait.name)")
                #expect(
                    lines.dropFirst() == [
                        "! step price#0", "- step reserve#0", "- sleep cool down#0", "+ step check#0",
                    ])
                // The same code stops at the same place.
                try await simulation.control("order-1", .resume)
                try await simulation.wait(until: "the run is paused again", within: .seconds(20)) {
                    try await simulation.node(2).describe("order-1").info.status == .paused
                }
                simulation.crash(1)
                simulation.restart(1, workflows: [Self.original])
                try await simulation.control("order-1", .resume)
                #expect(try await run.result() == "17", "seed \(seed)")
                let history = try await simulation.node(2).history(of: "order-1").events
                #expect(history.map(\.name).sorted() == ["check", "cool down", "price", "reserve"])
            }
        }
    }

    @Test("a run whose input is not what changed code takes is paused, where it had begun; else it has failed")
    func anotherInput() async throws {
        let changed = Workflow("order", version: 1) {
            (_: [String: Int], context: WorkflowContext) async throws -> String in
            try await context.step("reserve") { _ in }
            return ""
        }
        try await withSleepingRun(seed: 1) { simulation, run in
            simulation.crash(1)
            simulation.restart(1, workflows: [changed])
            try await simulation.wait(until: "the run is paused", within: .seconds(20)) {
                try await simulation.node(2).describe("order-1").info.status == .paused
            }
            let wait = try await simulation.node(3).describe("order-1").waits.first
            #expect(wait?.name.contains("the input is not what 'order' version 1 takes") == true, "\(wait as Any)")
            #expect(wait?.name.hasSuffix("\n- step reserve#0\n- step price#0\n- sleep cool down#0") == true)
            let other = try await simulation.submit(Self.original, id: "order-2", input: 0)
            let error = await #expect(throws: WorkflowError.self) { try await other.result() }
            #expect(error?.failure?.type == "WorkflowError.undecodableInput")
            simulation.crash(1)
            simulation.restart(1, workflows: [Self.original])
            try await simulation.control("order-1", .resume)
            #expect(try await run.result() == "17")
        }
    }

    @Test("a former owner that does not know it, and whose code does not fit, does not stop the run of the next one")
    func formerOwner() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1), Bench.start("a", run: 1)])
        let pause = WorkflowOperation.controlRun(workflowID: "a", .pause, reason: "it does not fit")
        let epoch = try #require(bench.machine.state.runs[RunKey(defaultNamespace, "a")]?.epoch)
        try bench.apply([Bench.register(1, boot: 2)])
        #expect(try bench.apply([pause], epoch: epoch).refusal == .staleOwner)
        #expect(bench.machine.state.runs[RunKey(defaultNamespace, "a")]?.status == .running)
        #expect(try bench.apply([pause], epoch: epoch + 1).refusal == nil)
        #expect(bench.machine.state.runs[RunKey(defaultNamespace, "a")]?.status == .paused)
    }
}
