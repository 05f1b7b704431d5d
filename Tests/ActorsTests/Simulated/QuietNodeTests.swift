import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// What a quiet group trusts, and what ends its quiet.
@Suite struct QuietNodeTests {
    /// - Parameter warnings: takes what the nodes warn of, as "node 1: ...".
    private func withQuietFleet(
        warnings: Lock<[String]> = Lock([]),
        _ body: @escaping @Sendable (SimulatedFleet, NodeID, NodeID) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(3) {
            _ = try await Simulation.run(seed: seed) { world in
                let fleet = SimulatedFleet(world, nodes: 3)
                fleet.logger = { node in
                    FlotillaLogger(level: .warning) { _, message, _ in
                        warnings.withLock { $0.append("\(node): \(message)") }
                    }
                }
                try await fleet.startAll()
                do {
                    try await fleet.waitForVoters(3)
                    try await fleet.wait("quiet") { $0.values.allSatisfy(\.isQuiet) }
                    let leader = try #require(try await fleet.group(NodeID(1)).report().leader)
                    try await body(fleet, leader, fleet.nodes.first { $0 != leader }!)
                } catch {
                    await fleet.stopAll()
                    throw error
                }
                await fleet.stopAll()
            }
        }
    }

    /// Lets a node receive what the leader might have said; returns whether its group is quiet afterwards.
    private func deliver(
        _ body: @escaping @Sendable (borrowing Raft) -> Message.Body, incarnation: UInt64 = 1, from leader: NodeID,
        to node: NodeID, _ fleet: SimulatedFleet
    ) async throws -> (isQuiet: Bool, term: Term, unknown: UInt64) {
        let core = fleet.cores[node]!
        let group = try await fleet.group(node)
        return await core.onLoop {
            let message = group.assumeIsolated { group in
                group.core.wake()
                return Message(
                    from: group.core.configuration.replica(on: leader)!, to: group.identity.replica,
                    term: group.core.status.term, body: body(group.core))
            }
            core.scheduler.assumeIsolated { scheduler in
                scheduler.receive(
                    RoutedMessage(
                        group: SimulatedFleet.group, incarnation: incarnation, kind: .benchmark, message: message),
                    from: leader)
            }
            let unknown = core.scheduler.assumeIsolated { $0.counters().unknownGroups }
            return group.assumeIsolated { ($0.core.isQuiet, $0.core.status.term, unknown) }
        }
    }

    @Test("a follower goes quiet only under the liveness epoch in which it knows its leader's node")
    func livenessEpoch() async throws {
        try await withQuietFleet { fleet, leader, follower in
            let core = fleet.cores[follower]!
            let epoch = await core.onLoop { core.transport.assumeIsolated { $0.livenessEpoch(of: leader)! } }
            let other = try await deliver(
                { .quiesce(.init(commit: $0.commitIndex, livenessEpoch: epoch + 1)) }, from: leader, to: follower, fleet
            )
            #expect(!other.isQuiet)
            let same = try await deliver(
                { .quiesce(.init(commit: $0.commitIndex, livenessEpoch: epoch)) }, from: leader, to: follower, fleet)
            #expect(same.isQuiet)
        }
    }

    @Test("a message for another life of a group does not reach this one")
    func otherIncarnation() async throws {
        try await withQuietFleet { fleet, leader, follower in
            let outcome = try await deliver(
                { .quiesce(.init(commit: $0.commitIndex, livenessEpoch: 1)) }, incarnation: 2, from: leader,
                to: follower, fleet)
            #expect(!outcome.isQuiet && outcome.unknown == 1)
        }
    }

    @Test("a node that stood still raises its liveness epoch, and does not take its own stall for others' silence")
    func stall() async throws {
        let warnings = Lock<[String]>([])
        try await withQuietFleet(warnings: warnings) { fleet, leader, follower in
            let core = fleet.cores[follower]!
            let group = try await fleet.group(follower)
            warnings.withLock { $0 = [] }
            let longest = Lock(Duration.zero)
            await core.setTickHandler {
                for node in fleet.nodes { longest.withLock { $0 = max($0, core.silence(of: node) ?? .zero) } }
            }
            // Anywhere between two heartbeats, so that the first thing after the stall is a frame in one round, and in
            // another the look at who was silent.
            for round in 0..<8 {
                try await fleet.wait("quiet") { $0.values.allSatisfy(\.isQuiet) }
                let epoch = await core.onLoop { core.transport.assumeIsolated { $0.livenessEpoch } }
                try await fleet.world.sleep(for: .milliseconds(13 * round))
                fleet.world.process(of: follower)!.pause()
                try await fleet.world.sleep(for: .seconds(3))
                fleet.world.process(of: follower)!.resume()
                for _ in 0..<100 {
                    try await fleet.world.sleep(for: .milliseconds(5))
                    let known = try await group.report().leader
                    #expect(known == leader, "seed \(fleet.world.seed)")
                }
                let risen = await core.onLoop { core.transport.assumeIsolated { $0.livenessEpoch } }
                #expect(risen == epoch + 1)
            }
            #expect(longest.withLock { $0 } < .seconds(1), "seed \(fleet.world.seed)")
            let own = Set(warnings.withLock { $0.filter { $0.hasPrefix("\(follower): ") } })
            #expect(own == ["\(follower): this node's loop stood still"], "seed \(fleet.world.seed)")
        }
    }

    @Test("a tick that comes late is put off once, so that what has arrived is handled before it")
    func lateTicks() async throws {
        try await withQuietFleet { fleet, _, follower in
            let core = fleet.cores[follower]!
            let moments = Lock<[MonotonicTime]>([])
            let interval = GroupSettings().tickInterval
            await core.setTickHandler { moments.withLock { $0.append(core.loop.now) } }
            for _ in 0..<3 {
                fleet.world.process(of: follower)!.pause()
                try await fleet.world.sleep(for: .seconds(1))
                moments.withLock { $0 = [] }
                fleet.world.process(of: follower)!.resume()
                let resumed = core.loop.now
                try await fleet.world.sleep(for: .seconds(1))
                let first = try #require(moments.withLock { $0.first }, "seed \(fleet.world.seed)")
                let delay = resumed.duration(to: first)
                #expect(delay >= interval && delay <= interval * 2, "seed \(fleet.world.seed)")
            }
        }
    }

    @Test(
        "in the middle of a long turn of its loop a node shows its neighbours that it lives, as often as it would otherwise"
    )
    func signsOfLife() async throws {
        try await withQuietFleet { fleet, leader, follower in
            let core = fleet.cores[follower]!
            let sent = Lock<[UInt64]>([])
            fleet.world.process(of: follower)!.pause()
            // Waits in the loop's queue, before its timers.
            core.loop.execute {
                core.transport.assumeIsolated { transport in
                    for _ in 0..<2 {
                        let before = transport.metrics.heartbeatsOut
                        transport.showLife()
                        sent.withLock { $0.append(transport.metrics.heartbeatsOut - before) }
                    }
                }
            }
            try await fleet.world.sleep(for: .seconds(1))
            fleet.world.process(of: follower)!.resume()
            try await fleet.world.sleep(for: .milliseconds(50))
            #expect(sent.withLock { $0 } == [UInt64(fleet.nodes.count - 1), 0], "seed \(fleet.world.seed)")
            let silence = await fleet.cores[leader]!.onLoop {
                fleet.cores[leader]!.transport.assumeIsolated { $0.silence(of: follower) }
            }
            #expect(try #require(silence) < .milliseconds(100), "seed \(fleet.world.seed)")
        }
    }

    /// What keeps a sign of life from a neighbour.
    enum Obstacle: CaseIterable {
        case none, fullQueue, noConnection, death
    }

    /// Takes nothing, as one whose queue is full.
    private final class FullConnection: FrameConnection {
        private let other: any FrameConnection
        init(_ other: any FrameConnection) { self.other = other }
        var delegate: (any FrameConnectionDelegate)? {
            get { other.delegate }
            set { other.delegate = newValue }
        }
        var remoteAddress: String { other.remoteAddress }
        func send(_ payload: [UInt8]) -> Bool { false }
        func close() { other.close() }
    }

    @Test(
        "a sign of life in a long turn counts where every neighbour that lives could take it, or the liveness epoch rises",
        arguments: Obstacle.allCases)
    func unheardSigns(_ obstacle: Obstacle) async throws {
        try await withQuietFleet { fleet, leader, follower in
            let core = fleet.cores[follower]!
            let process = fleet.world.process(of: follower)!
            let epoch = await core.onLoop { core.transport.assumeIsolated { $0.livenessEpoch } }
            // Either half alone is no silence that anybody would notice.
            let half = Duration.milliseconds(250)
            process.pause()
            core.loop.execute {
                core.transport.assumeIsolated { transport in
                    let peer = transport.peers[leader]!
                    let link = transport.links[peer.link!]!
                    switch obstacle {
                    case .none: break
                    case .fullQueue: transport.links[peer.link!]!.connection = FullConnection(link.connection)
                    case .noConnection: transport.peers[leader]!.link = nil
                    case .death: (transport.peers[leader]!.link, transport.peers[leader]!.isAlive) = (nil, false)
                    }
                    transport.showLife()
                    transport.peers[leader] = peer
                    transport.links[peer.link!] = link
                }
                process.pause()
            }
            try await fleet.world.sleep(for: half)
            process.resume()
            try await fleet.world.sleep(for: half)
            process.resume()
            try await fleet.world.sleep(for: .milliseconds(20))
            let risen = await core.onLoop { core.transport.assumeIsolated { $0.livenessEpoch } }
            let counts = obstacle == .none || obstacle == .death
            #expect(risen == (counts ? epoch : epoch + 1), "seed \(fleet.world.seed)")
        }
    }

    @Test("the death of a node that is no member does not wake a group")
    func strangerDies() async throws {
        try await withQuietFleet { fleet, leader, _ in
            let group = try await fleet.group(leader)
            let outcome = try await group.perform { group in
                let isAffected = group.peerDidChange(NodeID(99), .died) != .none
                return (isAffected: isAffected, isQuiet: group.core.isQuiet)
            }
            #expect(!outcome.isAffected && outcome.isQuiet)
        }
    }

    @Test("what a snapshot restores still knows which commands were applied")
    func sessionsInSnapshot() async throws {
        try await withQuietFleet { fleet, leader, _ in
            let group = try await fleet.group(leader)
            _ = try await group.propose([Journal.operation(5)], ownerEpoch: 0)
            let known = try await group.perform { group in
                let request = RequestID(client: group.client, sequence: 1, acknowledgedBelow: 0)
                let before = group.sessions.lookUp(request, in: group.core.configuration)
                let bytes = group.snapshotView().serialize()
                group.restoreState(try! RaftGroup.decodeState(bytes, for: Journal.self))
                return (before, group.sessions.lookUp(request, in: group.core.configuration))
            }
            #expect(known.0 == known.1)
            if case .applied = known.1 {} else { Issue.record("the command is \(known.1)") }
        }
    }
}
