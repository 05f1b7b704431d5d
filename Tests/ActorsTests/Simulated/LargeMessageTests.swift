import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Large commands on links that carry little.
@Suite struct LargeMessageTests {
    private static let otherGroup = GroupID(8)
    private static let size = 2 << 20

    /// A fleet of two groups over links of 10 megabits per second.
    private func withSlowFleet(
        seeds: Int = 2, limit: Int = GroupSettings().consensusMessageLimit,
        _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(seeds) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.groups = [SimulatedFleet.group, Self.otherGroup]
                fleet.settings.consensusMessageLimit = limit
                try await fleet.startAll()
                do {
                    try await fleet.waitForVoters(3)
                    world.links.conditions.bandwidth = 1_250_000
                    try await body(fleet)
                } catch {
                    await fleet.stopAll()
                    throw error
                }
                await fleet.stopAll()
            }
        }
    }

    /// How a large command and a busy group get along.
    private struct Figures: CustomStringConvertible {
        var large = Duration.zero
        /// The longest that a small command of the other group took meanwhile.
        var small = Duration.zero
        /// How often a group changed its term.
        var elections: UInt64 = 0
        var description: String { "large \(large), slowest small one \(small), \(elections) elections" }
    }

    private static func measure(_ fleet: SimulatedFleet) async throws -> Figures {
        let world = fleet.world
        let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
        let (busy, other) = (try await fleet.group(leader), try await fleet.cores[leader]!.hosted.group(otherGroup))
        func terms() async throws -> UInt64 {
            try await busy.report().status.term.rawValue + other.report().status.term.rawValue
        }
        var figures = Figures()
        let termsBefore = try await terms()
        let start = world.now
        let end = Lock<MonotonicTime?>(nil)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                _ = try await busy.propose([Journal.operation(1, padding: size)], ownerEpoch: 0)
                end.withLock { $0 = world.now }
            }
            var number: UInt64 = 100
            while end.withLock({ $0 }) == nil {
                number += 1
                let before = world.now
                _ = try await other.propose([Journal.operation(number)], ownerEpoch: 0)
                figures.small = max(figures.small, before.duration(to: world.now))
                try await world.sleep(for: .milliseconds(10))
            }
            try await tasks.waitForAll()
        }
        figures.large = start.duration(to: end.withLock { $0 } ?? start)
        figures.elections = try await terms() - termsBefore
        return figures
    }

    @Test("a large command does not hold up another group, nor make a node look dead")
    func doesNotDelayOthers() async throws {
        try await withSlowFleet { fleet in
            let figures = try await Self.measure(fleet)
            print("large command over the second connection: \(figures)")
            #expect(figures.elections == 0 && figures.small < .milliseconds(300), "\(figures)")
        }
        // What this is for: the same with everything on one connection.
        try await withSlowFleet(limit: .max) { fleet in
            let figures = try await Self.measure(fleet)
            print("large command over the one connection: \(figures)")
            #expect(figures.elections > 0 || figures.small > .seconds(1), "\(figures)")
        }
    }

    @Test("what is behind a large append is not sent until that is acknowledged, refused or lost")
    func ways() {
        let now = MonotonicTime(nanoseconds: 0)
        func append(_ previous: UInt64, _ bytes: Int, term: UInt64 = 1, to: UInt64 = 2) -> Message {
            let index = LogIndex(previous + 1)
            let entry = Entry(
                index: index, term: Term(term), kind: .command, payload: [UInt8](repeating: 0, count: bytes))
            return Message(
                from: ReplicaID(1), to: ReplicaID(to), term: Term(term),
                body: .append(
                    .init(
                        previousIndex: LogIndex(previous), previousTerm: Term(1), commit: .zero,
                        entries: bytes == 0 ? [] : [entry])))
        }
        func answer(_ index: UInt64, isRejected: Bool = false) -> Message {
            Message(
                from: ReplicaID(2), to: ReplicaID(1), term: Term(1),
                body: .appendResponse(.init(index: LogIndex(index), isRejected: isRejected)))
        }
        var messages = LargeMessages(limit: 100)
        func way(_ message: Message, after time: Duration = .zero) -> LargeMessages.Way {
            messages.way(of: message, now: now.advanced(by: time))
        }
        func received(_ message: Message) -> Bool { messages.received(message) }
        func lost() -> Bool { messages.lost(ReplicaID(2)) }
        #expect(way(append(5, 100)) == .consensus)
        #expect(way(append(6, 101)) == .bulk)
        // Once more, by a heartbeat; what follows; another replica; another term.
        #expect(way(append(6, 101)) == .none)
        #expect(way(append(7, 10)) == .none)
        #expect(way(append(7, 0)) == .none)
        #expect(way(append(7, 10, to: 3)) == .consensus)
        #expect(way(append(5, 10)) == .consensus, "the leader went back")
        #expect(!received(answer(6)))
        #expect(way(append(7, 10)) == .none)
        #expect(received(answer(7)))
        #expect(way(append(7, 10)) == .consensus)
        // Refused: it is needed again.
        #expect(way(append(8, 101)) == .bulk)
        #expect(!received(answer(8, isRejected: true)))
        #expect(way(append(8, 101)) == .bulk)
        #expect(lost() && !lost())
        #expect(way(append(8, 101)) == .bulk)
        #expect(way(append(8, 101), after: .seconds(60)) == .bulk, "nobody answered")
        #expect(way(append(9, 1, term: 2)) == .consensus)
    }

    @Test("a large command and those behind it are sent once, in order, though heartbeats ask again meanwhile")
    func sentOnce() async throws {
        try await withSlowFleet { fleet in
            let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
            let group = try await fleet.group(leader)
            let before = await fleet.transportMetrics(leader).bytesOut
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number: UInt64 in 1...12 {
                    let padding = number == 3 || number == 7 ? Self.size : 10
                    tasks.addTask {
                        _ = try await group.propose([Journal.operation(number, padding: padding)], ownerEpoch: 0)
                    }
                    try await fleet.world.sleep(for: .milliseconds(30))
                }
                try await tasks.waitForAll()
            }
            let sent = await fleet.transportMetrics(leader).bytesOut - before
            #expect(sent < UInt64(2 * 2 * Self.size + (1 << 20)), "\(sent) bytes")
            #expect(try #require(fleet.world.process(of: NodeID(2))).fileSystem.list("/data/payloads").count >= 2)
            for node in fleet.nodes {
                try await fleet.group(node).barrier()
                #expect(try await fleet.numbers(node) == Array(1...12))
            }
        }
    }

    @Test("large commands from anywhere arrive once over links that lose, double and reorder, through crashes")
    func faults() async throws {
        try await withSlowFleet(seeds: 4, limit: 50_000) { fleet in
            let world = fleet.world
            world.links.conditions.loss = 0.02
            world.links.conditions.duplication = 0.05
            world.links.conditions.reorders = true
            let acknowledged = Lock<[UInt64]>([])
            for round: UInt64 in 0..<6 {
                let node = fleet.nodes[Int(round) % 3]
                let group = try await fleet.group(node)
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in round * 10..<round * 10 + 8 {
                        let padding = number.isMultiple(of: 2) ? 200_000 : 10
                        tasks.addTask {
                            _ = try await group.propose([Journal.operation(number, padding: padding)], ownerEpoch: 0)
                            acknowledged.withLock { $0.append(number) }
                        }
                    }
                    // The next node's replica gets what it lacks after it is back.
                    let victim = fleet.nodes[Int(round + 1) % 3]
                    try await world.sleep(for: world.random(in: .zero ... .milliseconds(400)))
                    await fleet.crash(victim, .powerLost(.anyKept))
                    try await world.sleep(for: .seconds(1))
                    try await fleet.start(victim)
                    try await tasks.waitForAll()
                }
            }
            world.links.conditions = LinkConditions()
            let expected = acknowledged.withLock { $0.sorted() }
            #expect(expected.count == 48)
            let first = try await fleet.numbers(fleet.nodes[0], after: fleet)
            #expect(first.sorted() == expected)
            for node in fleet.nodes { #expect(try await fleet.numbers(node, after: fleet) == first) }
        }
    }
}

extension SimulatedFleet {
    /// What a node has once it has caught up.
    fileprivate func numbers(_ node: NodeID, after fleet: SimulatedFleet) async throws -> [UInt64] {
        try await group(node).barrier()
        return try await numbers(node)
    }
}
