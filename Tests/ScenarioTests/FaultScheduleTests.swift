import FlotillaIO
import FlotillaRaft
import Testing

@testable import FlotillaScenarios
@testable import FlotillaSimulation

@Suite struct FaultScheduleTests {
    private let nodes = (1...5).map { NodeID(UInt64($0)) }

    private func schedule(_ seed: UInt64) -> FaultSchedule {
        FaultSchedule(seed: seed, nodes: nodes, over: .seconds(60), rates: .survivable)
    }

    @Test("one seed is one schedule, and another seed another one")
    func seeded() {
        #expect(schedule(7) == schedule(7))
        #expect(schedule(7) != schedule(8))
    }

    @Test("every kind of fault comes up, and every seed leaves some kinds out")
    func swarm() {
        var kinds: Set<String> = []
        for seed in UInt64(1)...40 {
            let found = Set(schedule(seed).items.map { Self.kind($0.fault) })
            #expect(found.count < Fault.Kind.allCases.count, "seed \(seed)")
            kinds.formUnion(found)
        }
        #expect(kinds.count == Fault.Kind.allCases.count, "\(kinds.sorted())")
    }

    /// The name of its case.
    private static func kind(_ fault: Fault) -> String { Mirror(reflecting: fault).children.first?.label ?? "\(fault)" }

    @Test("faults stand in the order of their starts and are numbered; some of them can be kept")
    func numbered() {
        let all = schedule(3)
        #expect(all.items.map(\.number) == Array(0..<all.items.count))
        #expect(zip(all.items, all.items.dropFirst()).allSatisfy { $0.start <= $1.start })
        let some = all.keeping([2, 5], before: .seconds(60))
        #expect(some.items == [all.items[2], all.items[5]])
        let early = all.keeping(nil, before: .seconds(10))
        #expect(early.items == all.items.filter { $0.start < .seconds(10) })
    }

    @Test("no fault is without its rate")
    func rates() {
        for kind in Fault.Kind.allCases { #expect(FaultRates.survivable.perMinute[kind] ?? 0 > 0, "\(kind)") }
        let none = FaultSchedule(seed: 1, nodes: nodes, over: .seconds(60), rates: FaultRates([:]))
        #expect(none.items.isEmpty)
        let kills = FaultSchedule(seed: 2, nodes: nodes, over: .seconds(60), rates: FaultRates([.kill: 600]))
        #expect(kills.items.isEmpty || kills.items.count >= 300)
    }
}

@Suite struct FaultInjectorTests {
    /// Nodes that do nothing but run or not.
    private final class Machines: FaultTarget, @unchecked Sendable {
        // Unchecked: touched on the simulation's thread only.
        let world: SimulationWorld
        let nodes = (1...3).map { NodeID(UInt64($0)) }
        var transfers: [NodeID] = []

        init(_ world: SimulationWorld) {
            self.world = world
            for node in nodes { _ = world.start(node) }
        }

        func isRunning(_ node: NodeID) -> Bool { world.process(of: node) != nil }
        func crash(_ node: NodeID, _ end: SimulatedProcess.End) async { world.process(of: node)?.end(end) }
        func revive(_ node: NodeID) async { _ = world.start(node) }
        func transferLeadership(from node: NodeID) { transfers.append(node) }
    }

    private func item(_ number: Int, _ start: Int, _ duration: Int, _ fault: Fault) -> FaultSchedule.Item {
        FaultSchedule.Item(
            start: .milliseconds(start), duration: .milliseconds(duration), fault: fault, number: number)
    }

    /// Plays faults for ten seconds and looks at the world at some moments, in milliseconds.
    private func play(
        _ items: [FaultSchedule.Item], lookingAt moments: [Int],
        _ look: @escaping @Sendable (Int, SimulationWorld) -> Void
    ) async throws {
        _ = try await Simulation.run(seed: 1) { world in
            let machines = Machines(world)
            let injector = FaultInjector(machines)
            let end = world.now.advanced(by: .seconds(10))
            for moment in moments { world.after(.milliseconds(moment)) { look(moment, world) } }
            try await injector.run(FaultSchedule(items: items), until: end)
            look(10_000, world)
            #expect(machines.nodes.allSatisfy { machines.isRunning($0) })
        }
    }

    private let one = NodeID(1)
    private let two = NodeID(2)
    private let three = NodeID(3)

    @Test("where two cuts overlap, the end of one leaves the other")
    func overlappingCuts() async throws {
        let cuts = Lock<[Int: Bool]>([:])
        try await play(
            [
                item(0, 1_000, 4_000, .partition([[one], [two, three]])),
                item(1, 2_000, 1_000, .cut(from: one, to: two)),
            ], lookingAt: [500, 1_500, 2_500, 3_500, 5_500]
        ) { moment, world in
            let isCut = world.links.isCut(from: NodeID(1), to: NodeID(2))
            cuts.withLock { $0[moment] = isCut }
        }
        #expect(
            cuts.withLock { $0 } == [500: false, 1_500: true, 2_500: true, 3_500: true, 5_500: false, 10_000: false])
    }

    @Test("a node is down for as long as a fault keeps it down, and then runs again")
    func downTime() async throws {
        let running = Lock<[Int: Bool]>([:])
        try await play(
            [item(0, 1_000, 3_000, .kill(one)), item(1, 2_000, 4_000, .powerLoss(one, .dropped))],
            lookingAt: [500, 1_500, 4_500, 6_700]
        ) { moment, world in
            let isRunning = world.process(of: NodeID(1)) != nil
            running.withLock { $0[moment] = isRunning }
        }
        #expect(running.withLock { $0 } == [500: true, 1_500: false, 4_500: false, 6_700: true, 10_000: true])
    }

    @Test("the conditions of faults that last add up, and are the usual ones after them")
    func conditions() async throws {
        let seen = Lock<[Int: [Double]]>([:])
        try await play(
            [
                item(0, 1_000, 4_000, .loss(permille: 100)), item(1, 2_000, 1_000, .loss(permille: 300)),
                item(2, 2_000, 9_000, .slowDisk(two, milliseconds: 80)),
                item(3, 2_000, 20_000, .clockRate(one, percent: 90)),
            ], lookingAt: [1_500, 2_500, 3_500]
        ) { moment, world in
            let latency = world.disk(of: NodeID(2)).latency.upperBound == .milliseconds(80) ? 1.0 : 0
            let loss = world.links.conditions.loss
            seen.withLock { $0[moment] = [loss, latency] }
        }
        #expect(seen.withLock { $0 } == [1_500: [0.1, 0], 2_500: [0.3, 1], 3_500: [0.1, 1], 10_000: [0, 0]])
    }

    @Test("a planned failure of a disk that did not come about is taken back at its end")
    func plannedFailures() async throws {
        try await play(
            [
                item(0, 1_000, 1_000, .powerLossAtWrite(one, changes: 1, .dropped)),
                item(1, 1_000, 1_000, .failedSync(two)), item(2, 1_000, 1_000, .failedWrite(two)),
            ], lookingAt: []
        ) { _, world in
            #expect(throws: Never.self) {
                for node in [NodeID(1), NodeID(2)] {
                    let fileSystem = world.process(of: node)!.fileSystem
                    let file = try fileSystem.open("/a", create: true)
                    try file.write([1], at: 0)
                    try file.sync()
                }
            }
        }
    }
}
