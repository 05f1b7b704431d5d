import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// What groups that have nothing to do cost, counted.
@Suite struct IdleGroupTests {
    private static let count = 120

    private struct Group: Hashable {
        var id: GroupID
        var nodes: [NodeID]
    }

    /// What one node has counted.
    private struct Counts: Hashable {
        var passes: UInt64
        var messages: UInt64
        var frames: UInt64
        /// Groups that the ticks visit.
        var active: Int
    }

    private static func counts(_ fleet: SimulatedFleet) async -> [NodeID: Counts] {
        var counts: [NodeID: Counts] = [:]
        for (node, core) in fleet.cores {
            counts[node] = await core.onLoop {
                core.scheduler.assumeIsolated { scheduler in
                    let metrics = scheduler.counters()
                    return Counts(
                        passes: metrics.passes, messages: metrics.messagesOut,
                        frames: core.transport.assumeIsolated { $0.metrics.framesOut }, active: scheduler.active.count)
                }
            }
        }
        return counts
    }

    private static func reports(_ fleet: SimulatedFleet) async throws -> [NodeID: [GroupID: GroupReport]] {
        var reports: [NodeID: [GroupID: GroupReport]] = [:]
        for (node, core) in fleet.cores.sorted(by: { $0.key < $1.key }) {
            for group in core.hosted.all {
                reports[node, default: [:]][group.identity.group] = try await group.report()
            }
        }
        return reports
    }

    /// Waits until every replica knows a leader and is quiet, on every node.
    private static func waitUntilQuiet(_ fleet: SimulatedFleet) async throws {
        for _ in 0..<200 {
            let all = try await reports(fleet).values.flatMap(\.values)
            if all.allSatisfy({ $0.isQuiet && $0.leader != nil }) { return }
            try await fleet.world.sleep(for: .milliseconds(100))
        }
        throw ScenarioFailure("the groups do not become quiet")
    }

    /// Groups of three members each, spread over the nodes so that each leads some.
    private func withQuietGroups(
        nodes: Int, count: Int = Self.count, seeds: Int,
        _ body: @escaping @Sendable (SimulatedFleet, [Group]) async throws -> Void
    ) async throws {
        try await withFleets(nodes: nodes, seeds: seeds, groups: []) { fleet in
            let groups = (0..<count).map { number in
                Group(
                    id: GroupID(UInt64(100 + number)),
                    nodes: (0..<3).map { fleet.nodes[(number + $0) % fleet.nodes.count] })
            }
            for group in groups {
                let foundation = GroupFoundation(
                    group: group.id, incarnation: 1, kind: .benchmark, voters: group.nodes)
                for node in group.nodes { try await fleet.cores[node]!.found(foundation) }
            }
            try await Self.waitUntilQuiet(fleet)
            try await body(fleet, groups)
        }
    }

    @Test("groups without work send nothing, see no ticks and are in no pass; nodes exchange as many frames as without")
    func quiet() async throws {
        var frames: Set<[UInt64]> = []
        for count in [1, Self.count] {
            let sent = Lock<[UInt64]>([])
            try await withQuietGroups(nodes: 3, count: count, seeds: 1) { fleet, _ in
                let before = await Self.counts(fleet)
                try await fleet.world.sleep(for: .seconds(30))
                let after = await Self.counts(fleet)
                for node in fleet.nodes {
                    #expect(after[node]?.passes == before[node]?.passes, "\(node)")
                    #expect(after[node]?.messages == before[node]?.messages, "\(node)")
                    #expect(after[node]?.active == 0)
                }
                sent.withLock { sent in sent = fleet.nodes.map { after[$0]!.frames - before[$0]!.frames } }
            }
            frames.insert(sent.withLock { $0.map { ($0 + 1) / 4 } })
        }
        #expect(frames.count == 1, "a heartbeat for each pair and interval, whatever the number of groups: \(frames)")
    }

    @Test(
        "a node that dies makes the groups that it led elect, and no others; groups without a member on it stay quiet")
    func death() async throws {
        try await withQuietGroups(nodes: 5, seeds: 3) { fleet, groups in
            let before = try await Self.reports(fleet)
            let dead = NodeID(2)
            await fleet.crash(dead, .killed)
            let strangers = groups.filter { !$0.nodes.contains(dead) }
            for _ in 0..<30 {
                try await fleet.world.sleep(for: .milliseconds(100))
                for group in strangers {
                    for node in group.nodes {
                        let isQuiet = try await fleet.cores[node]!.hosted.group(group.id).report().isQuiet
                        #expect(isQuiet, "\(group.id) on \(node) has no member on \(dead)")
                    }
                }
            }
            let after = try await Self.reports(fleet)
            for group in groups {
                for node in group.nodes where node != dead {
                    let (old, new) = (before[node]![group.id]!, after[node]![group.id]!)
                    #expect(new.leader != nil && new.leader != dead, "\(group.id) has no leader after 3 s")
                    #expect((new.status.term == old.status.term) == (old.leader != dead), "\(group.id) on \(node)")
                }
            }
        }
    }

    @Test("a quiet group wakes by the one message that needs it, and no other group wakes with it")
    func waking() async throws {
        try await withQuietGroups(nodes: 3, seeds: 3) { fleet, groups in
            let group = groups[7]
            let leader = try await fleet.cores[group.nodes[0]]!.hosted.group(group.id).report().leader!
            let follower = group.nodes.first { $0 != leader }!
            let before = await Self.counts(fleet)
            let replica = try await fleet.cores[follower]!.hosted.group(group.id)
            // Until the leader has it, nothing but the command itself has left its node.
            let woken = Lock<UInt64?>(nil)
            let leading = try await fleet.cores[leader]!.hosted.group(group.id)
            async let answer = replica.propose([Journal.operation(1)], ownerEpoch: 0)
            while woken.withLock({ $0 == nil }) {
                if try await !leading.report().isQuiet {
                    let sent = await Self.counts(fleet)[follower]!.messages
                    woken.withLock { $0 = sent }
                }
                try await fleet.world.sleep(for: .microseconds(50))
            }
            _ = try await answer
            #expect(woken.withLock { $0! } - before[follower]!.messages <= 2)
            let reports = try await Self.reports(fleet)
            for node in fleet.nodes {
                for (id, report) in reports[node]! where id != group.id { #expect(report.isQuiet, "\(id) on \(node)") }
            }
            for (node, counts) in await Self.counts(fleet) {
                #expect(counts.active <= 1, "\(node) visits more groups than the one that woke")
            }
        }
    }

    @Test("a wish for one group's members wakes that group alone, and the same wish again none")
    func wish() async throws {
        try await withQuietGroups(nodes: 3, seeds: 1) { fleet, groups in
            let led = groups.filter { $0.nodes[0] == NodeID(1) }[3].id
            #expect(try await fleet.cores[NodeID(1)]!.hosted.group(led).report().leader == NodeID(1))
            var wishes = Dictionary(uniqueKeysWithValues: groups.map { ($0.id, DesiredMembers($0.nodes)) })
            let core = fleet.cores[NodeID(1)]!
            core.setDesired(wishes)
            try await Self.waitUntilQuiet(fleet)
            let before = await Self.counts(fleet)
            core.setDesired(wishes)
            try await fleet.world.sleep(for: .milliseconds(1))
            let again = await Self.counts(fleet)
            #expect(again[NodeID(1)] == before[NodeID(1)])
            wishes[led] = DesiredMembers(fleet.nodes, votersMax: 1)
            core.setDesired(wishes)
            try await fleet.world.sleep(for: .milliseconds(1))
            let active = await core.onLoop { core.scheduler.assumeIsolated { $0.active.keys.sorted() } }
            #expect(active == [led])
        }
    }

    @Test("who hears of new members is called as often as there are any, and a call costs no memory")
    func membersHandler() async throws {
        try await withQuietGroups(nodes: 3, count: 1, seeds: 1) { fleet, groups in
            let context = fleet.cores[NodeID(1)]!.context
            let calls = Lock(0)
            context.setMembersHandler { _ in calls.withLock { $0 += 1 } }
            // So many that a handler which is wrapped once more with each call would overflow the stack.
            for _ in 0..<300_000 { context.membersDidChange(of: groups[0].id) }
            #expect(calls.withLock { $0 } == 300_000)
            context.setMembersHandler(nil)
        }
    }

    @Test("groups that are to look at their leaders again wake in portions, each once, in the order in which they came")
    func portions() {
        var wakes = GroupQueue()
        let groups = (1...600).map { GroupID($0) }
        wakes.add(groups)
        #expect(wakes.take() == Array(groups[..<GroupQueue.portion]) && wakes.take() == [])
        wakes.refill()
        // Those that have had their turn wait for the next; the others keep their place.
        wakes.add([groups[599], groups[0]])
        #expect(wakes.take() == Array(groups[GroupQueue.portion..<2 * GroupQueue.portion]))
        wakes.refill()
        #expect(wakes.take() == Array(groups[(2 * GroupQueue.portion)...]) + [groups[0]] && wakes.isEmpty)
        wakes.add([groups[3]])
        #expect(wakes.take() == [groups[3]])
    }

    @Test("a queue that is never empty keeps no more than those that wait, and each has its turn")
    func busyQueue() {
        var queue = GroupQueue()
        let groups = (1...600).map { GroupID($0) }
        var turns: [GroupID: Int] = [:]
        for _ in 0..<1_000 {
            queue.add(groups)
            for group in queue.take() { turns[group, default: 0] += 1 }
            queue.refill()
            #expect(queue.keptCount <= groups.count)
        }
        #expect(groups.allSatisfy { turns[$0, default: 0] >= 330 }, "nobody waits for more than three turns of others")
    }

    @Test("a quiet leader tries less and less often whether a peer hosts its group, and not once it leads no more")
    func unknownGroup() async throws {
        try await withFleets(nodes: 3, seeds: 1, groups: []) { fleet in
            let group = GroupID(100)
            let foundation = GroupFoundation(group: group, incarnation: 1, kind: .benchmark, voters: fleet.nodes)
            // The third one never hears of it, and does not answer whoever speaks to its replica.
            let third = fleet.cores[NodeID(3)]!
            await third.onLoop { third.scheduler.assumeIsolated { $0.makeReplica = nil } }
            for node in fleet.nodes.dropLast() { try await fleet.cores[node]!.found(foundation) }
            try await Self.waitUntilQuiet(fleet)
            try await fleet.world.sleep(for: .seconds(200))
            let before = await third.onLoop { third.scheduler.assumeIsolated { $0.counters().unknownGroups } }
            try await fleet.world.sleep(for: .seconds(640))
            let after = await third.onLoop { third.scheduler.assumeIsolated { $0.counters().unknownGroups } }
            #expect(after > before && after - before < 30, "\(after - before) messages for a replica that is not there")
            let leader = try #require(try await Self.reports(fleet)[NodeID(1)]?[group]?.leader)
            let follower = try #require(fleet.nodes.dropLast().first { $0 != leader })
            let leading = fleet.cores[leader]!
            #expect(await leading.onLoop { leading.scheduler.assumeIsolated { $0.backoffs.count } } == 1)
            let hosted = try await leading.hosted.group(group)
            await leading.onLoop {
                hosted.assumeIsolated { $0.core.transferLeadership(to: $0.core.configuration.replica(on: follower)!) }
                leading.scheduler.assumeIsolated { $0.markDirty(hosted) }
            }
            try await fleet.world.sleep(for: .seconds(130))
            #expect(try await Self.reports(fleet)[leader]?[group]?.leader == follower)
            #expect(await leading.onLoop { leading.scheduler.assumeIsolated { $0.backoffs.count } } == 0)
        }
    }

    @Test("a group that goes quiet forgets where replicas lived that are no members")
    func strangers() async throws {
        try await withQuietGroups(nodes: 3, count: 1, seeds: 1) { fleet, groups in
            let group = try await fleet.cores[NodeID(1)]!.hosted.group(groups[0].id)
            let message = Message(
                from: ReplicaID(99), to: group.identity.replica, term: .zero,
                body: .heartbeatResponse(.init(readRound: 0)))
            let known = try await group.perform { group in
                group.noteSender(of: message, NodeID(3))
                let known = group.node(of: ReplicaID(99))
                group.shrink()
                return [known, group.node(of: ReplicaID(99))]
            }
            #expect(known == [NodeID(3), nil])
        }
    }

    @Test("a node that ends also hands over what it came to lead meanwhile")
    func handOver() async throws {
        try await withQuietGroups(nodes: 3, count: 6, seeds: 3) { fleet, groups in
            let reports = try await Self.reports(fleet)
            let led = Dictionary(grouping: groups) { reports[NodeID(1)]![$0.id]!.leader! }
            guard led[NodeID(1)] != nil, let others = led.first(where: { $0.key != NodeID(1) }) else {
                Issue.record("one node leads all groups")
                return
            }
            let (first, other) = (fleet.cores[NodeID(1)]!, fleet.cores[others.key]!)
            let given = try await other.hosted.group(others.value[0].id)
            async let end: Void = first.handOver(until: first.loop.now.advanced(by: .seconds(5)))
            await other.onLoop {
                given.assumeIsolated { $0.core.transferLeadership(to: $0.core.configuration.replica(on: NodeID(1))!) }
                other.scheduler.assumeIsolated { $0.markDirty(given) }
            }
            await end
            for (id, report) in try await Self.reports(fleet)[NodeID(1)]! {
                #expect(report.status.role != .leader, "\(id), seed \(fleet.world.seed)")
            }
        }
    }

    @Test("which groups have a member on a node follows every change of their members")
    func index() {
        var index = GroupsByNode()
        let nodes = (1...4).map { NodeID($0) }
        index.set(nodes.prefix(3), of: GroupID(7))
        index.set([nodes[1]], of: GroupID(5))
        #expect(index.all(on: nodes[1]) == [GroupID(5), GroupID(7)])
        index.set([nodes[0], nodes[3]], of: GroupID(7))
        #expect(index.all(on: nodes[1]) == [GroupID(5)] && index.all(on: nodes[3]) == [GroupID(7)])
        #expect(!index.hasAny(on: nodes[2]))
        index.remove(GroupID(5))
        #expect(!index.hasAny(on: nodes[1]) && index.hasAny(on: nodes[0]))
    }
}
