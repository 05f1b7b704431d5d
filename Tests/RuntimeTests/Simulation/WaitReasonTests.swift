import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What every node says of why a run does not go on, also after its owner has died.
@Suite("Why a run waits", .timeLimit(.minutes(5)))
struct WaitReasonTests {
    private struct Broken: Error {}

    private static let go = WorkflowSignal<Int>("go")
    private static let change = WorkflowUpdate<Int, Int>("change")

    /// One branch for each thing that can be waited for.
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { _, context in
        var policy = RetryPolicy(attempts: nil)
        policy.delay = .seconds(3600)
        let never = context.variable(false)
        let approval = try await context.awakeable("approval", as: Int.self)
        let retry = policy
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await context.step("charge", retry: retry) { _ in throw Broken() } }
            group.addTask { try await context.sleep(for: .seconds(7200), name: "nap") }
            group.addTask { _ = try await context.receive(Self.go) }
            group.addTask { _ = try await context.receive(Self.change) }
            group.addTask { _ = try await approval.value() }
            group.addTask { try await context.condition("never") { never.value } }
            group.addTask { _ = try await context.condition("soon", within: .seconds(7200)) { never.value } }
            try await group.waitForAll()
        }
        return 1
    }

    private static let all: Set<WorkflowWait.Reason> = [.retry, .sleep, .signal, .update, .awakeable, .condition]

    enum Moment: CaseIterable { case early, late }

    @Test(
        "every node tells of each wait what it is for, since when and until when, whenever the owner dies",
        arguments: Moment.allCases)
    func all(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.waiting]) { simulation in
                try await simulation.submit(Self.waiting, id: "a", input: 0)
                // Before the waits are recorded, or behind.
                await simulation.advance(by: moment == .early ? .milliseconds(500) : .seconds(3))
                if let owner = try await simulation.owner(of: "a") {
                    simulation.crash(owner, dropUnsynced: true)
                    await simulation.advance(by: .seconds(3))
                    simulation.restart(owner)
                }
                try await simulation.wait(until: "all seven waits are recorded", within: .seconds(20)) {
                    try await simulation.node(1).describe("a").waits.count == 7
                }
                for number in 1...3 {
                    let waits = try await simulation.node(number).describe("a").waits
                    #expect(Set(waits.map(\.reason)) == Self.all, "seed \(seed)")
                    let retry = try #require(waits.first { $0.reason == .retry })
                    #expect(retry.name == "charge" && retry.attempts == 1 && retry.failure?.type == "Broken")
                    #expect(retry.description.contains("is tried again at 2"))
                    for wait in waits {
                        let since = try #require(wait.since)
                        let endsByItself = ["charge", "nap", "soon"].contains(wait.name)
                        #expect((wait.until != nil) == endsByItself, "\(wait.name) \(wait)")
                        if let until = wait.until { #expect(until > since, "\(wait)") }
                    }
                    let names = Set(waits.map(\.name))
                    #expect(names == ["charge", "nap", "go", "change", "approval#0", "never", "soon"])
                }
                try await simulation.control("a", .pause, reason: "lunch")
                let paused = try await simulation.node(2).describe("a").waits
                #expect(paused.first?.reason == .paused && paused.first?.description == "is paused: lunch")
                try await simulation.control("a", .terminate)
                #expect(try await simulation.node(3).describe("a").waits.isEmpty)
            }
        }
    }

    @Test("a wait that is over is not told any more, and one that is short costs no entry")
    func short() async throws {
        let echo = Workflow<Int, Int>("echo", version: 1) { _, context in
            let value = try await context.receive(Self.go)
            try await context.sleep(for: .seconds(60))
            return value
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [echo]) { simulation in
            try await simulation.submit(echo, id: "quick", input: 0)
            try await simulation.signal("quick", Self.go, 1, from: ("test", 1))
            try await simulation.submit(echo, id: "slow", input: 0)
            try await simulation.wait(until: "the wait is recorded", within: .seconds(20)) {
                try await simulation.node(2).describe("slow").waits.map(\.reason) == [.signal]
            }
            try await simulation.signal("slow", Self.go, 1, from: ("test", 1))
            try await simulation.wait(until: "the body goes on", within: .seconds(20)) {
                try await simulation.node(2).describe("slow").waits.map(\.reason) == [.sleep]
            }
            #expect(try await simulation.node(1).describe("quick").waits.map(\.reason) == [.sleep])
        }
    }

    @Test("a run whose version no node has says so, and one whose cluster has no quorum is told with that reason")
    func unavailable() async throws {
        let nap = Workflow<Int, Int>("nap", version: 1) { _, context in
            try await context.sleep(for: .seconds(3600))
            return 1
        }
        try await withSimulation(seed: 1, nodes: 0, workflows: []) { simulation in
            _ = simulation.addNode(workflows: [nap])
            for _ in 0..<2 { _ = simulation.addNode(workflows: []) }
            try await simulation.untilFormed()
            try await simulation.submit(nap, id: "a", input: 0)
            try await simulation.wait(until: "it sleeps", within: .seconds(20)) {
                try await simulation.node(2).describe("a").waits.map(\.reason) == [.sleep]
            }
            simulation.crash(1)
            try await simulation.wait(until: "the run is parked", within: .seconds(20)) {
                try await simulation.node(2).describe("a").waits.map(\.reason) == [.noNode, .sleep]
            }
            let text = try await simulation.node(3).describe("a").waits.first?.description ?? ""
            #expect(text.contains("no live node has 'nap' version 1"))
            simulation.crash(3)
            let error = await #expect(throws: WorkflowError.self) { try await simulation.node(2).describe("a") }
            #expect(error?.code == .unavailable)
            #expect(error?.message.contains("no quorum: 1 of 3 voters answer") == true, "\(error?.message ?? "")")
        }
    }
}
