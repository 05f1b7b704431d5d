import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What a cluster promises of its coordination, shown on whole simulated nodes.
@Suite struct ClusterExecutionTests {
    private static let counting = Workflow("counting", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 1...count {
            try await context.step("step \(number)") { _ in }
            try await context.sleep(for: .milliseconds(500))
        }
        return count
    }

    /// A group's log with its entries.
    private struct StoredGroup {
        var replica: ReplicaIdentity
        var hardState: HardState
        var entries: [Entry] = []
    }

    /// The log of a node that is down, read as its next start would.
    private static func log(of number: Int, _ simulation: SimulatedCluster) throws -> [StoredGroup] {
        let process = simulation.world.start(NodeID(UInt64(number)))
        defer { process.end(.killed) }
        let store = DiskLogStore(directory: "/data", fileSystem: process.fileSystem)
        return try store.open().groups.map { group in
            var stored = StoredGroup(replica: group.replica, hardState: group.hardState)
            while stored.entries.count < group.outline.count {
                let next = group.outline.base.index + (stored.entries.count + 1)
                let page = try store.read(
                    group.replica.group, incarnation: group.replica.incarnation, from: next, bytesMax: 1 << 20)
                try #require(page.first?.index == next)
                stored.entries += page
            }
            return stored
        }
    }

    private static func leader(_ simulation: SimulatedCluster) async throws -> Int {
        var leader: Int?
        try await simulation.wait(until: "a leader of the second group") {
            leader = try await simulation.runningNodes.asyncFirst { number in
                try await simulation.node(number).status().groups.last?.role == "leader"
            }
            return leader != nil
        }
        return try #require(leader)
    }

    @Test("CE-02: entries are read from the log as they were proposed, with index and term that Raft gave them")
    func entries() async throws {
        try await withSimulations(seeds: 2, workflows: [Self.counting]) { simulation in
            for number in 1...3 { _ = try await simulation.submit(Self.counting, id: "run-\(number)", input: number) }
            try await simulation.runUntilComplete()
            try await simulation.untilConverged()
            for number in simulation.nodes { simulation.crash(number) }
            let group = try #require(try Self.log(of: 2, simulation).first { $0.replica.kind == .workflow })
            var ids: [String] = []
            for (entry, previous) in zip(group.entries.dropFirst(), group.entries) {
                #expect(entry.index == previous.index.next && entry.term >= previous.term)
                guard entry.kind == .command else { continue }
                let command = try Command(decoding: entry.payload)
                for operation in command.operations {
                    guard case .startRun(let start) = try WorkflowOperation(operation) else { continue }
                    ids.append(start.workflowID)
                    #expect(try JSONCoding.decode(Int.self, from: start.input) == Int(start.workflowID.suffix(1)))
                }
            }
            // A start whose answer was lost is proposed again, and counts once.
            #expect(Set(ids) == ["run-1", "run-2", "run-3"])
        }
    }

    @Test("CE-09: of four nodes one leads, others follow, one learns, and whoever leads was a candidate")
    func states() async throws {
        try await withSimulations(seeds: 2, nodes: 4, workflows: []) { simulation in
            simulation.crash(try await Self.leader(simulation))
            _ = try await Self.leader(simulation)
            var roles: Set<String> = []
            for number in simulation.runningNodes {
                roles.formUnion(try await simulation.node(number).status().groups.map(\.role))
            }
            #expect(roles.isSuperset(of: ["leader", "follower", "learner"]), "\(roles)")
            #expect(simulation.eventLog.contains("group 2 is candidate at term"))
        }
    }

    @Test("CE-10: every node hears who leads; of the node that leads it says so itself")
    func leaderChanges() async throws {
        try await withSimulations(seeds: 3, workflows: []) { simulation in
            let first = try await Self.leader(simulation)
            let other = try #require(simulation.nodes.first { $0 != first })
            var changes = try await simulation.node(other).leaderChanges().makeAsyncIterator()
            var own = try await simulation.node(first).leaderChanges().makeAsyncIterator()
            let now = try #require(await changes.next())
            #expect(now.leader == NodeID(UInt64(first)) && !now.isLocal)
            #expect(await own.next()?.isLocal == true)
            simulation.crash(first)
            var last = now
            while last.leader == nil || last.leader == now.leader {
                let next = try #require(await changes.next())
                #expect(next.term >= last.term)
                last = next
            }
            #expect(last.isLocal == (last.leader == NodeID(UInt64(other))))
            #expect(last.term > now.term)
            // The node that died tells nobody anything any more, but its watchers are let go.
            while await own.next() != nil {}
            let error = await #expect(throws: NodeError.self) { try await simulation.node(other).leaderChanges(of: 9) }
            #expect(error?.code == .unknownGroup)
        }
    }

    @Test("CE-20: a node that a new leader has never heard of loses its runs, and one whose wall clock jumps does not")
    func failureDetection() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            _ = try await simulation.submit(Self.counting, id: "a", input: 20)
            let owner = try #require(try await simulation.owner(of: "a"))
            for number in simulation.nodes {
                simulation.jumpWallClock(of: number, by: .seconds(number == owner ? 40 : -40))
            }
            await simulation.advance(by: .seconds(3))
            #expect(try await simulation.owner(of: "a") == owner)
            // All restart but the owner, so nobody remembers when it was heard last.
            for number in simulation.nodes { simulation.crash(number) }
            for number in simulation.nodes where number != owner { simulation.restart(number) }
            try await simulation.wait(until: "another owner", within: .seconds(20)) {
                let next = try await simulation.owner(of: "a")
                return next != nil && next != owner
            }
        }
    }

    /// Who led which term, in the order in which they began to, from the event log.
    private static func reigns(_ simulation: SimulatedCluster) -> [(term: String, node: Int)] {
        // "12.345678901 node 2: group 1 is leader at term 3 leader=node 2"
        simulation.eventLog.split(separator: "\n").filter { $0.contains(" is leader at term ") }.map { line in
            let words = line.split(separator: " ").map(String.init)
            return ("group \(words[4]) term \(words[9])", Int(words[2].dropLast())!)
        }
    }

    @Test("CE-22: no two nodes lead one group in one term, whatever is cut, paused and killed")
    func oneLeader() async throws {
        try await withSimulations(seeds: 3, nodes: 5, workflows: [Self.counting]) { simulation in
            for round in 0..<12 {
                // Whoever led last, every second time: what happens to the others makes few leaders.
                let random = simulation.nodes[Int(simulation.world.random(below: 5))]
                let victim = round % 2 == 0 ? Self.reigns(simulation).last?.node ?? random : random
                switch round % 3 {
                case 0: simulation.partition([victim], from: simulation.nodes.filter { $0 != victim })
                case 1: simulation.pause(victim)
                default: simulation.crash(victim, dropUnsynced: true)
                }
                await simulation.advance(by: .milliseconds(Int64(simulation.world.random(below: 3_000))))
                simulation.heal()
                if round % 3 == 1 { simulation.resume(victim) }
                if round % 3 == 2 { simulation.restart(victim) }
            }
            var leaders: [String: Set<Int>] = [:]
            for reign in Self.reigns(simulation) { leaders[reign.term, default: []].insert(reign.node) }
            #expect(leaders.count >= 6, "\(leaders)")
            for (term, nodes) in leaders { #expect(nodes.count == 1, "\(term): \(nodes)") }
        }
    }

    @Test("CE-23: when a step's body begins, a majority knows its owner and its token already")
    func replicatedBeforeExecution() async throws {
        for seed in Simulation.seeds(5) {
            let tokens = Lock<[Int: UInt64]>([:])
            try await withSimulation(seed: seed, nodes: 0, workflows: []) { simulation in
                for number in 1...3 {
                    // The simulation holds the workflows.
                    let workflow = Workflow("cutting", version: 1) {
                        [weak simulation] (_: Int, context: WorkflowContext) async throws -> Int in
                        try await context.step("cut off") { step in
                            // Nothing leaves this node any more, not even what is under way.
                            guard tokens.withLock({ $0.isEmpty }) else { return }
                            tokens.withLock { $0[number] = step.fencingToken }
                            simulation?.partition([number], from: [1, 2, 3].filter { $0 != number })
                        }
                        return number
                    }
                    simulation.addNode(workflows: [workflow])
                }
                try await simulation.untilFormed()
                let workflow = Workflow("cutting", version: 1) { (_: Int, _: WorkflowContext) async throws -> Int in 0 }
                _ = try await simulation.node(1).start(workflow, id: "a", input: 0)
                try await simulation.wait(until: "the step has begun") { !tokens.withLock { $0.isEmpty } }
                let (owner, token) = try #require(tokens.withLock { $0.first })
                let witness = try #require([1, 2, 3].first { $0 != owner })
                // The others elect a leader among themselves, which has the assignment if a majority held it.
                let result = try await simulation.node(witness).result(of: "a", as: Int.self, timeout: .seconds(60))
                #expect(result != owner)
                let history = try await simulation.node(witness).describe("a")
                #expect(history.epoch > token, "the next owner's token is higher than the one that was seen")
            }
        }
    }

    @Test("CE-24: the logs of all replicas hold equal entries at equal indexes")
    func totalOrder() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            simulation.configure = { $0.groups.snapshotThreshold = 1_000_000 }
            for number in 1...6 {
                _ = try await simulation.submit(Self.counting, id: "run-\(number)", input: number)
                let victim = number % 3 + 1
                simulation.crash(victim, unsynced: .prefixKept)
                await simulation.advance(by: .milliseconds(700))
                simulation.restart(victim)
                try await simulation.untilFormed()
            }
            for number in simulation.nodes { simulation.crash(number) }
            let logs = try simulation.nodes.map { try Self.log(of: $0, simulation) }
            for kind in [GroupKind.management, .workflow] {
                var known: [LogIndex: Entry] = [:]
                var compared = 0
                for log in logs {
                    let group = try #require(log.first { $0.replica.kind == kind })
                    for entry in group.entries where entry.index <= group.hardState.commit {
                        if let other = known[entry.index] {
                            #expect(entry == other)
                            compared += 1
                        }
                        known[entry.index] = entry
                    }
                }
                #expect(compared > 10)
            }
        }
    }

    @Test("CE-25, CE-26: snapshot and tail, a replay of the whole log, and a node that never stopped have equal states")
    func replay() async throws {
        try await withSimulations(seeds: 2, workflows: [Self.counting]) { simulation in
            // Node 1 restarts from snapshots, node 2 from its log alone, node 3 is never stopped.
            for number in [1, 2] {
                let threshold = number == 1 ? 10 : 1_000_000
                simulation.configure = { $0.groups.snapshotThreshold = threshold }
                await simulation.stop(number)
                simulation.restart(number)
                try await simulation.untilFormed()
            }
            for round in 1...4 {
                for number in 1...5 {
                    _ = try await simulation.submit(Self.counting, id: "run-\(round)-\(number)", input: 4)
                }
                try await simulation.runUntilComplete()
                for number in [1, 2] {
                    let threshold = number == 1 ? 10 : 1_000_000
                    simulation.configure = { $0.groups.snapshotThreshold = threshold }
                    simulation.crash(number, dropUnsynced: true)
                    simulation.restart(number)
                }
                try await simulation.untilFormed()
                try await simulation.untilConverged()
                let applied = try await simulation.node(3).status().groups[1].appliedIndex
                #expect(applied > UInt64(100 * round) / 2, "each round is about a hundred entries")
            }
            let files = try (1...2).map { try simulation.disk($0).files.filter { $0.contains("snapshot") }.count }
            #expect(files[0] > 0 && files[1] == 0, "\(files)")
        }
    }
}

extension Sequence {
    fileprivate func asyncFirst(where predicate: (Element) async throws -> Bool) async throws -> Element? {
        for element in self where try await predicate(element) { return element }
        return nil
    }
}
