import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Attributes that bodies set, and conditions that they wait for, on whole nodes whose owners crash.
@Suite("Attributes and conditions, simulated", .timeLimit(.minutes(5)))
struct AttributeSimulationTests {
    private static func order(_ saboteur: Saboteur) -> Workflow<Int, Int> {
        Workflow("order", version: 1) { (input: Int, context: WorkflowContext) async throws -> Int in
            try await context.setAttributes(["stage": "new", "clerk": "ann"])
            try await context.sleep(for: .seconds(1))
            saboteur.pass("before")
            try await context.setAttributes(["stage": "paid", "clerk": nil, "size": "large"])
            saboteur.pass("after")
            try await context.step("pack") { try await $0.clock.sleep(for: .milliseconds(20)) }
            try await context.setAttributes(["stage": "sent"])
            try await context.sleep(for: .seconds(20))
            return input
        }
    }

    @Test(
        "attributes that a body sets are set once and in order, and found by every node, whenever the owner crashes",
        arguments: CrashMoment.allCases)
    func attributes(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(4) {
            let saboteur = Saboteur(
                at: moment == .after ? "after" : "before", after: .zero ... .milliseconds(moment == .before ? 0 : 6))
            let order = Self.order(saboteur)
            try await withSimulation(seed: seed, nodes: 3, workflows: [order], configure: snapshotOften) { simulation in
                let run = try await simulation.submit(order, id: "a", input: 3)
                try await saboteur.aim(at: "a", simulation)
                try await saboteur.strike(simulation)
                // One of the two states, and nothing between them.
                let now = try await simulation.ask { try await $0.describe("a").info.attributes }
                let states = [
                    ["stage": "new", "clerk": "ann"], ["stage": "paid", "size": "large"],
                    ["stage": "sent", "size": "large"],
                ]
                #expect(states.contains(now), "seed \(seed): \(now)")
                if moment == .after { #expect(now != states[0], "seed \(seed)") }
                try await saboteur.repair(simulation)
                try await simulation.wait(until: "it is sent", within: .seconds(30)) {
                    try await simulation.ask { try await $0.describe("a").info.attributes } == states[2]
                }
                try await simulation.untilFormed()
                for number in simulation.nodes {
                    func ids(_ attributes: [String: String]) async throws -> [String] {
                        let filter = WorkflowFilter(attributes: attributes)
                        let found = try await simulation.node(number).list(filter).runs.map(\.workflowID)
                        #expect(try await simulation.node(number).count(filter).total == found.count)
                        return found
                    }
                    #expect(try await ids(["stage": "sent", "size": "large"]) == ["a"], "seed \(seed)")
                    for gone in [["stage": "paid"], ["stage": "new"], ["clerk": "ann"]] {
                        #expect(try await ids(gone).isEmpty, "seed \(seed): \(gone)")
                    }
                }
                #expect(try await run.result() == 3)
                let history = try await simulation.ask { try await $0.wholeHistory(of: "a") }
                let set = history.events.filter { $0.name == "$attributes" }
                #expect(set.map(\.occurrence) == [0, 1, 2], "seed \(seed)")
                try await replay(history: history, against: order)
            }
        }
    }

    // MARK: Conditions with a time limit

    private static let enough = WorkflowSignal<Int>("enough")
    private static let limit: Duration = .seconds(30)

    /// Waits until what it was sent is 10 in all, or the time is over, and tells which.
    private static func collecting(
        _ saboteur: Saboteur, _ ends: Collector<MonotonicTime>, _ world: Lock<SimulationWorld?>
    )
        -> Workflow<Int, Int?>
    {
        Workflow("collecting", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int? in
            let sum = context.variable(0)
            try await context.sleep(for: .seconds(1))
            return try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for try await amount in context.signals(enough) {
                        sum.update { $0 += amount }
                        if sum.value >= 10 { saboteur.pass("true") }
                    }
                }
                saboteur.pass("before")
                let found = try await context.condition("enough", within: limit) { sum.value >= 10 ? sum.value : nil }
                if let world = world.withLock({ $0 }) { await ends.add(world.now) }
                saboteur.pass("after")
                group.cancelAll()
                try await context.step("told") { try await $0.clock.sleep(for: .milliseconds(20)) }
                // What comes when it is decided changes nothing.
                try await context.sleep(for: .seconds(10))
                return found
            }
        }
    }

    @Test(
        "whether a condition came true within its time is decided once, whenever the owner crashes",
        arguments: CrashMoment.allCases, [false, true])
    func conditions(moment: CrashMoment, comesTrue: Bool) async throws {
        for seed in Simulation.seeds(3) {
            let places: [CrashMoment: String] = [
                .before: "before", .during: comesTrue ? "true" : "before", .after: "after",
            ]
            // Where it runs out the owner crashes late, so that who begins the time anew is late as well.
            let delays: [CrashMoment: ClosedRange<Duration>] = [
                .before: .zero ... .milliseconds(5),
                .during: comesTrue ? .zero ... .milliseconds(5) : .seconds(20) ... .seconds(30),
                .after: .zero ... .milliseconds(20),
            ]
            let saboteur = Saboteur(at: places[moment] ?? "", after: delays[moment] ?? .zero ... .zero)
            let (ends, world) = (Collector<MonotonicTime>(), Lock<SimulationWorld?>(nil))
            let collecting = Self.collecting(saboteur, ends, world)
            try await withSimulation(seed: seed, nodes: 3, workflows: [collecting]) { simulation in
                world.withLock { $0 = simulation.world }
                defer { world.withLock { $0 = nil } }
                let begun = simulation.world.now
                let run = try await simulation.submit(collecting, id: "a", input: 0)
                try await saboteur.aim(at: "a", simulation)
                async let repaired: Void = saboteur.repair(simulation)
                await simulation.advance(by: simulation.world.random(in: .seconds(2) ... .seconds(12)))
                for number in 1...2 as ClosedRange<UInt64> where comesTrue || number == 1 {
                    try await simulation.signal("a", Self.enough, 5, from: ("test", number))
                }
                try await simulation.wait(until: "it is decided", within: .seconds(90)) { await !ends.items.isEmpty }
                if !comesTrue {
                    let end = try #require(await ends.items.first)
                    #expect(begun.duration(to: end) >= Self.limit, "seed \(seed)")
                    // The limit, a second before it, and what finding a new owner may take.
                    #expect(begun.duration(to: end) < Self.limit + .seconds(15), "seed \(seed)")
                }
                try await simulation.signal("a", Self.enough, 7, from: ("test", comesTrue ? 3 : 2))
                #expect(try await run.result() == (comesTrue ? 10 : nil), "seed \(seed)")
                try await repaired
                // The branch that waited for more signals was given up: that is no difference.
                let history = try await simulation.ask { try await $0.wholeHistory(of: "a") }
                try await replay(history: history, against: collecting)
                try await simulation.untilConverged()
            }
        }
    }
}
