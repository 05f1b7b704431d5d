import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Lists and counts that are taken while runs begin, end and are removed, and leaders crash or are cut off.
@Suite("Lists and counts, simulated", .timeLimit(.minutes(5)))
struct ListSimulationTests {
    private static let nap = Workflow<Int, Int>("nap", version: 1) { milliseconds, context in
        try await context.sleep(for: .milliseconds(milliseconds))
        return milliseconds
    }

    /// What the clients know: when each of what they do began, and that it was acknowledged.
    private final class Knowledge: @unchecked Sendable {
        // Unchecked: each belongs to one simulation and is touched on its thread only.
        var (begun, started, ended) = (Set<String>(), Set<String>(), Set<String>())
        var (leaving, removed) = (Set<String>(), Set<String>())
        var (lists, counts) = (0, 0)
        var isOver = false
        /// For what fails.
        let place: Comment

        init(_ simulation: SimulatedCluster) { place = "seed \(simulation.world.seed)" }
    }

    /// Starts runs, waits for some of them, and removes some of those.
    private static func work(_ client: Int, _ simulation: SimulatedCluster, _ known: Knowledge) async throws {
        var number = 0
        while !known.isOver {
            number += 1
            let id = "\(client)/\(number)"
            known.begun.insert(id)
            let run = try await simulation.submit(Self.nap, id: id, input: isEndless(id) ? 3_600_000 : 5)
            known.started.insert(id)
            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(400)))
            guard !isEndless(id) else { continue }
            _ = try await run.result()
            known.ended.insert(id)
            guard number % 3 == 1 else { continue }
            known.leaving.insert(id)
            try await remove(id, simulation)
            known.removed.insert(id)
        }
    }

    private static func isEndless(_ id: String) -> Bool { (Int(id.split(separator: "/")[1]) ?? 0) % 3 == 0 }

    private static func remove(_ id: String, _ simulation: SimulatedCluster) async throws {
        do {
            try await simulation.ask { try await $0.prune(id) }
        } catch let error as WorkflowError where error.code == .notFound {
            // The answer to an earlier attempt was lost.
        }
    }

    private static func list(_ filter: WorkflowFilter, _ node: Node, limit: Int) async throws -> [WorkflowInfo] {
        var runs: [WorkflowInfo] = []
        var after: String?
        repeat {
            let page = try await node.list(filter, after: after, limit: limit)
            guard !page.isPartial else { throw WorkflowError(.unavailable, "a part is missing") }
            runs += page.runs
            after = page.next
        } while after != nil
        return runs
    }

    /// Takes lists and counts of one node and holds each against what was known when it began and when it ended.
    private static func watch(_ number: Int, _ simulation: SimulatedCluster, _ known: Knowledge) async throws {
        while !known.isOver {
            await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(500)))
            guard simulation.runningNodes.contains(number) else { continue }
            let node = try simulation.node(number)
            let limit = 1 + Int(simulation.world.random(below: 100))
            do {
                switch simulation.world.random(below: 4) {
                case 0: try await checkAll(node, limit, known)
                case 1: try await checkRunning(node, limit, known)
                case 2: try await checkCompleted(node, limit, known)
                default: try await checkCount(node, known)
                }
            } catch is NodeError {
                // Its process has ended.
            } catch let error as WorkflowError where [.unavailable, .stopped, .overloaded].contains(error.code) {
                // Without a majority it does not answer, which is what it is to do.
            }
        }
    }

    private static func checkAll(_ node: Node, _ limit: Int, _ known: Knowledge) async throws {
        let (started, ended, removed) = (known.started, known.ended, known.removed)
        let runs = try await list(WorkflowFilter(), node, limit: limit)
        let listed = Set(runs.map(\.workflowID))
        #expect(listed.count == runs.count, "\(known.place): some twice")
        let missing = started.subtracting(known.leaving).subtracting(listed)
        #expect(missing.isEmpty, "\(known.place): not listed: \(missing.sorted())")
        let tooMany = listed.subtracting(known.begun.subtracting(removed))
        #expect(tooMany.isEmpty, "\(known.place): not begun yet, or removed: \(tooMany.sorted())")
        let late = runs.filter { ended.contains($0.workflowID) && $0.status != .completed }
        #expect(late.isEmpty, "\(known.place): has ended: \(late)")
        known.lists += 1
    }

    private static func checkRunning(_ node: Node, _ limit: Int, _ known: Knowledge) async throws {
        let ended = known.ended
        // Not all that go on are: while no node is known to live they are parked.
        let running = try await list(WorkflowFilter(status: .running), node, limit: limit)
        let late = ended.intersection(running.map(\.workflowID))
        #expect(late.isEmpty, "\(known.place): has ended: \(late.sorted())")
        known.lists += 1
    }

    private static func checkCompleted(_ node: Node, _ limit: Int, _ known: Knowledge) async throws {
        let (ended, removed) = (known.ended, known.removed)
        let completed = Set(try await list(WorkflowFilter(status: .completed), node, limit: limit).map(\.workflowID))
        let missing = ended.subtracting(known.leaving).subtracting(completed)
        #expect(missing.isEmpty, "\(known.place): not listed: \(missing.sorted())")
        let tooMany = completed.filter { isEndless($0) || removed.contains($0) }
        #expect(tooMany.isEmpty, "\(known.place): without an end, or removed: \(tooMany.sorted())")
        known.lists += 1
    }

    private static func checkCount(_ node: Node, _ known: Knowledge) async throws {
        let (started, ended, removed) = (known.started, known.ended, known.removed)
        let count = try await node.count()
        guard count.unavailable.isEmpty else { return }
        let most = known.begun.subtracting(removed)
        #expect((started.subtracting(known.leaving).count...most.count).contains(count.total), known.place)
        let completed = count.byStatus[.completed] ?? 0
        let mayHaveEnded = most.count { !isEndless($0) }
        #expect((ended.subtracting(known.leaving).count...mayHaveEnded).contains(completed), known.place)
        known.counts += 1
    }

    /// Who leads one of the clusters.
    private static func leader(_ simulation: SimulatedCluster) async throws -> Int? {
        let clusters = try await simulation.ask { try await $0.clusters(withLeaders: true) }
        let leaders = clusters.compactMap(\.leader)
        return leaders.isEmpty ? nil : Int(leaders[Int(simulation.world.random(below: UInt64(leaders.count)))])
    }

    private static func disturb(_ simulation: SimulatedCluster, rounds: Int) async throws {
        for _ in 0..<rounds {
            await simulation.advance(by: simulation.world.random(in: .seconds(1) ... .seconds(3)))
            guard let leader = try await leader(simulation), simulation.runningNodes.contains(leader) else { continue }
            let others = simulation.nodes.filter { $0 != leader }
            switch simulation.world.random(below: 4) {
            case 0: simulation.partition([leader], from: others)
            case 1: simulation.cut(from: [leader], to: others)
            case 2: simulation.cut(from: others, to: [leader])
            default: simulation.crash(leader, dropUnsynced: true)
            }
            await simulation.advance(by: simulation.world.random(in: .milliseconds(500) ... .seconds(6)))
            simulation.heal()
            if !simulation.runningNodes.contains(leader) { simulation.restart(leader) }
        }
    }

    private static func check(_ simulation: SimulatedCluster, rounds: Int) async throws {
        let known = Knowledge(simulation)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 1...3 { group.addTask { try await work(client, simulation, known) } }
            for number in simulation.nodes { group.addTask { try await watch(number, simulation, known) } }
            try await disturb(simulation, rounds: rounds)
            known.isOver = true
            try await group.waitForAll()
        }
        // That they were compared with something.
        #expect(known.lists > 30 && known.counts > 10, "\(known.place): \(known.lists) lists, \(known.counts) counts")
        #expect(known.started.count > 20 && known.removed.count > 5, "\(known.place): \(known.started.count) starts")
        try await simulation.untilFormed()
        for number in simulation.nodes {
            let listed = try await list(WorkflowFilter(), simulation.node(number), limit: 1_000).map(\.workflowID)
            #expect(Set(listed) == known.started.subtracting(known.removed), known.place)
            #expect(Set(listed).count == listed.count, known.place)
        }
    }

    @Test(
        "lists and counts have what was acknowledged before, and nothing removed before, while leaders crash and are cut off"
    )
    func leaders() async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(seed: seed, nodes: 3, workflows: [Self.nap], configure: snapshotOften) {
                simulation in
                try await Self.check(simulation, rounds: 5)
            }
        }
    }

    @Test("merged lists and counts of two clusters have what was acknowledged before, while their leaders fail")
    func clusters() async throws {
        for seed in Simulation.seeds(2) {
            try await withSimulation(seed: seed, nodes: 6, workflows: [Self.nap], configure: snapshotOften) {
                simulation in
                let node = try simulation.node(1)
                var policy = try await node.policy()
                (policy.targetClusterSize, policy.maximumWorkflowsPerCluster) = (3, 100_000)
                try await node.setPolicy(policy)
                try await node.running().manage([.beginMigration])
                for members in [[1, 2, 3], [4, 5, 6]] as [[UInt64]] {
                    _ = try await node.createCluster(on: members.map { NodeID($0) })
                }
                await simulation.advance(by: .seconds(15))
                // A busy fleet is not rebalanced: a run on its way to another cluster may be missed, which is documented.
                simulation.machineLoad = 1
                #expect(try await node.clusters().count { $0.phase == "active" } >= 2)
                try await Self.check(simulation, rounds: 4)
                let busy = try await simulation.ask { try await $0.clusters() }.filter { !$0.activeWorkflows.isEmpty }
                #expect(busy.count >= 2, "all runs are in one cluster")
            }
        }
    }

    @Test(
        "RM-02: each filter, and each combination of filters, shows and counts what fits it, on each node, over a crash"
    )
    func combinations() async throws {
        let other = Workflow<Int, Int>("other", version: 1) { input, context in
            try await context.sleep(for: .milliseconds(input))
            return input
        }
        try await withSimulation(seed: 7, nodes: 3, workflows: [Self.nap, other]) { simulation in
            try await Self.startSome(simulation)
            let leader = try #require(try await simulation.workflowLeader())
            simulation.crash(leader, dropUnsynced: true)
            // What each run is, from its own description.
            var all: [WorkflowInfo] = []
            for number in 0..<24 {
                all.append(try await simulation.ask { try await $0.describe("run-\(number)").info })
            }
            #expect(Set(all.map(\.status)) == [.running, .completed, .cancelled] && Set(all.map(\.type)).count == 2)
            var matched = 0
            for filter in Self.filters(all) {
                let expected = all.filter { Self.fits($0, filter) }
                matched += expected.isEmpty ? 0 : 1
                for number in simulation.runningNodes {
                    try await Self.check(filter, simulation.node(number), expected)
                }
            }
            #expect(matched > 100, "only \(matched) filters fit anything")
            simulation.restart(leader)
        }
    }

    private static func fits(_ info: WorkflowInfo, _ filter: WorkflowFilter) -> Bool {
        if let status = filter.status, status != info.status { return false }
        if let type = filter.type, type != info.type { return false }
        if let from = filter.startedFrom, info.startedAt < from { return false }
        if let before = filter.startedBefore, info.startedAt >= before { return false }
        return filter.attributes.allSatisfy { info.attributes[$0.key] == $0.value }
    }

    private static func check(_ filter: WorkflowFilter, _ node: Node, _ expected: [WorkflowInfo]) async throws {
        let listed = try await list(filter, node, limit: 5)
        #expect(listed.map(\.workflowID) == expected.map(\.workflowID), "\(filter)")
        let counts = Dictionary(grouping: expected, by: \.status).mapValues(\.count)
        #expect(try await node.count(filter).byStatus == counts, "\(filter)")
    }

    /// One after the other, so that their order is known; some of each type run, have completed and were cancelled.
    private static func startSome(_ simulation: SimulatedCluster) async throws {
        for number in 0..<24 {
            let isShort = number % 3 == 0
            _ = try await simulation.node(1 + number % 3).startWorkflow(
                type: number % 2 == 0 ? "nap" : "other", version: nil, id: "run-\(number)", namespace: "default",
                input: .integer(isShort ? 1 : 3_600_000),
                attributes: ["size": number < 12 ? "small" : "large", "colour": number % 4 < 2 ? "red" : "blue"])
            if number % 3 == 1 { try await simulation.control("run-\(number)", .cancel) }
            await simulation.advance(by: .milliseconds(50))
        }
        try await simulation.wait(until: "a third has ended, and another one", within: .seconds(30)) {
            try await simulation.node(1).count().byStatus == [.running: 8, .completed: 8, .cancelled: 8]
        }
    }

    private static func filters(_ all: [WorkflowInfo]) -> [WorkflowFilter] {
        var filters: [WorkflowFilter] = []
        let statuses: [WorkflowStatus?] = [nil, .running, .completed, .cancelled, .failed]
        let attributes: [[String: String]] = [
            [:], ["size": "small"], ["size": "large", "colour": "red"], ["size": "none"],
        ]
        // The moment of a start itself, which is within the lower bound and outside of the upper one.
        let times: [(Int64?, Int64?)] = [
            (nil, nil), (all[7].startedAt, nil), (nil, all[16].startedAt), (all[7].startedAt, all[16].startedAt),
            (all[16].startedAt, all[7].startedAt),
        ]
        for status in statuses {
            for type in [nil, "nap", "other", "none"] {
                for attributes in attributes {
                    for (from, before) in times {
                        var filter = WorkflowFilter(status: status, type: type, attributes: attributes)
                        (filter.startedFrom, filter.startedBefore) = (from, before)
                        filters.append(filter)
                    }
                }
            }
        }
        return filters
    }
}
