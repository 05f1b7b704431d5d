import FlotillaActors
import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Each fault of the kit, seen by what it does to whole nodes.
@Suite struct ClusterFaultTests {
    private static let counting = Workflow("counting", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 1...count {
            try await context.step("step \(number)") { _ in }
            try await context.sleep(for: .seconds(1))
        }
        return count
    }

    private static func leader(_ simulation: SimulatedCluster) async throws -> Int {
        var leader: UInt64?
        try await simulation.wait(until: "a leader of the second group") {
            for number in simulation.runningNodes {
                let group = try await simulation.node(number).status().groups.last
                if group?.role == "leader" { leader = group?.leader }
            }
            return leader != nil
        }
        return Int(try #require(leader))
    }

    @Test("a minority that was cut off cannot start anything, and the majority can")
    func partition() async throws {
        try await withSimulations(seeds: 3, nodes: 5, workflows: [Self.counting]) { simulation in
            simulation.partition([1, 2], from: [3, 4, 5])
            let refused = Task { try await simulation.node(1).start(Self.counting, id: "minority", input: 1) }
            _ = try await simulation.node(4).start(Self.counting, id: "majority", input: 1)
            #expect(try await simulation.node(3).result(of: "majority", as: Int.self) == 1)
            let error = await #expect(throws: WorkflowError.self) { try await refused.value }
            #expect(error?.code == .unavailable)
            simulation.heal()
            try await simulation.untilConverged()
        }
    }

    @Test("a leader that is heard but cannot hear is replaced, and so is one that hears and is not heard")
    func asymmetric() async throws {
        for isMute in [true, false] {
            try await withSimulations(seeds: 2, workflows: [Self.counting]) { simulation in
                let leader = try await Self.leader(simulation)
                let others = simulation.nodes.filter { $0 != leader }
                if isMute {
                    simulation.cut(from: [leader], to: others)
                } else {
                    simulation.cut(from: others, to: [leader])
                }
                _ = try await simulation.node(others[0]).start(Self.counting, id: "a", input: 2)
                #expect(try await simulation.node(others[1]).result(of: "a", as: Int.self) == 2)
                let status = try await simulation.node(others[0]).status()
                #expect(status.groups.last?.leader != UInt64(leader))
                simulation.heal()
                try await simulation.untilConverged()
            }
        }
    }

    @Test("five nodes in a chain, none of which reaches all, still run workflows")
    func chain() async throws {
        try await withSimulations(seeds: 3, nodes: 5, workflows: [Self.counting]) { simulation in
            simulation.partitionIntoChain([4, 2, 1, 3, 5])
            let run = try await simulation.submit(Self.counting, id: "a", input: 3)
            #expect(try await run.result() == 3)
            simulation.heal()
            try await simulation.untilConverged()
        }
    }

    @Test("loss, delay, duplication and reordering on every link slow a workflow down and change nothing else")
    func conditions() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            simulation.conditions = LinkConditions(
                delay: .milliseconds(1)...(.milliseconds(40)), loss: 0.05, duplication: 0.1, reorders: true)
            simulation.setConditions(LinkConditions(delay: .milliseconds(80)...(.milliseconds(90))), from: 1, to: 2)
            simulation.resetConnections(between: 1, and: 3)
            let run = try await simulation.submit(Self.counting, id: "a", input: 5)
            #expect(try await run.result() == 5)
            let counts = simulation.world.links.counts
            #expect(counts.lost > 0 && counts.duplicated > 0)
        }
    }

    @Test("a paused leader loses its place, and follows when it goes on", arguments: [1, 2, 3])
    func pause(seed: UInt64) async throws {
        try await withSimulation(seed: seed, workflows: [Self.counting]) { simulation in
            let leader = try await Self.leader(simulation)
            let other = try #require(simulation.nodes.first { $0 != leader })
            simulation.pause(leader)
            _ = try await simulation.node(other).start(Self.counting, id: "a", input: 1)
            simulation.resume(leader)
            #expect(try await simulation.node(leader).result(of: "a", as: Int.self) == 1)
            #expect(try await Self.leader(simulation) != leader)
        }
    }

    @Test("a failed write and a failed sync fence the node, which says so; after a restart it serves again")
    func failedDisk() async throws {
        for operation in [SimulatedDisk.Operation.write, .sync] {
            try await withSimulations(seeds: 2, workflows: [Self.counting]) { simulation in
                let run = try await simulation.submit(Self.counting, id: "a", input: 4)
                try simulation.disk(3).failNext(operation)
                try await simulation.wait(until: "node 3 is fenced") {
                    try await simulation.node(3).status().warnings.contains { $0.contains("could not be written") }
                }
                #expect(try await run.result() == 4)
                simulation.crash(3)
                simulation.restart(3)
                try await simulation.untilFormed()
                try await simulation.untilConverged()
            }
        }
    }

    @Test("slow disks and completions that come late and out of order delay the cluster and nothing else")
    func slowDisks() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            simulation.configure = { $0.groups.snapshotThreshold = 5 }
            try simulation.disk(1).latency = .milliseconds(50)...(.milliseconds(150))
            for number in simulation.nodes {
                try simulation.disk(number).completionDelay = .zero ... .milliseconds(100)
                await simulation.stop(number)
                simulation.restart(number)
                try await simulation.untilFormed()
            }
            #expect(try await simulation.submit(Self.counting, id: "a", input: 5).result() == 5)
            try await simulation.untilConverged()
        }
    }

    @Test("a power failure between the calls of one write, at any of them, loses nothing that was acknowledged")
    func powerFailsAtAnyWrite() async throws {
        for changes in 1...12 {
            try await withSimulations(seeds: 1, workflows: [Self.counting]) { simulation in
                let run = try await simulation.submit(Self.counting, id: "a", input: 3)
                let victim = try await Self.leader(simulation)
                try simulation.disk(victim).losePower(afterChanges: changes, .anyKept)
                #expect(try await run.result() == 3)
                try await simulation.wait(until: "the power has failed") { !simulation.runningNodes.contains(victim) }
                simulation.restart(victim)
                try await simulation.untilFormed()
                #expect(try await simulation.node(victim).result(of: "a", as: Int.self) == 3)
            }
        }
    }

    @Test("clocks that run at different rates and wall clocks that jump keep a cluster working")
    func clocks() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            simulation.setClockRate(of: 1, to: 1.2)
            simulation.setClockRate(of: 2, to: 0.8)
            let run = try await simulation.submit(Self.counting, id: "a", input: 4)
            simulation.jumpWallClock(of: 1, by: .seconds(-20))
            simulation.jumpWallClock(of: 3, by: .seconds(30))
            #expect(try await run.result() == 4)
        }
    }

    @Test("old copies of all disks, put back, are the cluster as it was then")
    func oldDisks() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            let before = try await simulation.submit(Self.counting, id: "before", input: 2)
            #expect(try await before.result() == 2)
            let copies = try simulation.nodes.map { try simulation.disk($0).copy() }
            let after = try await simulation.submit(Self.counting, id: "after", input: 2)
            #expect(try await after.result() == 2)
            for (number, copy) in zip(simulation.nodes, copies) {
                simulation.crash(number)
                try simulation.disk(number).replace(with: copy)
            }
            for number in simulation.nodes { simulation.restart(number) }
            try await simulation.untilFormed()
            #expect(try await simulation.node(2).result(of: "before", as: Int.self) == 2)
            let error = await #expect(throws: WorkflowError.self) {
                try await simulation.node(2).result(of: "after", as: Int.self)
            }
            #expect(error?.code == .notFound)
        }
    }

    @Test(
        "an older copy of one node's disk, put back, is refused by the others, and the newest is taken",
        arguments: [true, false])
    func oldDisk(isOfEarlierBoot: Bool) async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            #expect(try await simulation.submit(Self.counting, id: "before", input: 2).result() == 2)
            let disk = try simulation.disk(3)
            let old = disk.copy()
            if isOfEarlierBoot {
                simulation.crash(3)
                simulation.restart(3)
                try await simulation.untilFormed()
            }
            #expect(try await simulation.submit(Self.counting, id: "after", input: 2).result() == 2)
            try await simulation.untilConverged()
            await simulation.advance(by: .seconds(1))
            simulation.crash(3)
            let newest = disk.copy()
            disk.replace(with: old)
            simulation.restart(3)
            await simulation.advance(by: .seconds(15))
            #expect(try await simulation.node(3).status().ready == false)
            #expect(simulation.eventLog.contains("this is an old copy of its data"))
            // The others go on without it.
            #expect(try await simulation.submit(Self.counting, id: "meanwhile", input: 2).result() == 2)
            simulation.crash(3)
            disk.replace(with: newest)
            simulation.restart(3)
            try await simulation.untilFormed()
            try await simulation.untilConverged()
        }
    }

    @Test("a node that cannot start says why; a scenario that does not look fails")
    func failedStart() async throws {
        let scenario: @Sendable (SimulatedCluster) async throws -> Void = { simulation in
            simulation.crash(3)
            try simulation.disk(3).failNext(.read, count: 1_000)
            simulation.restart(3)
            try await simulation.wait(until: "node 3 has given up") { simulation.runningNodes == [1, 2] }
        }
        let error = await failure { try await withSimulation(seed: 1, workflows: [], scenario) }
        #expect(error?.description.contains("node 3 ended by itself") == true, "\(String(describing: error))")
        try await withSimulation(seed: 1, workflows: []) { simulation in
            try await scenario(simulation)
            #expect(simulation.takeFailure(of: 3) != nil)
            #expect(simulation.takeFailure(of: 3) == nil)
        }
    }

    @Test("an orderly stop returns when the process has ended; the others have its runs by then")
    func orderlyStop() async throws {
        try await withSimulations(seeds: 3, workflows: [Self.counting]) { simulation in
            _ = try await simulation.submit(Self.counting, id: "a", input: 10)
            let owner = try #require(try await simulation.owner(of: "a"))
            await simulation.stop(owner)
            #expect(!simulation.runningNodes.contains(owner))
            let next = try await simulation.owner(of: "a")
            #expect(next != nil && next != owner)
        }
    }

    @Test("a rolling upgrade gives each node other workflows at its restart")
    func upgrade() async throws {
        let two = Workflow("counting", version: 2) { (count: Int, _: WorkflowContext) async throws -> Int in -count }
        try await withSimulations(seeds: 2, workflows: [Self.counting]) { simulation in
            for number in simulation.nodes {
                await simulation.stop(number)
                simulation.restart(number, workflows: [Self.counting, two])
                try await simulation.untilFormed()
            }
            #expect(try await simulation.submit(two, id: "new", input: 5).result() == -5)
            #expect(try await simulation.submit(Self.counting, id: "old", input: 1).result() == 1)
        }
    }
}
