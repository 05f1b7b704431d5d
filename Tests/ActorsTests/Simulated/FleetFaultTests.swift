import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// What a group and its node do when something goes wrong beside them.
@Suite struct FleetFaultTests {
    private func withFleet(
        nodes: Int, seeds: Int, prepare: @escaping @Sendable (SimulatedFleet) -> Void = { _ in },
        _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(seeds) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: nodes)
                prepare(fleet)
                try await fleet.startAll()
                do {
                    try await body(fleet)
                } catch {
                    await fleet.stopAll()
                    throw error
                }
                await fleet.stopAll()
            }
        }
    }

    @Test("commands that were applied before an unknown one of the same batch are answered")
    func answersBeforeTheStop() async throws {
        try await withFleet(nodes: 1, seeds: 3) { fleet in
            let group = try await fleet.group(NodeID(1))
            let outcomes = Lock<[String]>([])
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number in 0..<6 {
                    tasks.addTask {
                        let operation =
                            number == 3 ? Operation(type: 9, version: 1, body: []) : Journal.operation(UInt64(number))
                        do {
                            _ = try await group.propose([operation], ownerEpoch: 0)
                            outcomes.withLock { $0.append("answered") }
                        } catch let error as GroupError {
                            outcomes.withLock { $0.append(error.code.rawValue) }
                        }
                    }
                }
                try await fleet.world.wait(until: "six outcomes", within: .seconds(40)) {
                    outcomes.withLock { $0.count == 6 }
                }
                try await tasks.waitForAll()
            }
        }
    }

    @Test("a group that stopped says why, to whoever asks it for a command or for a report")
    func reportOfStoppedGroup() async throws {
        try await withFleet(nodes: 1, seeds: 1) { fleet in
            let group = try await fleet.group(NodeID(1))
            let unknown = Operation(type: 4_711, version: 1, body: [])
            _ = try? await group.propose([unknown], ownerEpoch: 0)
            let error = await #expect(throws: GroupError.self) {
                _ = try await group.propose([Journal.operation(1)], ownerEpoch: 0)
            }
            #expect(error?.message.contains("4711") == true, "\(error!)")
            #expect(try await group.report().stopReason?.message.contains("4711") == true)
        }
    }

    @Test("what a failed fsync left in the system's cache is not taken for durable after a restart")
    func failedSyncThenPowerLoss() async throws {
        try await withFleet(nodes: 1, seeds: 5) { fleet in
            let node = NodeID(1)
            _ = try await fleet.group(node).propose([Journal.operation(1)], ownerEpoch: 0)
            fleet.world.disk(of: node).failNext(.sync)
            _ = try? await fleet.group(node).propose([Journal.operation(2)], ownerEpoch: 0)
            await fleet.crash(node, .killed)
            try await fleet.start(node)
            _ = try await fleet.group(node).propose([Journal.operation(3)], ownerEpoch: 0)
            await fleet.crash(node, .powerLost(.dropped))
            try await fleet.start(node)
            try await fleet.group(node).barrier()
            let numbers = try await fleet.numbers(node)
            #expect(numbers.first == 1 && numbers.last == 3, "seed \(fleet.world.seed): \(numbers)")
        }
    }

    @Test("a member that has never answered is not made a voter")
    func silentLearners() async throws {
        for seed in Simulation.seeds(3) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                // The others are members already, and start only later.
                try await fleet.start(NodeID(1))
                try await world.sleep(for: .seconds(5))
                let report = try await fleet.group(NodeID(1)).report()
                #expect(report.voters == [NodeID(1)] && report.learners == [NodeID(2), NodeID(3)], "seed \(seed)")
                try await fleet.start(NodeID(2))
                try await fleet.start(NodeID(3))
                try await fleet.waitForVoters(3)
                await fleet.stopAll()
            }
        }
    }

    @Test("commands that are large together go to the leader in frames of a bounded size")
    func largeForwards() async throws {
        try await withFleet(nodes: 3, seeds: 1) { fleet in
            try await fleet.waitForVoters(3)
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            let follower = fleet.nodes.first { $0 != leader }!
            let group = try await fleet.group(follower)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number in 0..<12 {
                    tasks.addTask {
                        let large = Operation(
                            type: 1, version: 1, body: Array(repeating: UInt8(number), count: 300_000))
                        _ = try await group.propose([large], ownerEpoch: 0)
                    }
                }
                try await tasks.waitForAll()
            }
            let largest = await fleet.transportMetrics(follower).largestFrameOut
            #expect(largest < 2 * UInt64(GroupScheduler.frameTarget), "a frame of \(largest) bytes")
        }
    }

    @Test("a node that asks for membership and gets no answer asks again")
    func joinWithoutAnswer() async throws {
        try await withFleet(nodes: 2, seeds: 2) { fleet in
            let asked = Lock(0)
            await fleet.cores[NodeID(1)]!.setJoinHandler { question in
                // The first one is forgotten, as one that overflowed the inbox is.
                let count = asked.withLock {
                    $0 += 1
                    return $0
                }
                if count > 1 { question.reply(cluster: 1, refusal: nil) }
            }
            let joiner = fleet.cores[NodeID(2)]!
            let first = await joiner.join(at: fleet.address(NodeID(1)), httpAddress: "")
            guard case .tryAgain = first else { return #expect(Bool(false), "\(first)") }
            let second = await joiner.join(at: fleet.address(NodeID(1)), httpAddress: "")
            guard case .member = second else { return #expect(Bool(false), "\(second)") }
        }
    }

    @Test("a node that was away while all members that it knows were replaced is found by the new ones")
    func allMembersReplaced() async throws {
        try await withFleets(nodes: 2, seeds: 2, groups: []) { fleet in
            let late = fleet.nodes[1]
            await fleet.crash(late, .killed)
            try await fleet.start(late)
            // It knows two nodes that are gone, and not the one that is there.
            fleet.cores[late]!.setMembers([
                late: (102, fleet.address(late)), NodeID(8): (108, "sim-8:7000"), NodeID(9): (109, "sim-9:7000"),
            ])
            try await fleet.world.sleep(for: .seconds(3))
            #expect(await fleet.isConnected(late, to: fleet.nodes[0]), "seed \(fleet.world.seed)")
        }
    }

    @Test("a connection that one side gave up during a cut is replaced as soon as the cut is healed")
    func halfOpenConnection() async throws {
        try await withFleet(nodes: 2, seeds: 6) { fleet in
            let (one, two) = (NodeID(1), NodeID(2))
            let links = fleet.world.links
            try await fleet.wait("learner") { $0.count == 2 }
            // 1 opened the connection that stays, since it has the lower id. It hears nothing and closes it; 2 does not
            // hear of that.
            links.cut(from: two, to: one)
            try await fleet.world.sleep(for: .milliseconds(2_900))
            links.cut(from: one, to: two)
            try await fleet.world.sleep(for: .milliseconds(300))
            links.healAll()
            try await fleet.world.sleep(for: .milliseconds(1_500))
            for node in [one, two] {
                let other = node == one ? two : one
                #expect(await fleet.isConnected(node, to: other), "\(node), seed \(fleet.world.seed)")
            }
        }
    }

    @Test("a connection that is open and delivers no whole frame is closed and made anew")
    func stalledConnection() async throws {
        try await withFleet(nodes: 3, seeds: 3) { fleet in
            try await fleet.waitForVoters(3)
            let before = await fleet.transportMetrics(NodeID(1)).connectionsClosed
            // As a damaged length does: the connection lives, and nothing comes out of it.
            fleet.world.links.cut(from: NodeID(2), to: NodeID(1))
            try await fleet.world.sleep(for: Transport.silenceLimit + .milliseconds(500))
            #expect(await fleet.transportMetrics(NodeID(1)).connectionsClosed > before)
            fleet.world.links.healAll()
            try await fleet.world.sleep(for: .seconds(2))
            #expect(await fleet.isConnected(NodeID(1), to: NodeID(2)))
            try await fleet.world.sleep(for: .seconds(60))
            let later = await fleet.transportMetrics(NodeID(1)).connectionsClosed
            try await fleet.world.sleep(for: .seconds(60))
            #expect(await fleet.transportMetrics(NodeID(1)).connectionsClosed == later, "a quiet cluster keeps them")
        }
    }

    @Test("a follower that needs a snapshot gets it while newer ones replace it on the leader")
    func snapshotUnderLoad() async throws {
        let oftenCompacted: @Sendable (SimulatedFleet) -> Void = { fleet in
            fleet.settings.snapshotThreshold = 20
            fleet.settings.entriesKeptBehindSnapshot = 5
        }
        try await withFleet(nodes: 3, seeds: 1, prepare: oftenCompacted) { fleet in
            try await fleet.waitForVoters(3)
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            let victim = fleet.nodes.first { $0 != leader }!
            await fleet.crash(victim, .killed)
            let group = try await fleet.group(leader)
            // Three chunks and more.
            for number in 0..<4 {
                let ballast = Operation(type: 1, version: 1, body: Array(repeating: UInt8(number), count: 8))
                for _ in 0..<10 { _ = try await group.propose([ballast], ownerEpoch: 0) }
            }
            _ = try await group.withState { ($0 as? Journal)?.grow(3 << 20) }
            for number in 0..<30 { _ = try await group.propose([Journal.operation(UInt64(number))], ownerEpoch: 0) }
            fleet.world.links.setConditions(LinkConditions(bandwidth: 2 << 20), from: leader, to: victim)
            try await fleet.start(victim)
            let isDone = Lock(false)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask {
                    var number: UInt64 = 1_000
                    while !isDone.withLock({ $0 }) {
                        _ = try await group.propose([Journal.operation(number)], ownerEpoch: 0)
                        number += 1
                        try await fleet.world.sleep(for: .milliseconds(20))
                    }
                }
                defer { isDone.withLock { $0 = true } }
                try await fleet.wait("caught-up node", limit: .seconds(30)) { reports in
                    (reports[victim]?.appliedIndex.rawValue ?? 0) + 10 > reports[leader]!.appliedIndex.rawValue
                }
                isDone.withLock { $0 = true }
                try await tasks.waitForAll()
            }
        }
    }
}
