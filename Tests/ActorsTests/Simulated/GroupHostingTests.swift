import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// Groups that come to nodes and leave them.
@Suite struct GroupHostingTests {
    private static let group = SimulatedFleet.group
    private static func foundation(on nodes: [UInt64]) -> GroupFoundation {
        GroupFoundation(group: group, incarnation: 1, kind: .benchmark, voters: nodes.map(NodeID.init))
    }
    private static let removal = GroupError(.unknownGroup, "the group was destroyed")

    /// A fleet in which nobody has a group.
    private func withEmptyFleets(
        nodes: Int, seeds: Int, _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void
    ) async throws {
        try await withFleets(nodes: nodes, seeds: seeds, groups: [], body)
    }

    private static func found(_ foundation: GroupFoundation, _ fleet: SimulatedFleet) async throws {
        for node in foundation.voters { try await fleet.cores[node]?.found(foundation) }
    }

    @Test("TT-04: a group is founded on the nodes that are named, with one configuration, and elects a leader in 2 s")
    func founding() async throws {
        try await withEmptyFleets(nodes: 5, seeds: 5) { fleet in
            let foundation = Self.foundation(on: [2, 3, 5])
            try await Self.found(foundation, fleet)
            try await fleet.wait("leader", limit: .seconds(2)) { reports in
                reports.count == 3 && reports.values.allSatisfy { $0.leader != nil && $0.voters.count == 3 }
            }
            _ = try await fleet.group(NodeID(3)).propose([Journal.operation(1)], ownerEpoch: 0)
            for node in foundation.voters {
                let report = try await fleet.group(node).report()
                #expect(report.voters == foundation.voters && report.replica == foundation.replica(on: node)?.replica)
            }
            #expect(
                fleet.cores[NodeID(1)]?.hosted[Self.group] == nil && fleet.cores[NodeID(4)]?.hosted[Self.group] == nil)
            // Again: nothing changes.
            try await Self.found(foundation, fleet)
            #expect(try await fleet.numbers(NodeID(3)) == [1])
        }
    }

    @Test("the first member of a new group asks those that begin later, and waits for no election timeout")
    func foundingOneByOne() async throws {
        try await withEmptyFleets(nodes: 3, seeds: 10) { fleet in
            let foundation = Self.foundation(on: [1, 2, 3])
            let begun = fleet.world.now
            for node in foundation.voters {
                try await fleet.cores[node]!.found(foundation)
                try await fleet.world.sleep(for: fleet.world.random(in: .milliseconds(20) ... .milliseconds(70)))
            }
            try await fleet.wait("leader", limit: .seconds(2)) { $0.values.contains { $0.leader != nil } }
            let taken = begun.duration(to: fleet.world.now)
            #expect(taken < .milliseconds(500), "after \(taken)")
        }
    }

    @Test("a member that was away at the founding takes its place when it comes")
    func late() async throws {
        try await withEmptyFleets(nodes: 3, seeds: 5) { fleet in
            await fleet.crash(NodeID(3), .killed)
            let foundation = Self.foundation(on: [1, 2, 3])
            try await Self.found(foundation, fleet)
            _ = try await fleet.group(NodeID(2)).propose([Journal.operation(1)], ownerEpoch: 0)
            try await fleet.start(NodeID(3))
            // The leader may have brought its replica to life before.
            try await fleet.world.sleep(for: fleet.world.random(in: .zero ... .milliseconds(500)))
            try await fleet.cores[NodeID(3)]!.found(foundation)
            try await fleet.wait("third member") { $0.count == 3 && Set($0.values.map(\.appliedIndex)).count == 1 }
            #expect(try await fleet.numbers(NodeID(3)) == [1])
        }
    }

    @Test("a group that was removed leaves nothing on the node, and no message or start brings that replica back")
    func removal() async throws {
        try await withEmptyFleets(nodes: 3, seeds: 5) { fleet in
            fleet.settings.snapshotThreshold = 20
            let foundation = Self.foundation(on: [1, 2, 3])
            try await Self.found(foundation, fleet)
            let node = NodeID(2)
            let group = try await fleet.group(node)
            for number in UInt64(0)..<50 { _ = try await group.propose([Journal.operation(number)], ownerEpoch: 0) }
            let core = fleet.cores[node]!
            try await core.remove(Self.group, because: Self.removal)
            #expect(core.hosted[Self.group] == nil)
            let error = await #expect(throws: GroupError.self) {
                _ = try await group.propose([Journal.operation(99)], ownerEpoch: 0)
            }
            #expect(error == Self.removal)
            #expect(try fleet.world.process(of: node)?.fileSystem.list("/data/snapshots") == [])
            // The others go on, and speak to it.
            _ = try await fleet.group(NodeID(1)).propose([Journal.operation(50)], ownerEpoch: 0)
            try await fleet.world.sleep(for: .seconds(3))
            #expect(core.hosted[Self.group] == nil)
            try await core.found(foundation)
            await fleet.crash(node, .killed)
            try await fleet.start(node)
            try await fleet.cores[node]!.found(foundation)
            try await fleet.world.sleep(for: .seconds(3))
            #expect(fleet.cores[node]!.hosted[Self.group] == nil)
        }
    }

    @Test("a node that has stopped takes no group and gives none up, and says so instead of waiting for its log")
    func stopped() async throws {
        for isCrash in [false, true] {
            try await withEmptyFleets(nodes: 1, seeds: 3) { fleet in
                let core = fleet.cores[NodeID(1)]!
                try await Self.found(Self.foundation(on: [1]), fleet)
                _ = try await fleet.group(NodeID(1)).propose([Journal.operation(1)], ownerEpoch: 0)
                if isCrash { await fleet.crash(NodeID(1), .killed) } else { await core.stop() }
                let other = GroupFoundation(
                    group: GroupID(99), incarnation: 1, kind: .benchmark, voters: [NodeID(1)])
                let founding = await #expect(throws: GroupError.self) { try await core.found(other) }
                let removal = await #expect(throws: GroupError.self) {
                    try await core.remove(Self.group, because: Self.removal)
                }
                #expect(founding?.code == .stopped && removal?.code == .stopped)
                #expect(core.hosted[other.group] == nil && core.hosted[Self.group] != nil)
            }
        }
    }

    @Test("whoever follows which groups come and go is told of those, and of no others")
    func changed() async throws {
        try await withEmptyFleets(nodes: 1, seeds: 1) { fleet in
            let core = fleet.cores[NodeID(1)]!
            let ids = (30...32).map { GroupID($0) }
            for id in ids {
                try await core.found(.init(group: id, incarnation: 1, kind: .benchmark, voters: [NodeID(1)]))
            }
            #expect(core.hosted.takeChanged() == ids)
            #expect(core.hosted.takeChanged() == [])
            try await core.remove(ids[1], because: Self.removal)
            #expect(core.hosted.takeChanged() == [ids[1]])
        }
    }

    @Test("a member is added as a learner, promoted, and another one removed, as management wants it")
    func desired() async throws {
        try await withEmptyFleets(nodes: 5, seeds: 5) { fleet in
            try await Self.found(Self.foundation(on: [1, 2, 3]), fleet)
            _ = try await fleet.group(NodeID(1)).propose([Journal.operation(1)], ownerEpoch: 0)
            let wanted = DesiredMembers([UInt64](2...5).map(NodeID.init), votersMax: 3)
            for core in fleet.cores.values { core.setDesired([Self.group: wanted]) }
            try await fleet.wait("new members") { reports in
                [UInt64](2...5).allSatisfy { node in
                    guard let report = reports[NodeID(node)] else { return false }
                    return report.voters.count == 3 && report.learners.count == 1 && report.outgoingVoters.isEmpty
                        && Set(report.voters + report.learners) == Set(wanted.nodes)
                }
            }
            #expect(try await fleet.numbers(NodeID(5)) == [1])
        }
    }

    @Test(
        "a leader adds nobody before it has learned in its term whom management wants now, and needs that for no removal"
    )
    func wishes() async throws {
        try await withEmptyFleets(nodes: 5, seeds: 3) { fleet in
            let asked = Lock<[Term]>([])
            for core in fleet.cores.values { core.setWishHandler { _, term in asked.withLock { $0.append(term) } } }
            try await Self.found(Self.foundation(on: [1, 2, 3]), fleet)
            func want(_ nodes: [UInt64]) {
                for core in fleet.cores.values { core.setDesired([Self.group: DesiredMembers(nodes.map(NodeID.init))]) }
            }
            func members(_ node: UInt64) async throws -> Set<NodeID> {
                Set(try await fleet.group(NodeID(node)).membership().members.values)
            }
            func wait(_ what: String, for nodes: [UInt64]) async throws {
                try await fleet.wait(what) { reports in
                    let wanted = Set(nodes.map(NodeID.init))
                    return nodes.allSatisfy { node in
                        reports[NodeID(node)].map { Set($0.voters + $0.learners) == wanted } ?? false
                    }
                }
            }
            want([1, 2, 3, 4])
            try await fleet.world.sleep(for: .seconds(3))
            #expect(try await members(1) == Set([1, 2, 3].map { NodeID($0) }))
            let first = try #require(asked.withLock { $0.last })
            #expect(asked.withLock { $0.filter { $0 == first }.count } == 1, "once is enough")
            for core in fleet.cores.values { core.confirmWish(of: Self.group, in: Term(first.rawValue - 1)) }
            try await fleet.world.sleep(for: .seconds(1))
            #expect(try await members(1).count == 3, "what it knew before it led does not count")
            for core in fleet.cores.values { core.confirmWish(of: Self.group, in: first) }
            try await wait("the fourth", for: [1, 2, 3, 4])
            want([1, 2, 3, 4, 5])
            try await wait("the fifth, in the same term", for: [1, 2, 3, 4, 5])
            // The next leader has to learn it itself, and needs nothing to remove the old one.
            let leader = try #require(try await fleet.group(NodeID(1)).membership().leader)
            let others = fleet.nodes.filter { $0 != leader }
            await fleet.crash(leader, .killed)
            want(others.map(\.rawValue))
            try await wait("the leader to go", for: others.map(\.rawValue))
            want(fleet.nodes.map(\.rawValue))
            try await fleet.world.sleep(for: .seconds(3))
            #expect(try await members(others[0].rawValue) == Set(others))
            #expect(try #require(asked.withLock { $0.last }) > first)
            // What adds nobody does not wait, though the plan begins with that.
            let leading = try #require(try await fleet.group(others[0]).membership().leader)
            let voters = try await fleet.group(leading).membership().voters
            let leaving = try #require(voters.first { $0 != leading })
            let staying = others.filter { $0 != leaving }
            want((staying + [leader]).map(\.rawValue))
            try await wait("a voter to go", for: staying.map(\.rawValue))
        }
    }

    @Test(
        "votes move in one step to the members that may vote, and not to one whose node died while the group was quiet")
    func eligible() async throws {
        try await withEmptyFleets(nodes: 5, seeds: 5) { fleet in
            try await Self.found(Self.foundation(on: [1, 2, 3]), fleet)
            let nodes = [UInt64](1...5).map(NodeID.init)
            func want(_ eligible: [UInt64]) {
                let wanted = DesiredMembers(nodes, eligible: eligible.map(NodeID.init))
                for core in fleet.cores.values { core.setDesired([Self.group: wanted]) }
            }
            want([1, 2, 3])
            try await fleet.wait("learners") { reports in
                reports.count == 5 && reports.values.allSatisfy { $0.voters.count == 3 && $0.learners.count == 2 }
            }
            _ = try await fleet.group(NodeID(1)).propose([Journal.operation(1)], ownerEpoch: 0)
            try await fleet.world.sleep(for: .seconds(3))
            await fleet.crash(NodeID(5), .killed)
            try await fleet.world.sleep(for: .seconds(3))
            want([1, 2, 5])
            try await fleet.world.sleep(for: .seconds(5))
            let report = try await fleet.group(NodeID(1)).report()
            #expect(Set(report.voters) == Set([1, 2, 3].map { NodeID($0) }) && report.outgoingVoters.isEmpty)
            try await fleet.start(NodeID(5))
            want([1, 2, 5])
            try await fleet.wait("the other voter") { reports in
                reports.values.allSatisfy {
                    Set($0.voters) == Set([1, 2, 5].map { NodeID($0) }) && $0.outgoingVoters.isEmpty
                }
            }
            #expect(try await fleet.numbers(NodeID(5)) == [1])
        }
    }

    @Test("a power failure at any change of the disk while a group comes or goes leaves a node that can go on")
    func powerLost() async throws {
        for changes in 1...16 {
            try await withEmptyFleets(nodes: 3, seeds: 1) { fleet in
                let foundation = Self.foundation(on: [1, 2, 3])
                let node = NodeID(3)
                fleet.world.disk(of: node).losePower(afterChanges: changes, .anyKept)
                for founder in foundation.voters where founder != node {
                    try await fleet.cores[founder]?.found(foundation)
                }
                let core = fleet.cores[node]!
                let isDone = try await withThrowingTaskGroup(of: Bool.self) { tasks in
                    tasks.addTask {
                        do {
                            try await core.found(foundation)
                            try await core.remove(Self.group, because: Self.removal)
                            return true
                        } catch is GroupError {
                            return false
                        }
                    }
                    try await fleet.world.sleep(for: .seconds(1))
                    fleet.world.disk(of: node).losePower(afterChanges: nil)
                    await fleet.crash(node, .powerLost(.dropped))
                    return try await tasks.next()!
                }
                try await fleet.start(node)
                try await fleet.cores[node]!.found(foundation)
                _ = try await fleet.group(NodeID(1)).propose([Journal.operation(7)], ownerEpoch: 0)
                try await fleet.world.sleep(for: .seconds(5))
                let isGone = fleet.cores[node]!.hosted[Self.group] == nil
                #expect(!isDone || isGone, "after \(changes) changes")
                if !isGone { #expect(try await fleet.numbers(node) == [7]) }
            }
        }
    }
}
