import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Compensation, and code that changes under running workflows, on whole nodes whose owners crash.
@Suite("Undoing and changed code, simulated", .timeLimit(.minutes(5)))
struct CompositionSimulationTests {
    private struct Broken: Error {}

    // MARK: Compensation

    private static let things = ["car", "hotel", "flight"]
    private static let undone = things.reversed().map { "undo \($0)" }

    /// Books three things, and gives them back because the payment fails, or because it is cancelled.
    private static func trip(_ ledger: Ledger, _ saboteur: Saboteur) -> Workflow<Bool, Int> {
        Workflow("trip", version: 1) { (fails: Bool, context: WorkflowContext) async throws -> Int in
            try await context.compensating { scope in
                for name in things {
                    try await context.step(name) { ledger.append(name, $0) }
                    scope.undo("undo \(name)") { step in
                        saboteur.pass("before \(name)")
                        try await step.clock.sleep(for: .milliseconds(10))
                        ledger.append("undo \(name)", step)
                        saboteur.pass("during \(name)")
                        try await step.clock.sleep(for: .milliseconds(20))
                        saboteur.pass("after \(name)")
                    }
                }
                try await context.sleep(for: .seconds(2))
                if fails { try await context.step("pay") { _ in throw Broken() } }
                try await context.sleep(for: .seconds(3_600))
                return 1
            }
        }
    }

    @Test(
        "what was done is undone in reverse, each once, whenever the owner crashes at each of them",
        arguments: CrashMoment.allCases, things)
    func compensation(moment: CrashMoment, thing: String) async throws {
        for seed in Simulation.seeds(2) {
            let ledger = Ledger()
            // Behind the body: while the undo step is on its way to the record, or when it is there. Then the next one has
            // begun, and had no effect yet.
            let delay = moment == .after ? Duration.milliseconds(10) : .zero
            let saboteur = Saboteur(at: "\(moment) \(thing)", after: .zero...delay)
            let trip = Self.trip(ledger, saboteur)
            let isCancelled = seed % 2 == 0
            try await withSimulation(seed: seed, nodes: 3, workflows: [trip]) { simulation in
                let run = try await simulation.submit(trip, id: "a", input: !isCancelled)
                try await saboteur.aim(at: "a", simulation)
                if isCancelled {
                    await simulation.advance(by: .seconds(1))
                    try await simulation.control("a", .cancel)
                }
                try await saboteur.repair(simulation)
                let error = await #expect(throws: WorkflowError.self) { try await run.result() }
                #expect(isCancelled ? error?.code == .cancelled : error?.failure?.type == "Broken", "seed \(seed)")
                Self.check(ledger, moment, thing, "seed \(seed)")
                try await simulation.untilConverged()
                for number in simulation.nodes {
                    let steps = try await simulation.node(number).describe("a").steps.map(\.name)
                    #expect(steps.filter { !$0.hasPrefix("$") } == Self.things + Self.undone, "seed \(seed): \(steps)")
                }
            }
        }
    }

    /// The world outside saw each in its turn, and at most the one that was cut off twice: under its key, and a higher
    /// token.
    private static func check(_ ledger: Ledger, _ moment: CrashMoment, _ thing: String, _ comment: Comment) {
        var seen: [String] = []
        for effect in ledger.effects where seen.last != effect.name { seen.append(effect.name) }
        #expect(seen == things + undone, comment)
        for name in things + undone {
            let effects = ledger.effects.filter { $0.name == name }
            let mayBeRepeated = name == "undo \(thing)" && moment != .before
            #expect(effects.count == 1 || (mayBeRepeated && effects.count == 2), comment)
            #expect(moment != .during || name != "undo \(thing)" || effects.count == 2, comment)
            #expect(Set(effects.map(\.key)).count == 1 && Set(effects.map(\.token)).count == effects.count, comment)
        }
    }

    // MARK: Changed code

    private static func changing(_ isNew: Bool, _ saboteurs: Saboteur...) -> Workflow<Int, [Bool]> {
        Workflow("changing", version: 1) { (_: Int, context: WorkflowContext) async throws -> [Bool] in
            func ask(_ change: String) async throws -> Bool {
                for saboteur in saboteurs { saboteur.pass("before \(change) of \(context.workflowID)") }
                let answer = try await context.patched(change)
                for saboteur in saboteurs { saboteur.pass("after \(change) of \(context.workflowID)") }
                return answer
            }
            var answers: [Bool] = []
            try await context.sleep(for: .seconds(2), name: "first")
            if isNew { answers.append(try await ask("early")) }
            try await context.step("one") { _ in }
            try await context.sleep(for: .seconds(60), name: "second")
            if isNew {
                answers.append(try await ask("late"))
                answers.append(try await context.patched("early"))
            }
            try await context.step("two") { try await $0.clock.sleep(for: .milliseconds(20)) }
            return answers
        }
    }

    @Test(
        "a run keeps what it took of a change while nodes with new code take over, whenever the owner crashes",
        arguments: CrashMoment.allCases)
    func patches(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(3) {
            let place = moment == .after ? "after" : "before"
            let delay = moment == .before ? Duration.zero : .milliseconds(6)
            let saboteurs = ["late of old", "early of new"].map { Saboteur(at: "\(place) \($0)", after: .zero...delay) }
            // Each hears of all places, and knows its own.
            let new = Self.changing(true, saboteurs[0], saboteurs[1])
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.changing(false)]) { simulation in
                let old = try await simulation.submit(new, id: "old", input: 0)
                try await simulation.wait(until: "it has passed the first place", within: .seconds(20)) {
                    try await simulation.ask { try await $0.describe("old").timers.count } == 2
                }
                for number in simulation.nodes {
                    simulation.crash(number, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                    simulation.restart(number, workflows: [new])
                    try await simulation.untilFormed()
                }
                try await saboteurs[0].aim(at: "old", simulation)
                try await saboteurs[0].repair(simulation)
                #expect(try await old.result() == [false, true, false], "seed \(seed)")
                try await simulation.untilFormed()
                let young = try await simulation.submit(new, id: "new", input: 0)
                try await saboteurs[1].aim(at: "new", simulation)
                try await saboteurs[1].repair(simulation)
                #expect(try await young.result() == [true, true, true], "seed \(seed)")
                for id in ["old", "new"] {
                    let history = try await simulation.ask { try await $0.wholeHistory(of: id) }
                    let asked = history.events.map(\.name).filter { $0.hasPrefix("$patched") }
                    #expect(asked.sorted() == ["$patched/early", "$patched/late"], "seed \(seed)")
                    try await replay(history: history, against: new)
                }
            }
        }
    }
}
