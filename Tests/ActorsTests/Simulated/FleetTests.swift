import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

@Suite struct FleetTests {
    @Test("a group grows from its founder to three voters, and takes commands from any of its nodes")
    func growth() async throws {
        try await withFleets(nodes: 3, seeds: 5) { fleet in
            try await fleet.waitForVoters(3)
            for (number, node) in fleet.nodes.enumerated() {
                let answer = try await fleet.group(node).propose([Journal.operation(UInt64(number))], ownerEpoch: 0)
                #expect(answer.code == 0)
            }
            for node in fleet.nodes {
                try await fleet.group(node).barrier()
                #expect(try await fleet.numbers(node) == [0, 1, 2])
            }
        }
    }

    @Test("two nodes: the second follows as a learner, since an even number of voters tolerates no more failures")
    func twoNodes() async throws {
        try await withFleets(nodes: 2, seeds: 3) { fleet in
            try await fleet.wait("learner") { $0.count == 2 && $0.values.allSatisfy { $0.learners.count == 1 } }
            _ = try await fleet.group(NodeID(2)).propose([Journal.operation(9)], ownerEpoch: 0)
            try await fleet.group(NodeID(2)).barrier()
            #expect(try await fleet.numbers(NodeID(2)) == [9])
        }
    }

    @Test("a group without work goes quiet: no messages but one heartbeat per pair of nodes")
    func quiet() async throws {
        try await withFleets(nodes: 3, seeds: 3) { fleet in
            try await fleet.waitForVoters(3)
            try await fleet.wait("quiet") { $0.values.allSatisfy(\.isQuiet) }
            let before = fleet.world.links.counts.sent
            try await fleet.world.sleep(for: .seconds(10))
            let sent = fleet.world.links.counts.sent - before
            #expect(sent <= 6 * 101, "six directions, one heartbeat each 100 ms, were \(sent) frames")
            // It wakes for work, and for nothing else.
            _ = try await fleet.group(NodeID(2)).propose([Journal.operation(1)], ownerEpoch: 0)
        }
    }

    @Test("the dead leader of a quiet group is noticed by its node's silence, and replaced within a second or two")
    func leaderOfQuietGroupDies() async throws {
        try await withFleets(nodes: 3, seeds: 5) { fleet in
            try await fleet.waitForVoters(3)
            try await fleet.wait("quiet") { $0.values.allSatisfy(\.isQuiet) }
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            await fleet.crash(leader, .powerLost(.dropped))
            let diedAt = fleet.world.now
            try await fleet.wait("other leader", limit: .seconds(5)) { reports in
                reports.values.contains { $0.status.role == .leader }
            }
            #expect(diedAt.duration(to: fleet.world.now) < .seconds(2), "seed \(fleet.world.seed)")
        }
    }

    @Test("lossy network, crashes with unsynced bytes dropped: every acknowledged number is kept, once, in one order")
    func faults() async throws {
        try await withFleets(nodes: 3, seeds: 10) { fleet in
            let world = fleet.world
            try await fleet.waitForVoters(3)
            world.links.conditions.loss = 0.05
            world.links.conditions.duplication = 0.05
            world.links.conditions.reorders = true
            let acknowledged = Lock<[UInt64]>([])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for client in 0..<4 {
                    group.addTask {
                        for number in 0..<25 {
                            let value = UInt64(client * 1_000 + number)
                            try await Self.propose(value, fleet)
                            acknowledged.withLock { $0.append(value) }
                        }
                    }
                }
                group.addTask {
                    for round in 0..<4 {
                        try await world.sleep(for: .milliseconds(Int64(world.random(below: 1_500)) + 300))
                        let victim = fleet.nodes[Int(world.random(below: 3))]
                        await fleet.crash(
                            victim, round.isMultiple(of: 2) ? .powerLost(.dropped) : .powerLost(.prefixKept))
                        try await world.sleep(for: .milliseconds(Int64(world.random(below: 2_000)) + 100))
                        try await fleet.start(victim)
                    }
                }
                try await group.waitForAll()
            }
            world.links.conditions.loss = 0
            world.links.conditions.duplication = 0
            try await fleet.waitForVoters(3)
            var journals: [[UInt64]] = []
            for node in fleet.nodes {
                try await fleet.group(node).barrier()
                journals.append(try await fleet.numbers(node))
            }
            #expect(journals[0] == journals[1] && journals[1] == journals[2], "seed \(world.seed)")
            #expect(Set(journals[0]).count == journals[0].count, "seed \(world.seed): a number was applied twice")
            let missing = Set(acknowledged.withLock { $0 }).subtracting(journals[0])
            #expect(missing.isEmpty, "seed \(world.seed): acknowledged and lost: \(missing)")
            #expect(acknowledged.withLock { $0.count } == 100)
        }
    }

    /// Proposes through any node that runs. Where the outcome is unknown because the node died, the number is asked
    /// for before it is proposed again, so that what is counted twice was applied twice.
    private static func propose(_ value: UInt64, _ fleet: SimulatedFleet) async throws {
        while true {
            let running = fleet.cores.keys.sorted()
            guard !running.isEmpty else {
                try await fleet.world.sleep(for: .milliseconds(100))
                continue
            }
            let node = running[Int(value) % running.count]
            guard let group = fleet.cores[node]?.hosted[SimulatedFleet.group] else {
                try await fleet.world.sleep(for: .milliseconds(100))
                continue
            }
            do {
                try await group.barrier()
                let known = try await group.withState { ($0 as? Journal)?.numbers.contains(value) ?? false }
                if known { return }
                _ = try await group.propose([Journal.operation(value)], ownerEpoch: 0)
                return
            } catch let error as GroupError where error.code == .stopped || error.code == .timedOut {
                // What the dead node had forwarded may still be on its way; let it land or be lost.
                try await fleet.world.sleep(for: .seconds(3))
            }
        }
    }

    @Test("a large state has no other snapshot soon, on who took it, started again with it, or got it from others")
    func largeState() async throws {
        for seed in Simulation.seeds(2) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3) { _ in
                    let journal = Journal()
                    journal.grow(2 << 20)
                    return journal
                }
                fleet.settings.snapshotThreshold = 40
                fleet.settings.entriesKeptBehindSnapshot = 0
                try await fleet.startAll()
                try await fleet.waitForVoters(3)
                let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
                let (away, restarted) = (fleet.nodes.first { $0 != leader }!, fleet.nodes.last { $0 != leader }!)
                await fleet.crash(away, .killed)
                let group = try await fleet.group(leader)
                func propose(_ numbers: Range<UInt64>) async throws {
                    for number in numbers { _ = try await group.propose([Journal.operation(number)], ownerEpoch: 0) }
                }
                try await propose(0..<60)
                try await fleet.wait("a snapshot") { reports in
                    reports.count == 2 && reports.values.allSatisfy { $0.snapshotIndex > .zero }
                }
                let first = try await group.report().snapshotIndex
                try await fleet.start(away)
                await fleet.crash(restarted, .killed)
                try await fleet.wait("what was installed") { $0[away]?.snapshotsInstalled == 1 }
                try await fleet.start(restarted)
                try await propose(60..<200)
                try await fleet.wait("equal replicas") { reports in
                    reports.count == 3 && Set(reports.values.map(\.appliedIndex)).count == 1
                }
                // Time enough to write one down that is not to be.
                try await world.sleep(for: .seconds(10))
                for node in fleet.nodes {
                    #expect(try await fleet.group(node).report().snapshotIndex == first, "\(node), seed \(seed)")
                }
                await fleet.stopAll()
            }
        }
    }

    @Test("CE-07: a node that was away while the log was compacted comes back by a snapshot, with an equal state")
    func snapshot() async throws {
        for seed in Simulation.seeds(3) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.settings.snapshotThreshold = 50
                fleet.settings.entriesKeptBehindSnapshot = 10
                try await fleet.startAll()
                try await fleet.waitForVoters(3)
                let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
                let victim = fleet.nodes.first { $0 != leader }!
                await fleet.crash(victim, .killed)
                let group = try await fleet.group(leader)
                for number in 0..<300 {
                    _ = try await group.propose([Journal.operation(UInt64(number))], ownerEpoch: 0)
                }
                try await fleet.start(victim)
                try await fleet.wait("caught-up node") { $0[victim]?.appliedIndex == $0[leader]?.appliedIndex }
                let report = try await fleet.group(victim).report()
                #expect(report.snapshotsInstalled == 1, "seed \(seed)")
                #expect(try await fleet.numbers(victim) == (0..<300).map(UInt64.init))
                let hashes = try await (fleet.group(victim).stateHash(), fleet.group(leader).stateHash())
                #expect(hashes.0.index == hashes.1.index && hashes.0.hash == hashes.1.hash)
                await fleet.stopAll()
            }
        }
    }

    @Test("a node whose disk fails takes no further part; the others go on")
    func failedDisk() async throws {
        try await withFleets(nodes: 3, seeds: 3) { fleet in
            try await fleet.waitForVoters(3)
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            fleet.world.disk(of: leader).failNext(.sync)
            let other = fleet.nodes.first { $0 != leader }!
            // Its own write fails; a majority of the others' disks decides.
            for number in UInt64(0)..<5 {
                _ = try await fleet.group(other).propose([Journal.operation(number)], ownerEpoch: 0)
            }
            let failed = try await fleet.cores[leader]!.hosted.group(SimulatedFleet.group)
            await #expect(throws: GroupError.self) {
                _ = try await failed.propose([Journal.operation(99)], ownerEpoch: 0)
            }
            #expect(try await fleet.numbers(other) == [0, 1, 2, 3, 4])
        }
    }

    @Test("TT-12: a command that this version does not know stops the group on that node, with a named error")
    func unknownCommand() async throws {
        try await withFleets(nodes: 1, seeds: 1) { fleet in
            let group = try await fleet.group(NodeID(1))
            let unknown = Operation(type: 4_711, version: 1, body: [])
            let error = await #expect(throws: GroupError.self) {
                _ = try await group.propose([unknown], ownerEpoch: 0)
            }
            #expect(error?.code == .stopped)
            #expect(error?.message.contains("4711") == true, "\(String(describing: error))")
        }
    }
}
