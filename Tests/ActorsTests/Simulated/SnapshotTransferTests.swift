import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Snapshots between whole nodes, over a network and on disks that fail.
@Suite struct SnapshotTransferTests {
    private static let chunkBytes = 1 << 10
    /// 10 chunks and a bit.
    private static let ballast = 10 << 10

    /// A fleet of three whose members all hold a state of many chunks. The third is away, and needs a snapshot of it.
    private func withLaggard(
        seeds: [UInt64], _ prepare: @escaping @Sendable (SimulatedFleet) -> Void = { _ in },
        _ body: @escaping @Sendable (SimulatedFleet, _ leader: NodeID, _ laggard: NodeID) async throws -> Void
    ) async throws {
        for seed in seeds {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3) { _ in
                    let journal = Journal()
                    journal.grow(Self.ballast)
                    return journal
                }
                fleet.settings.snapshotThreshold = 40
                fleet.settings.entriesKeptBehindSnapshot = 0
                fleet.settings.snapshotEmbedLimit = 0
                fleet.settings.snapshotFiles.chunkBytes = Self.chunkBytes
                fleet.settings.snapshotFiles.pieceBytes = Self.chunkBytes / 4
                prepare(fleet)
                try await fleet.startAll()
                try await fleet.waitForVoters(3)
                let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
                let laggard = fleet.nodes.last { $0 != leader }!
                await fleet.crash(laggard, .killed)
                let group = try await fleet.group(leader)
                for number in 0..<100 {
                    _ = try await group.propose([Journal.operation(UInt64(number))], ownerEpoch: 0)
                }
                try await fleet.wait("snapshots") { reports in
                    let newest = reports[leader]!.snapshotIndex
                    return newest.rawValue > 60 && reports.values.allSatisfy { $0.snapshotIndex == newest }
                }
                try await body(fleet, leader, laggard)
                await fleet.stopAll()
            }
        }
    }

    private static func waitUntilEqual(_ fleet: SimulatedFleet, limit: Duration = .seconds(60)) async throws {
        try await fleet.wait("equal replicas", limit: limit) { reports in
            reports.count == 3 && Set(reports.values.map(\.appliedIndex)).count == 1
                && reports.values.contains { $0.status.role == .leader }
        }
        var hashes: [UInt64] = []
        for node in fleet.nodes { hashes.append(try await fleet.group(node).stateHash().hash) }
        #expect(Set(hashes).count == 1, "FLOTILLA_SEED=\(fleet.world.seed)")
        #expect(try await fleet.numbers(fleet.nodes[2]).prefix(100) == (0..<100).map(UInt64.init)[...])
    }

    private static func chunks(_ fleet: SimulatedFleet, _ node: NodeID) async throws -> Int {
        let size = try #require(try await fleet.group(node).report().lastSnapshot?.sizeBytes)
        return (Int(size) + chunkBytes - 1) / chunkBytes
    }

    @Test("RM-14, CE-25: a state of many chunks is fetched, each of them once, and the tail of the log replays on it")
    func fetched() async throws {
        try await withLaggard(seeds: Simulation.seeds(3)) { fleet, leader, laggard in
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            let report = try await fleet.group(laggard).report()
            #expect(report.snapshotsInstalled == 1)
            #expect(try await Int(report.snapshotChunksFetched) == Self.chunks(fleet, leader))
        }
    }

    @Test("RM-13, RM-17: a large state is announced by its metadata alone, and travels beside the log's messages")
    func announced() async throws {
        try await withLaggard(seeds: Simulation.seeds(2)) { fleet, leader, laggard in
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            let report = try await fleet.group(laggard).report()
            #expect(report.snapshotsInstalled == 1 && report.snapshotChunksFetched > 10)
            for node in fleet.nodes {
                let largest = await fleet.transportMetrics(node).largestFrameOut
                #expect(largest < Self.ballast, "\(node)")
            }
        }
    }

    @Test("RM-17: a small state comes with its announcement, and nothing is fetched")
    func embedded() async throws {
        let embedding: @Sendable (SimulatedFleet) -> Void = { $0.settings.snapshotEmbedLimit = 1 << 20 }
        try await withLaggard(seeds: Simulation.seeds(2), embedding) { fleet, leader, laggard in
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            let report = try await fleet.group(laggard).report()
            #expect(report.snapshotsInstalled == 1 && report.snapshotChunksFetched == 0)
        }
    }

    @Test("a power failure at any change of the disk while a small state is taken leaves a log that can be used")
    func embeddedAndPowerLost() async throws {
        let embedding: @Sendable (SimulatedFleet) -> Void = { $0.settings.snapshotEmbedLimit = 1 << 20 }
        for changes in 1...20 {
            try await withLaggard(seeds: [UInt64(changes)], embedding) { fleet, leader, laggard in
                try await fleet.start(laggard)
                let disk = fleet.world.disk(of: laggard)
                disk.losePower(afterChanges: changes, .dropped)
                try await fleet.world.sleep(for: .seconds(2))
                disk.losePower(afterChanges: nil)
                await fleet.crash(laggard, .killed)
                try await fleet.start(laggard)
                try await Self.waitUntilEqual(fleet)
            }
        }
    }

    @Test("RM-14: chunks that are lost, repeated and overtake each other delay a transfer and do not end it")
    func badNetwork() async throws {
        try await withLaggard(seeds: Simulation.seeds(5)) { fleet, leader, laggard in
            fleet.world.links.conditions = LinkConditions(
                delay: .microseconds(100)...(.milliseconds(20)), loss: 0.05, duplication: 0.2, reorders: true)
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet, limit: .seconds(300))
            #expect(try await fleet.group(laggard).report().snapshotsInstalled >= 1)
        }
    }

    @Test("a member whose copy has rotted hands out nothing; the others hand out theirs")
    func rottenCopy() async throws {
        try await withLaggard(seeds: Simulation.seeds(3)) { fleet, leader, laggard in
            let report = try await fleet.group(leader).report()
            let disk = fleet.world.disk(of: leader)
            // The file's name holds a term: the one that it was taken in.
            let paths = (1...9).map {
                "/data/snapshots/\(SimulatedFleet.group.rawValue)-1-\(report.snapshotIndex.rawValue)-\($0).snap"
            }
            let path = try #require(paths.first { disk.contents(of: $0) != nil })
            #expect(disk.flipBit(3, at: SnapshotHeader.bytes + 5 * Self.chunkBytes, of: path))
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            #expect(try await fleet.group(laggard).report().snapshotsInstalled == 1)
        }
    }

    @Test("RM-16: a receiver that is killed at any chunk goes on from there when it is back")
    func receiverKilled() async throws {
        for (number, seed) in Simulation.seeds(12).enumerated() {
            try await withLaggard(seeds: [seed]) { fleet, leader, laggard in
                let total = try await Self.chunks(fleet, leader)
                try await Self.startSlowly(laggard, untilChunk: number, fleet)
                await fleet.crash(laggard, .killed)
                for node in fleet.nodes { fleet.world.links.setConditions(nil, from: node, to: laggard) }
                try await fleet.start(laggard)
                try await Self.waitUntilEqual(fleet)
                // What had arrived and was still being written may have been lost.
                let again = Int(try await fleet.group(laggard).report().snapshotChunksFetched)
                #expect(again <= total - max(0, number - SnapshotFetch.window), "chunk \(number), seed \(seed)")
            }
        }
    }

    @Test("a receiver that loses power at any chunk has all of the snapshot in the end")
    func receiverLosesPower() async throws {
        for (number, seed) in Simulation.seeds(12).enumerated() {
            try await withLaggard(seeds: [seed]) { fleet, leader, laggard in
                try await Self.startSlowly(laggard, untilChunk: number, fleet)
                await fleet.crash(laggard, .powerLost(.anyKept))
                try await fleet.start(laggard)
                try await Self.waitUntilEqual(fleet)
            }
        }
    }

    @Test("RM-16: a sender that is killed at any chunk is replaced by another, and nothing is fetched again for it")
    func senderKilled() async throws {
        for (number, seed) in Simulation.seeds(12).enumerated() {
            try await withLaggard(seeds: [seed]) { fleet, leader, laggard in
                let total = try await Self.chunks(fleet, leader)
                try await Self.startSlowly(laggard, untilChunk: number, fleet)
                await fleet.crash(leader, .killed)
                try await fleet.wait("caught-up laggard") { reports in
                    reports[laggard].map { $0.snapshotIndex.rawValue > 60 } ?? false
                }
                let fetched = Int(try await fleet.group(laggard).report().snapshotChunksFetched)
                #expect(fetched == total, "chunk \(number), seed \(seed)")
                try await fleet.start(leader)
                try await Self.waitUntilEqual(fleet)
            }
        }
    }

    /// Starts a node on slow links, and waits until so many chunks have reached it.
    private static func startSlowly(_ node: NodeID, untilChunk number: Int, _ fleet: SimulatedFleet) async throws {
        for other in fleet.nodes {
            fleet.world.links.setConditions(LinkConditions(bandwidth: 40 << 10), from: other, to: node)
        }
        try await fleet.start(node)
        let deadline = fleet.world.now.advanced(by: .seconds(30))
        while fleet.world.now < deadline {
            if let group = fleet.cores[node]?.hosted[SimulatedFleet.group],
                try await group.report().snapshotChunksFetched >= UInt64(number)
            {
                return
            }
            try await fleet.world.sleep(for: .milliseconds(5))
        }
        throw ScenarioFailure("chunk \(number) never came")
    }

    @Test("RM-16: what a node hands out keeps to its limit")
    func rateLimit() async throws {
        let limited: @Sendable (SimulatedFleet) -> Void = { $0.settings.snapshotBytesPerSecond = 2 << 10 }
        try await withLaggard(seeds: Simulation.seeds(2), limited) { fleet, leader, laggard in
            let start = fleet.world.now
            try await fleet.start(laggard)
            try await Self.waitUntilEqual(fleet)
            // Two members hand out 10 KiB at 2 KiB/s each, apart from one burst and one chunk.
            let taken = start.duration(to: fleet.world.now)
            #expect(taken > .milliseconds(1_400) && taken < .seconds(8), "\(taken)")
        }
    }

    @Test("all members of a group take the same snapshots at the same entries; other groups take theirs at others")
    func samePlaces() async throws {
        for seed in Simulation.seeds(2) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.groups = (7...14).map(GroupID.init)
                fleet.settings.snapshotThreshold = 100
                try await fleet.startAll()
                try await fleet.waitForVoters(3)
                for number in 0..<150 {
                    for id in fleet.groups {
                        let group = try await fleet.cores[NodeID(1)]!.hosted.group(id)
                        _ = try await group.propose([Journal.operation(UInt64(number))], ownerEpoch: 0)
                    }
                }
                try await world.sleep(for: .seconds(5))
                var places: Set<UInt64> = []
                for id in fleet.groups {
                    var newest: Set<LogIndex> = []
                    for node in fleet.nodes {
                        newest.insert(try await fleet.cores[node]!.hosted.group(id).report().snapshotIndex)
                    }
                    #expect(newest.count == 1, "\(id), FLOTILLA_SEED=\(seed): \(newest)")
                    places.formUnion(newest.map { $0.rawValue % 100 })
                }
                #expect(places.count == fleet.groups.count, "\(places)")
                let names = fleet.world.disk(of: NodeID(1)).files.filter { $0.hasSuffix(".snap") }
                #expect(names.count >= fleet.groups.count)
                for name in names {
                    let copies = fleet.nodes.map { fleet.world.disk(of: $0).contents(of: name) }
                    #expect(Set(copies).count == 1, "\(name), FLOTILLA_SEED=\(seed)")
                }
                await fleet.stopAll()
            }
        }
    }
}
