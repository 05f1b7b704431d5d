import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Durable sleeps on whole nodes: owners and leaders crash, are cut off, and have clocks that are wrong.
@Suite("Timers, simulated", .timeLimit(.minutes(5)))
struct TimerSimulationTests {
    /// When bodies came to a sleep and behind it, in virtual time.
    private final class Watch: @unchecked Sendable {
        // Unchecked: each belongs to one simulation and is touched on its thread only.
        var world: SimulationWorld?
        private(set) var fell: [Int: MonotonicTime] = [:]
        private(set) var woke: [Int: MonotonicTime] = [:]

        /// The first of all owners counts.
        func fall(_ nap: Int) { if let world, fell[nap] == nil { fell[nap] = world.now } }
        func wake(_ nap: Int) { if let world, woke[nap] == nil { woke[nap] = world.now } }
    }

    /// Whole seconds, and some milliseconds that tell them apart.
    private static let naps: [Duration] = [1, 4, 2, 14, 3].enumerated().map { .milliseconds($1 * 1_000 + $0) }

    private static func napping(_ watch: Watch) -> Workflow<Int, Int> {
        Workflow("napping", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            for (number, nap) in naps.enumerated() {
                watch.fall(number)
                try await context.sleep(for: nap, name: number % 2 == 0 ? "even" : "odd")
                watch.wake(number)
                try await context.step("awake") { try await $0.clock.sleep(for: .milliseconds(20)) }
            }
            return naps.count
        }
    }

    private struct Sleep {
        var deadline: Int64
        var firedAt: Int64?
    }

    /// Holds a run's record against what was asked for.
    private static func checkRecord(
        _ simulation: SimulatedCluster, _ seed: UInt64, isWhole: Bool
    ) async throws -> [String: Sleep] {
        let events = try await simulation.ask { try await $0.wholeHistory(of: "n") }.events
        var sleeps: [String: Sleep] = [:]
        var (number, wakings) = (0, 0)
        for (event, last) in zip(events, [nil] + events) {
            switch event.detail {
            case .sleep(let deadline, let firedAt):
                #expect(.nanoseconds(deadline - event.recordedAt) == naps[number], "seed \(seed), nap \(number)")
                #expect(event.occurrence == number / 2 && event.name == (number % 2 == 0 ? "even" : "odd"))
                #expect(firedAt.map { $0 >= deadline } ?? true, "seed \(seed), nap \(number)")
                let sleep = Sleep(deadline: deadline, firedAt: firedAt)
                #expect(sleeps.updateValue(sleep, forKey: "\(event.name)#\(event.occurrence)") == nil)
                number += 1
            case .step:
                // What comes behind a sleep is recorded behind its firing.
                wakings += 1
                guard case .sleep(let deadline, let firedAt?)? = last?.detail else {
                    Issue.record("seed \(seed): a step behind \(last.map { "\($0)" } ?? "nothing")")
                    continue
                }
                #expect(event.recordedAt >= firedAt && firedAt >= deadline, "seed \(seed)")
            default: Issue.record("seed \(seed): \(event)")
            }
        }
        let fired = sleeps.values.count { $0.firedAt != nil }
        if isWhole { #expect(number == naps.count && fired == number && wakings == number, "seed \(seed)") }
        return sleeps
    }

    /// What began under one owner has its deadline under the next, and what has fired does not fire again.
    private static func checkSame(_ before: [String: Sleep], _ after: [String: Sleep], _ seed: UInt64) {
        for (name, sleep) in before {
            #expect(after[name]?.deadline == sleep.deadline, "seed \(seed): \(name) has another deadline")
            guard let firedAt = sleep.firedAt else { continue }
            #expect(after[name]?.firedAt == firedAt, "seed \(seed): \(name) fired twice")
        }
    }

    /// Runs it to its end, while `disturb` is called every now and then.
    private static func nap(
        _ simulation: SimulatedCluster, _ watch: Watch, _ workflow: Workflow<Int, Int>, _ seed: UInt64,
        _ disturb: @escaping @Sendable () async throws -> Void
    ) async throws {
        watch.world = simulation.world
        let run = try await simulation.submit(workflow, id: "n", input: 0)
        var sleeps: [String: Sleep] = [:]
        while try await simulation.ask({ try await $0.describe("n").info.status }) == .running {
            try await disturb()
            let known = try await checkRecord(simulation, seed, isWhole: false)
            checkSame(sleeps, known, seed)
            sleeps = known
        }
        #expect(try await run.result() == naps.count, "seed \(seed)")
        checkSame(sleeps, try await checkRecord(simulation, seed, isWhole: true), seed)
        simulation.heal()
        for number in simulation.nodes where !simulation.runningNodes.contains(number) { simulation.restart(number) }
        try await simulation.untilConverged()
        for number in simulation.nodes {
            let timers = try await simulation.node(number).describe("n").timers
            #expect(timers.count == naps.count && timers.allSatisfy(\.hasFired), "seed \(seed)")
        }
    }

    @Test(
        "a sleep ends at its time or later, and fires once, whenever its owner crashes", arguments: CrashMoment.allCases
    )
    func crashes(moment: CrashMoment) async throws {
        for seed in Simulation.seeds(4) {
            let watch = Watch()
            let workflow = Self.napping(watch)
            let restsSoon: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                snapshotOften(&configuration)
                // Sleeping in memory with one seed, and out of it with the next.
                configuration.limits.restsAfter = seed % 2 == 0 ? .seconds(1) : .seconds(10)
            }
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow], configure: restsSoon) { simulation in
                try await Self.nap(simulation, watch, workflow, seed) {
                    // A sleep whose beginning is on its way to the record; one that lasts; one that is about to fire.
                    let begun = watch.fell.count
                    let isOver = { begun == Self.naps.count && watch.woke.count == begun }
                    try await simulation.world.wait(until: "another nap", within: .seconds(60)) {
                        watch.fell.count > begun || isOver()
                    }
                    let nap = watch.fell.count - 1
                    guard nap >= begun, let owner = try await simulation.owner(of: "n") else { return }
                    let length = Self.naps[nap]
                    switch moment {
                    case .before: await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(8)))
                    case .during: await simulation.advance(by: simulation.world.random(in: .zero...length))
                    case .after:
                        await simulation.advance(by: length - .milliseconds(10))
                        await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(40)))
                    }
                    guard simulation.runningNodes.contains(owner) else { return }
                    simulation.crash(owner, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(3)))
                    simulation.restart(owner)
                }
                for (number, nap) in Self.naps.enumerated() {
                    let (fell, woke) = (try #require(watch.fell[number]), try #require(watch.woke[number]))
                    #expect(fell.duration(to: woke) >= nap, "seed \(seed), nap \(number)")
                }
            }
        }
    }

    @Test("a sleep whose owner or leader is cut off and goes on elsewhere ends at its time or later, and fires once")
    func partitions() async throws {
        for seed in Simulation.seeds(5) {
            let watch = Watch()
            let workflow = Self.napping(watch)
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow], configure: snapshotOften) {
                simulation in
                try await Self.nap(simulation, watch, workflow, seed) {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(3)))
                    let owner = try await simulation.owner(of: "n")
                    let leader = try await simulation.workflowLeader()
                    guard let lone = simulation.world.chance(0.7) ? owner : leader else { return }
                    let others = simulation.nodes.filter { $0 != lone }
                    if simulation.world.chance(0.7) {
                        simulation.partition([lone], from: others)
                    } else {
                        simulation.cut(from: others, to: [lone])
                    }
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(8)))
                    simulation.heal()
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                }
                for (number, nap) in Self.naps.enumerated() {
                    let (fell, woke) = (try #require(watch.fell[number]), try #require(watch.woke[number]))
                    #expect(fell.duration(to: woke) >= nap, "seed \(seed), nap \(number)")
                }
            }
        }
    }

    @Test(
        "by the group's time no sleep is too short and none fires twice, whatever the machines' clocks do, over crashes"
    )
    func clocks() async throws {
        for seed in Simulation.seeds(4) {
            let watch = Watch()
            let workflow = Self.napping(watch)
            try await withSimulation(seed: seed, nodes: 3, workflows: [workflow], configure: snapshotOften) {
                simulation in
                for number in simulation.nodes {
                    let percent = 80 + simulation.world.random(below: 41)
                    simulation.setClockRate(of: number, to: Double(percent) / 100)
                }
                try await Self.nap(simulation, watch, workflow, seed) {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(2)))
                    let number = 1 + Int(simulation.world.random(below: 3))
                    let jump = simulation.world.random(in: .seconds(-6) ... .seconds(6))
                    simulation.jumpWallClock(of: number, by: jump)
                    guard simulation.world.chance(0.5), let owner = try await simulation.owner(of: "n") else { return }
                    simulation.crash(owner, dropUnsynced: true)
                    await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(3)))
                    simulation.restart(owner)
                }
            }
        }
    }
}
