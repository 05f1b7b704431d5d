import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What is too large to be recorded, on whole nodes whose owners crash.
@Suite("Limits of sizes, simulated", .timeLimit(.minutes(5)))
struct SizeLimitTests {
    private static let most = 1_000
    private static let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
        configuration.limits.resultBytesMax = most
        configuration.limits.inputBytesMax = most
    }

    /// A text whose JSON has so many bytes.
    private static func text(_ bytes: Int) -> String { String(repeating: "x", count: bytes - 2) }

    /// The code that something is refused with, and what it says.
    private static func refusal(_ body: () async throws -> Void) async throws -> String {
        do {
            try await body()
            return "not refused"
        } catch let error as WorkflowError where error.code != .cancelled {
            return "\(error.code): \(error.message)"
        }
    }

    private static let small = Workflow("small", version: 1) { (_: String, _: WorkflowContext) async throws -> Int in 1
    }

    /// Asks for all that can be too large, between things of exactly the limit, and tells what came of it.
    private static func trying(_ saboteur: Saboteur) -> Workflow<Int, [String]> {
        Workflow("trying", version: 1) { (_: Int, context: WorkflowContext) async throws -> [String] in
            try await context.sleep(for: .seconds(1))
            var refusals: [String] = []
            #expect(try await context.step("whole") { _ in text(most) }.utf8.count == most - 2)
            saboteur.pass("before")
            refusals.append(
                try await refusal {
                    _ = try await context.step("step") { step in
                        saboteur.pass("during")
                        try await step.clock.sleep(for: .milliseconds(20))
                        return text(most + 1)
                    }
                })
            saboteur.pass("after")
            try await context.checkpoint("kept", text(most))
            refusals.append(try await refusal { try await context.checkpoint("kept", text(most + 1)) })
            refusals.append(try await refusal { _ = try await context.child(small, input: text(most + 1)) })
            refusals.append(try await refusal { try await context.emit(text(most + 1)) })
            try await context.step("last") { try await $0.clock.sleep(for: .milliseconds(20)) }
            return refusals
        }
    }

    @Test(
        "what is above the limit is refused by name to each owner, and leaves nothing, whenever owners crash",
        arguments: CrashMoment.allCases)
    func takeover(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(4) {
            let saboteur = Saboteur(at: "\(moment)", after: .zero ... .milliseconds(moment == .during ? 20 : 5))
            let trying = Self.trying(saboteur)
            try await withSimulation(seed: seed, nodes: 3, workflows: [trying, Self.small], configure: Self.configure) {
                simulation in
                let run = try await simulation.submit(trying, id: "a", input: 0)
                try await saboteur.aim(at: "a", simulation)
                try await saboteur.repair(simulation)
                let refusals = try await run.result()
                let codes = refusals.map { $0.split(separator: ":").first.map(String.init) ?? "" }
                #expect(codes == Array(repeating: "resultTooLarge", count: 4), "\(refusals)")
                // Each says what is too large, and how large it is.
                for (refusal, what) in zip(
                    refusals, ["step#0", "checkpoint kept#1", "child 'a/small/0'", "progress#0"])
                {
                    #expect(refusal.contains(what) && refusal.contains("\(Self.most + 1) bytes"), "\(refusal)")
                }
                try await simulation.untilConverged()
                for number in simulation.nodes {
                    let known = try await simulation.node(number).describe("a")
                    #expect(known.epoch == 2 && known.steps.map(\.name) == ["whole", "last"], "seed \(seed)")
                    #expect(known.checkpoints.map(\.count) == [1])
                    #expect(known.checkpoints.first?.value.count == Self.most)
                    #expect(try await simulation.node(number).list().runs.map(\.workflowID) == ["a"])
                }
            }
        }
    }

    @Test("an output above the limit ends the run by name, and an input above it starts none, whichever node is asked")
    func ends() async throws {
        let saboteur = Saboteur(at: "end", after: .zero ... .milliseconds(10))
        let large = Workflow("large", version: 1) { (bytes: Int, context: WorkflowContext) async throws -> String in
            try await context.sleep(for: .seconds(1))
            saboteur.pass("end")
            try await context.step("pause") { try await $0.clock.sleep(for: .milliseconds(5)) }
            return Self.text(bytes)
        }
        try await withSimulation(seed: 5, nodes: 3, workflows: [large, Self.small], configure: Self.configure) {
            simulation in
            let whole = try await simulation.submit(large, id: "whole", input: Self.most)
            let run = try await simulation.submit(large, id: "a", input: Self.most + 1)
            try await saboteur.aim(at: "a", simulation)
            let failed = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(failed?.failure?.type == "WorkflowError.resultTooLarge")
            #expect(failed?.failure?.message.contains("\(Self.most)") == true)
            #expect(try await whole.result().utf8.count == Self.most - 2)
            try await saboteur.repair(simulation)
            try await simulation.untilFormed()
            for number in simulation.nodes {
                let node = try simulation.node(number)
                let refused = await #expect(throws: WorkflowError.self) {
                    try await node.start(Self.small, id: "b", input: Self.text(Self.most + 1))
                }
                #expect(refused?.code == .inputTooLarge)
                let missing = await #expect(throws: WorkflowError.self) { try await node.describe("b") }
                #expect(missing?.code == .notFound)
                let kept = try await node.start(Self.small, id: "c\(number)", input: Self.text(Self.most))
                #expect(try await kept.result() == 1)
            }
            #expect(try await simulation.node(1).list(WorkflowFilter(type: "small")).runs.count == 3)
        }
    }
}
