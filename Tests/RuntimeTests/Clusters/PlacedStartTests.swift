import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Starts in execution clusters", .timeLimit(.minutes(5)))
struct PlacedStartTests {
    private static let quick = Workflow<Int, Int>("quick", version: 1) { input, context in
        try await context.step("double") { _ in input * 2 }
    }
    private static let waiting = Workflow<Int, Int>("waiting", version: 1) { input, context in
        try await context.sleep(for: .seconds(20))
        return input
    }

    @Test("TT-18, TT-19: any node starts a workflow: the first one makes a cluster, and all nodes find the run")
    func anywhere() async throws {
        try await withSimulation(seed: 1, nodes: 7, workflows: [Self.quick, Self.waiting]) { simulation in
            try await simulation.node(1).running().manage([.beginMigration])
            var ids: [String] = []
            for number in 1...7 {
                let (info, isNew) = try await simulation.node(number).startWorkflow(
                    type: "quick", version: nil, id: nil, namespace: "default", input: .integer(Int64(number)))
                #expect(isNew)
                ids.append(info.workflowID)
            }
            #expect(try await simulation.node(1).clusters().count == 2, "the common one, and one more")
            for (number, id) in ids.enumerated() {
                for asked in 1...7 {
                    let output = try await simulation.node(asked).result(of: id, as: Int.self, timeout: .seconds(10))
                    #expect(output == 2 * (number + 1))
                }
            }
            let page = try await simulation.node(6).list()
            #expect(Set(page.runs.map(\.workflowID)) == Set(ids) && page.unavailable == [])
            #expect(page.runs.map(\.startedAt) == page.runs.map(\.startedAt).sorted(), "TT-47")
        }
    }

    @Test("TT-19: a cluster takes no more workflows than the policy allows; the next one makes another cluster")
    func capacity() async throws {
        try await withSimulation(seed: 2, nodes: 5, workflows: [Self.waiting]) { simulation in
            let node = try simulation.node(1)
            var policy = try await node.policy()
            policy.maximumWorkflowsPerCluster = 3
            try await node.setPolicy(policy)
            try await node.running().manage([.beginMigration])
            for number in 0..<7 {
                _ = try await simulation.node(1 + number % 5).startWorkflow(
                    type: "waiting", version: nil, id: nil, namespace: "default", input: .integer(Int64(number)))
            }
            try await simulation.wait(until: "TT-08: the registry shows all", within: .seconds(1)) {
                try await simulation.node(4).clusters().reduce(0) { $0 + ($1.activeWorkflows["waiting"] ?? 0) } == 7
            }
            let counts = try await node.clusters().filter { !$0.spansFleet && $0.phase == "active" }.map {
                $0.activeWorkflows["waiting"] ?? 0
            }
            #expect(counts.count >= 3 && counts.allSatisfy { $0 <= 3 }, "\(counts)")
        }
    }

    /// Five nodes in two tiers; clusters take two runs.
    private func inTwoTiers(
        seed: UInt64, _ workflows: [any RegisterableWorkflow], also others: [Int: [any RegisterableWorkflow]] = [:],
        _ body: @escaping @Sendable (SimulatedCluster) async throws -> Void
    ) async throws {
        try await withSimulation(seed: seed, nodes: 0, workflows: []) { simulation in
            simulation.configure = { configuration in
                guard configuration.founds else { return }
                var policy = ExecutionClusterPolicy()
                policy.maximumWorkflowsPerCluster = 2
                policy.singleClusterBelow = 3
                policy.targetClusterSize = 3
                configuration.executionClusterPolicy = policy
            }
            for number in 1...5 { simulation.addNode(workflows: workflows + (others[number] ?? [])) }
            try await simulation.wait(until: "two tiers") {
                guard let status = try? await simulation.node(5).status(), status.ready else { return false }
                let clusters = try await simulation.node(5).clusters()
                return clusters.contains { $0.slots > 0 } && !clusters.contains { $0.spansFleet }
            }
            try await body(simulation)
        }
    }

    @Test("a former execution is found from everywhere, also where its run is not at home")
    func formerExecutions() async throws {
        let counting = Workflow<Int, Int>("counting", version: 1) { input, context in
            guard input < 2 else {
                try await context.sleep(for: .seconds(20))
                return input
            }
            try await context.continueAsNew(input + 1)
        }
        try await inTwoTiers(seed: 5, [counting]) { simulation in
            for number in 0..<8 {
                let id = "c-\(number)"
                _ = try await simulation.node(1 + number % 5).start(counting, id: id, input: 0)
                try await simulation.wait(until: "it has gone on twice", within: .seconds(20)) {
                    try await simulation.node(1).describe(id).info.execution == 3
                }
                for former in ["\(id)~1", "\(id)~2"] {
                    let info = try await simulation.node(1 + (number + 1) % 5).describe(former).info
                    #expect(info.status == .continued)
                }
                for unknown in ["\(id)~3", "none~1"] {
                    let error = await #expect(throws: WorkflowError.self) {
                        try await simulation.node(2).describe(unknown)
                    }
                    #expect(error?.code == .notFound && error?.message.contains(unknown) == true)
                }
            }
        }
    }

    @Test(
        "what no node has is refused by name, in a child, in a schedule and in a request; the newest is the fleet's, once enough nodes have it"
    )
    func versions() async throws {
        let missing = Workflow<Int, Int>("quick", version: 9) { input, _ in input }
        let newer = Workflow<Int, Int>("quick", version: 2) { input, _ in input * 3 }
        // On its way to all nodes, and not on enough of them to form a cluster.
        let newest = Workflow<Int, Int>("quick", version: 3) { input, _ in input * 4 }
        let parent = Workflow<Int, String>("parent", version: 1) { input, context in
            do {
                return "\(try await context.child(missing, input: input).result())"
            } catch let error as WorkflowError where error.code == .unknownWorkflow {
                return "unknown"
            }
        }
        let others: [Int: [any RegisterableWorkflow]] = [3: [newer], 4: [newer], 5: [newer, newest]]
        try await inTwoTiers(seed: 6, [Self.quick, parent], also: others) { simulation in
            let run = try await simulation.submit(parent, id: "p", input: 1)
            #expect(try await run.result(timeout: .seconds(60)) == "unknown")
            for id in [nil, "mine"] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await simulation.node(2).startWorkflow(
                        type: "quick", version: 9, id: id, namespace: "default", input: .integer(1))
                }
                #expect(error?.code == .unknownWorkflow)
            }
            var schedule = Schedule("quick", everySeconds: 5, input: 1)
            try await simulation.node(1).createSchedule("newest", schedule)
            schedule.version = 9
            try await simulation.node(1).createSchedule("missing", schedule)
            await simulation.advance(by: .seconds(22))
            let known = try await simulation.node(3).schedule("newest")
            #expect(known.fired == 4 && known.problem == nil, "\(known)")
            let started = try await simulation.node(4).list(WorkflowFilter(type: "quick")).runs
            #expect(started.count == 4 && started.allSatisfy { $0.version == 2 }, "\(started.map(\.version))")
            let stuck = try await simulation.node(3).schedule("missing")
            #expect(stuck.skipped >= 2 && stuck.problem?.contains("unknownWorkflow") == true, "\(stuck)")
        }
    }

    @Test("an id of the user's begins elsewhere where its home, which is to run it, turns out to be full")
    func fullHome() async throws {
        try await inTwoTiers(seed: 3, [Self.waiting]) { simulation in
            for number in 0..<9 {
                let run = try await simulation.node(1 + number % 5).start(
                    Self.waiting, id: "w-\(number)", input: number)
                #expect(!run.started.existed)
                let again = try await simulation.node(1 + (number + 1) % 5).start(
                    Self.waiting, id: "w-\(number)", input: number)
                #expect(again.started.existed && again.runID == run.runID)
            }
            for number in 0..<9 {
                let result = try await simulation.node(2).result(
                    of: "w-\(number)", as: Int.self, timeout: .seconds(60))
                #expect(result == number)
            }
        }
    }
}
