import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Runs that clusters owe others", .timeLimit(.minutes(5)))
struct StewardTests {
    private func id(_ number: UInt64) -> String { "w\(number)" }

    @Test("TT-05: a cluster that is drained gives away slots and runs, ended ones too, and is sealed, whatever is lost")
    func drain() async throws {
        for seed in Simulation.seeds(20) {
            let world = try await MemoryWorld.withRuns(clusters: 3, seed: seed, lossShare: 4)
            let (first, second) = (world.group(1), world.group(2))
            try world.manage(.drainCluster(ManagementBench.cluster(1), into: ManagementBench.cluster(2)))
            try world.moveSlots(of: 1, to: [2, 3])
            try await world.settle()
            #expect(world[first].state.transfers.sealEpoch == 1, "seed \(seed)")
            for number in [1, 2, 3, 4, 5, 6, 7] as [UInt64] {
                #expect(world[second].bench.machine.run(id(number))?.runID == RunID(high: 7, low: number))
                #expect(try world.place(of: id(number)) == second, "seed \(seed): \(id(number))")
            }
            #expect(world[second].bench.machine.run(id(5))?.status == .completed)
            #expect(try world.place(of: "~g.9") == second)
            #expect(try world.place(of: id(8)) == second, "a reservation goes along")
            for group in world.groups { #expect(group.state.check() == nil, "seed \(seed)") }
            // What is removed away from home is forgotten there.
            try world[second].bench.apply([.pruneRun(workflowID: id(5))])
            try await world.settle()
            #expect(try world.place(of: id(5)) == nil, "seed \(seed)")
            #expect(world[second].state.transfers.releases.count == 0)
        }
    }

    @Test("runs without a named heir go to the clusters that have the least to do")
    func drainIntoAny() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 3)
        try world.manage(.drainCluster(ManagementBench.cluster(1), into: nil))
        try world.moveSlots(of: 1, to: [3])
        try await world.settle()
        #expect(world[world.group(1)].state.transfers.sealEpoch == 1)
        #expect(world.groups.dropFirst().map(\.state.runs.count).reduce(0, +) == 8)
    }

    @Test("as many runs move as were ordered, of those that have not ended, however often the steward looks")
    func orders() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 2)
        let (first, second) = (ManagementBench.cluster(1), ManagementBench.cluster(2))
        var report = WorkflowReport(cluster: first, after: .zero, through: LogIndex(9))
        report.started = (1...4 as ClosedRange<UInt64>).map { ManagementBench.started(id($0), run: $0) }
        try world.manage(.reportWorkflows(report))
        try world.manage(.moveRuns(from: first, to: second, count: 2))
        try await world.settle()
        try await world.settle()
        #expect(world[world.group(1)].state.runs.count == 5)
        #expect(world[world.group(2)].bench.machine.run(id(1)) != nil)
        #expect(world[world.group(2)].bench.machine.run(id(2)) != nil)
        #expect(try world.place(of: id(1)) == world.group(2))
    }

    @Test("a run whose target was sealed first goes on where it was")
    func sealedTarget() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 3)
        let (first, third) = (world.group(1), world.group(3))
        try world[first].apply(.exportRun(Bench.address(id(1)), to: third))
        try world[third].apply(.seal(epoch: 1))
        try await world.settle()
        #expect(world[first].bench.machine.run(id(1))?.status == .running)
    }

    @Test("a run whose target is no more goes on where it was, unless it had been taken there and has left since")
    func destroyedTarget() async throws {
        for hadBeenTaken in [false, true] {
            let world = try await MemoryWorld.withRuns(clusters: 3)
            let (first, second, third) = (world.group(1), world.group(2), world.group(3))
            // From a group that is not the home.
            try world[second].apply(.exportRun(Bench.address(id(7), run: 7), to: third))
            if hadBeenTaken {
                let key = RunKey("default", id(7))
                let moving = try #require(world[second].state.transfers.frozenRun(key))
                for part in TransferredRun(key: key, run: moving)
                    .parts(from: second, number: 1, acknowledgedBelow: 1)
                {
                    try world[third].apply(.importRun(part))
                }
                try world[third].end(id(7), run: 7)
                try world[third].bench.apply([.pruneRun(workflowID: id(7))])
                try await world.settle([third])
            }
            try world.manage(.drainCluster(ManagementBench.cluster(3), into: nil))
            try world.manage(.destroyCluster(ManagementBench.cluster(3), sealEpoch: 0, isForced: true))
            world.remove(third)
            try await world.settle()
            #expect((world[second].bench.machine.run(id(7)) == nil) == hadBeenTaken)
            #expect(world[second].state.transfers.outgoing.isEmpty)
            #expect(try world.place(of: id(7)) == (hadBeenTaken ? nil : second))
            #expect(world[first].state.check() == nil)
        }
    }

    @Test("runs whose refusal the target has forgotten go on in the next incarnation, those that it took do not")
    func transfersOfLostMembers() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 3)
        let (second, third) = (world.group(2), world.group(3))
        #expect(try world[second].start(id(8), run: 8, .reserved(epoch: 1)).refusal == nil)
        for number in 7...8 as ClosedRange<UInt64> {
            try world[second].apply(.exportRun(Bench.address(id(number), run: number), to: third))
        }
        let survivor = try world[second].restarted()
        survivor.bench.machine.beginIncarnation(2)
        let target = try world[third].restarted()

        // The lost members had both turned down, and told the target so with the next one.
        try world[third].apply(.seal(epoch: 1))
        try await world.settle()
        try world[second].apply(.exportRun(Bench.address(id(7), run: 7), to: third))
        try await world.settle()
        #expect(world[third].state.transfers.inboxes[second]?.turnedDown.keys.sorted() == [3])
        world[second] = try survivor.restarted()
        try await world.settle()
        #expect(world[second].state.transfers.outgoing.isEmpty)
        for number in 7...8 as ClosedRange<UInt64> {
            #expect(world[second].bench.machine.run(id(number))?.status == .running, "\(number)")
            #expect(try world.place(of: id(number)) == second)
        }

        // They had both taken there, and one of them has ended and was removed.
        world[second] = try survivor.restarted()
        world[third] = target
        let lost = try world[second].restarted()
        try await world.settle()
        try world[third].end(id(8), run: 8)
        try world[third].bench.apply([.pruneRun(workflowID: id(8))])
        try await world.settle()
        world[second] = lost
        try await world.settle()
        #expect(world[second].state.transfers.outgoing.isEmpty)
        #expect(world[second].bench.machine.run(id(7)) == nil && world[second].bench.machine.run(id(8)) == nil)
        #expect(try world.place(of: id(7)) == third)
        #expect(try world.place(of: id(8)) == nil)
        for group in world.groups { #expect(group.state.check() == nil) }
    }

    @Test("a run of the home itself that the target could not take goes on there, whatever the target has forgotten")
    func transfersOfLostHome() async throws {
        let world = try await MemoryWorld.withRuns(clusters: 3)
        let (first, third) = (world.group(1), world.group(3))
        for number in 1...2 as ClosedRange<UInt64> {
            #expect(try world[third].start(id(number), run: 50 + number, .alone).refusal == nil)
            try world[first].apply(.exportRun(Bench.address(id(number), run: number), to: third))
        }
        let survivor = try world[first].restarted()
        survivor.bench.machine.beginIncarnation(2)
        try await world.settle()
        try world[first].apply(.exportRun(Bench.address(id(3), run: 3), to: third))
        try await world.settle()
        #expect(world[third].state.transfers.inboxes[first]?.turnedDown.isEmpty == true)
        world[first] = survivor
        try await world.settle()
        for number in 1...2 as ClosedRange<UInt64> {
            #expect(world[first].bench.machine.run(id(number))?.runID == RunID(high: 7, low: number))
        }
        #expect(world[first].state.transfers.outgoing.isEmpty)
    }
}
