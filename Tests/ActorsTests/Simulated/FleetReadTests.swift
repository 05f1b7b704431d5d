import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Whole nodes that keep next to nothing of their logs in memory.
@Suite struct FleetReadTests {
    /// A fleet of three, of which the third has missed some hundred entries, most of them on the others' disks alone.
    private func withLaggard(
        seeds: Int, _ prepare: @escaping @Sendable (SimulatedFleet) -> Void = { _ in },
        _ body: @escaping @Sendable (SimulatedFleet, _ leader: NodeID, _ laggard: NodeID) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(seeds) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.settings.logWindowBytes = 0
                fleet.settings.snapshotThreshold = 1_000_000
                prepare(fleet)
                try await fleet.startAll()
                try await fleet.waitForVoters(3)
                let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
                let laggard = fleet.nodes.last { $0 != leader }!
                await fleet.crash(laggard, .killed)
                try await Self.propose(0..<300, on: leader, of: fleet)
                do {
                    try await body(fleet, leader, laggard)
                } catch {
                    await fleet.stopAll()
                    throw error
                }
                await fleet.stopAll()
            }
        }
    }

    private static func propose(_ numbers: Range<UInt64>, on node: NodeID, of fleet: SimulatedFleet) async throws {
        let group = try await fleet.group(node)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in numbers {
                tasks.addTask {
                    _ = try await group.propose([Journal.operation(number, padding: 4 << 10)], ownerEpoch: 0)
                }
                if number % 10 == 9 { try await tasks.waitForAll() }
            }
        }
    }

    private static func waitUntilEqual(_ fleet: SimulatedFleet, _ count: Int = 300) async throws {
        try await fleet.wait("equal replicas") { reports in
            reports.count == 3 && Set(reports.values.map(\.appliedIndex)).count == 1
                && reports.values.contains { $0.status.role == .leader }
        }
        for node in fleet.nodes {
            let numbers = try await fleet.numbers(node)
            #expect(Set(numbers.prefix(count)) == Set((0..<UInt64(count))), "FLOTILLA_SEED=\(fleet.world.seed)")
            #expect(numbers.count == Set(numbers).count)
        }
    }

    private static func reads(_ fleet: SimulatedFleet, _ node: NodeID) async -> UInt64 {
        await fleet.cores[node]?.counters().scheduler.logReads ?? 0
    }

    @Test(
        "a follower far behind is brought up from its leader's file, without a snapshot, and no loop waits for a disk")
    func farBehind() async throws {
        try await withLaggard(seeds: 4) { fleet, leader, laggard in
            let before = await Self.reads(fleet, leader)
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            #expect(try await fleet.group(laggard).report().snapshotsInstalled == 0)
            #expect(await Self.reads(fleet, leader) > before)
            for node in fleet.nodes { #expect(fleet.world.disk(of: node).counts.callsOnLoop == 0) }
        }
    }

    @Test("commits go on while a follower is brought up from a file that takes its time")
    func commitsGoOn() async throws {
        try await withLaggard(seeds: 3) { fleet, leader, laggard in
            try await fleet.start(laggard)
            fleet.world.disk(of: leader).latency = .milliseconds(1) ... .milliseconds(20)
            try await Self.propose(300..<360, on: leader, of: fleet)
            try await Self.waitUntilEqual(fleet, 360)
            #expect(try await fleet.group(leader).report().status.role == .leader)
        }
    }

    @Test("a leader that compacts what it is reading sends the snapshot instead, or the entries that it kept")
    func compactsWhileItReads() async throws {
        let compacting: @Sendable (SimulatedFleet) -> Void = { fleet in
            fleet.settings.snapshotThreshold = 30
            fleet.settings.entriesKeptBehindSnapshot = 20
        }
        try await withLaggard(seeds: 6, compacting) { fleet, leader, laggard in
            fleet.world.disk(of: leader).latency = .milliseconds(5) ... .milliseconds(40)
            try await fleet.start(laggard)
            try await Self.propose(300..<500, on: leader, of: fleet)
            try await Self.waitUntilEqual(fleet, 500)
        }
    }

    @Test("a leader that loses power while it reads for a follower leaves one that the others can follow")
    func crashDuringReads() async throws {
        try await withLaggard(seeds: 8) { fleet, leader, laggard in
            fleet.world.disk(of: leader).latency = .milliseconds(20) ... .milliseconds(80)
            try await fleet.start(laggard)
            try await fleet.world.sleep(for: .milliseconds(Int64(fleet.world.random(below: 2_000))))
            await fleet.crash(leader, .powerLost(.anyKept))
            try await fleet.world.sleep(for: .milliseconds(Int64(fleet.world.random(below: 3_000))))
            try await fleet.start(leader)
            try await Self.waitUntilEqual(fleet)
        }
    }

    @Test("nodes that stop and start again apply their logs from their files, page by page")
    func restart() async throws {
        let large: @Sendable (SimulatedFleet) -> Void = { $0.settings.logWindowBytes = 10_000 }
        try await withLaggard(seeds: 3, large) { fleet, leader, laggard in
            // More than one page holds.
            let group = try await fleet.group(leader)
            for number in 300..<380 {
                _ = try await group.propose([Journal.operation(UInt64(number), padding: 60 << 10)], ownerEpoch: 0)
            }
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet, 380)
            for node in fleet.nodes { await fleet.crash(node, .powerLost(.dropped)) }
            for node in fleet.nodes { try await fleet.start(node) }
            try await Self.waitUntilEqual(fleet, 380)
            for node in fleet.nodes { #expect(await Self.reads(fleet, node) >= 2) }
        }
    }

    @Test("a leader whose file has rotted stops by name instead of sending what it reads, and the others go on")
    func damage() async throws {
        try await withLaggard(seeds: 3) { fleet, leader, laggard in
            let disk = fleet.world.disk(of: leader)
            let path = "/data/log/00000001.seg"
            let bytes = try #require(disk.contents(of: path))
            #expect(disk.flipBit(3, at: bytes.count / 2, of: path))
            try await fleet.start(laggard)
            try await fleet.wait("a group that stopped") { $0[leader]?.stopReason != nil }
            let reason = try #require(try await fleet.group(leader).report().stopReason)
            #expect(reason.message.contains("\(path) is damaged at byte") && reason.message.contains("group 7"))
            try await fleet.wait("another leader") { reports in
                reports.contains { $0.key != leader && $0.value.status.role == .leader }
            }
            let other = fleet.nodes.first { $0 != leader }!
            _ = try await fleet.group(other).propose([Journal.operation(900)], ownerEpoch: 0)
            for node in fleet.nodes where node != leader {
                try await fleet.group(node).barrier()
                #expect(Set(try await fleet.numbers(node)) == Set((0..<300) + [900]))
            }
        }
    }
}
