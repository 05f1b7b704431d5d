import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Clusters that lost their majority for good, on simulated nodes.
@Suite("Recovery of clusters", .timeLimit(.minutes(5)))
struct FleetRecoveryTests {
    private static let id = ManagementBench.cluster(1)
    private static let workflow = FleetRebalancerTests.waiting

    /// A cluster of five with a run, whose members 1 to 3 are lost.
    private func withLostMajority(
        seeds: Int, lose: @escaping @Sendable (SimulatedCluster) -> Void = { for node in 1...3 { $0.crash(node) } },
        _ body: @escaping @Sendable (SimulatedCluster, GroupID, WorkflowRun<Int>) async throws -> Void
    ) async throws {
        try await FleetRebalancerTests.withFleet(of: 9, clusterOf: 5, seeds: seeds) { simulation, group in
            let run = try await simulation.submit(Self.workflow, id: "a", input: 1)
            await simulation.advance(by: .seconds(6))
            lose(simulation)
            await simulation.advance(by: .seconds(12))
            try await body(simulation, group, run)
        }
    }

    /// Nobody has a replica of an earlier incarnation, and as many vote as the policy wants.
    private func untilWhole(
        _ simulation: SimulatedCluster, _ group: GroupID, incarnation: UInt64, _ running: [Int]
    ) async throws {
        try await simulation.wait(until: "five vote in incarnation \(incarnation), and nothing else is left") {
            guard running.allSatisfy({ !simulation.hostedGroups($0).isEmpty }) else { return false }
            let hosted = simulation.nodes.flatMap(simulation.hostedGroups).filter { $0.identity.group == group }
            guard hosted.allSatisfy({ $0.identity.incarnation == incarnation }) else { return false }
            let members = try await hosted.first?.membership()
            return members?.voters.count == 5 && members?.isJoint == false
        }
    }

    @Test("TT-38b: of 5 voters 3 are lost: it waits and says why; an operator founds it anew, and its runs go on")
    func majorityLost() async throws {
        try await FleetRebalancerTests.withFleet(of: 9, clusterOf: 5, seeds: 2) { simulation, group in
            let run = try await simulation.submit(Self.workflow, id: "a", input: 1)
            await simulation.advance(by: .seconds(6))
            let refusal = await #expect(throws: NodeError.self) {
                try await simulation.node(9).recoverCluster(Self.id.text, isForced: true)
            }
            #expect(refusal?.code == .refused && refusal?.message.contains("goes on by itself") == true)
            for node in 1...3 { simulation.crash(node) }
            await simulation.advance(by: .seconds(25))
            let problem = try await simulation.node(9).cluster(Self.id.text).problem
            #expect(problem?.contains("2 of 5 voters answer") == true && problem?.contains("recover") == true)
            let plan = try await simulation.node(9).recoveryPlan(ofCluster: Self.id.text)
            #expect(plan.givenUp == [1, 2, 3] && Set(plan.candidates.map(\.node)) == [4, 5])
            #expect(plan.members.count == 5 && plan.survivor == plan.candidates.first?.node && !plan.isCarriedOut)
            let caution = await #expect(throws: NodeError.self) {
                try await simulation.node(9).recoverCluster(Self.id.text, isForced: false)
            }
            #expect(caution?.message.contains("nodes 1, 2, 3 had acknowledged is lost") == true)
            #expect(try await simulation.fleet(9).clusters[Self.id]?.incarnation == 1, "nothing was changed")
            // Two operators at once.
            let (first, second) = (try simulation.node(8), try simulation.node(9))
            async let one = try? first.recoverCluster(Self.id.text, isForced: true)
            async let other = try? second.recoverCluster(Self.id.text, isForced: true)
            let carriedOut = await [one, other].compactMap(\.self)
            #expect(carriedOut.first?.incarnation == 2 && Set(carriedOut).count == 1)
            #expect(try await run.result() == 55)
            try await untilWhole(simulation, group, incarnation: 2, [4, 5, 6, 7, 8, 9])
            for node in 1...3 { simulation.restart(node) }
            try await untilWhole(simulation, group, incarnation: 2, Array(1...9))
            #expect(try await simulation.node(9).cluster(Self.id.text).problem == nil)
            try await simulation.wait(until: "nobody waits for a departure", within: .seconds(10)) {
                try await simulation.fleet(9).departing.isEmpty
            }
        }
    }

    @Test("TT-38c: what a cluster without its majority had recorded goes to another cluster, where its runs go on")
    func migrated() async throws {
        try await withLostMajority(seeds: 2) { simulation, _, run in
            let node = try simulation.node(9)
            let other = try await node.createCluster(on: [6, 7, 8].map { NodeID($0) })
            _ = try await node.recoverCluster(Self.id.text, isForced: true)
            try await node.drainCluster(Self.id.text, into: other)
            let target = try await node.running().cluster(named: other).group
            try await simulation.wait(until: "the run is in the other cluster", within: .seconds(30)) {
                let machine = try await simulation.node(7).running().core.hosted[target]
                let steps = try await machine?.withState { machine in
                    (machine as? WorkflowStateMachine)?.state.runs[RunKey("default", "a")]?.steps.count
                }
                return (steps ?? 0) > 0
            }
            #expect(try await run.result() == 55)
            try await simulation.wait(until: "the lost cluster is gone", within: .seconds(120)) {
                try await simulation.fleet(9).clusters[Self.id] == nil
            }
        }
    }

    @Test("TT-38b: a majority that went on unheard is fenced when it returns: nothing of what it did is mixed in")
    func hiddenMajority() async throws {
        let lose: @Sendable (SimulatedCluster) -> Void = { $0.partition([1, 2, 3], from: Array(4...9)) }
        try await withLostMajority(seeds: 2, lose: lose) { simulation, group, run in
            let hidden = try await simulation.node(1).start(Self.workflow, id: "hidden", input: 1)
            #expect(hidden.workflowID == "hidden", "it still has its majority")
            try await simulation.node(9).recoverCluster(Self.id.text, isForced: true)
            await simulation.advance(by: .seconds(10))
            simulation.heal()
            try await untilWhole(simulation, group, incarnation: 2, Array(1...9))
            let later = try await simulation.submit(Self.workflow, id: "later", input: 2)
            #expect(try await run.result() == 55)
            #expect(try await later.result() == 110)
            for node in 1...9 {
                #expect(try await simulation.node(node).describeWorkflow("hidden", namespace: "default") == nil)
            }
            // The id is free, and means another run from now on.
            let again = try await simulation.submit(Self.workflow, id: "hidden", input: 3)
            #expect(again.runID != hidden.runID)
            #expect(try await again.result() == 165)
            try await simulation.untilConverged()
        }
    }

    @Test(
        "TT-38b: whoever crashes on the way, and when: once it is back the cluster is founded anew, as it was decided")
    func crashes() async throws {
        for delay in [0, 1, 4, 16, 400] {
            try await withLostMajority(seeds: 1) { simulation, group, run in
                let plan = try await simulation.node(8).recoverCluster(Self.id.text, isForced: true)
                await simulation.advance(by: .milliseconds(delay))
                let survivor = Int(plan.survivor)
                simulation.crash(survivor, dropUnsynced: true)
                // The operator's node, too.
                simulation.crash(8, dropUnsynced: true)
                await simulation.advance(by: .seconds(2))
                simulation.restart(survivor)
                simulation.restart(8)
                #expect(try await run.result() == 55)
                try await untilWhole(simulation, group, incarnation: 2, Array(4...9))
            }
        }
    }

    @Test("TT-38b: a survivor that is lost before it has followed: another one takes its place in one more recovery")
    func survivorLost() async throws {
        try await withLostMajority(seeds: 1) { simulation, group, run in
            let plan = try await simulation.node(9).recoveryPlan(ofCluster: Self.id.text)
            let (survivor, other) = plan.survivor == 4 ? (4, 5) : (5, 4)
            // It answers, and does not hear what management decides.
            simulation.cut(from: [7, 8, 9], to: [survivor])
            try await simulation.node(other).recoverCluster(Self.id.text, isForced: true)
            await simulation.advance(by: .seconds(3))
            for node in [survivor, other] {
                let replicas = simulation.hostedGroups(node).map(\.identity).filter { $0.group == group }
                #expect(replicas.map(\.incarnation) == [1], "what it has is kept")
            }
            simulation.crash(survivor, dropUnsynced: true)
            simulation.heal()
            await simulation.advance(by: .seconds(3))
            let problem = try await simulation.node(9).cluster(Self.id.text).problem
            #expect(problem?.contains("is to be founded anew with what node \(survivor) has") == true)
            let second = try await simulation.node(9).recoverCluster(Self.id.text, isForced: true)
            #expect(second.survivor == UInt64(other) && second.incarnation == 3)
            #expect(second.givenUp == [UInt64(survivor)])
            #expect(try await run.result() == 55)
            for node in [1, 2, 3, survivor] { simulation.restart(node) }
            try await untilWhole(simulation, group, incarnation: 3, Array(1...9))
        }
    }

    @Test(
        "TT-38b: the one cluster of a small fleet is founded anew like any other, and its lost nodes come back into it")
    func commonCluster() async throws {
        try await withSimulations(seeds: 2, nodes: 5, workflows: [Self.workflow]) { simulation in
            try await simulation.setPolicy(on: 1) { $0.voterSelection = .fixed([3, 4, 5].map { NodeID($0) }) }
            try await simulation.waitForVoters([3, 4, 5], within: .seconds(20))
            let group = ExecutionCluster.commonGroup
            let run = try await simulation.submit(Self.workflow, id: "a", input: 1)
            await simulation.advance(by: .seconds(6))
            for node in 1...3 { simulation.crash(node) }
            await simulation.advance(by: .seconds(3))
            let plan = try await simulation.node(5).recoverCluster(ExecutionCluster.common.text, isForced: true)
            #expect(plan.isCarriedOut && plan.givenUp == [1, 2, 3] && plan.members == [1, 2, 3, 4, 5])
            #expect(try await run.result() == 55)
            let hosted = try #require(simulation.hostedGroups(Int(plan.survivor)).first { $0.identity.group == group })
            let epoch = try await hosted.withState { machine in
                (machine as? WorkflowStateMachine)?.state.runs[RunKey("default", "a")]?.epoch ?? 0
            }
            #expect(epoch >= IncarnationNumbers.base(of: 2), "no token that a lost node may have handed out: \(epoch)")
            for node in 1...3 { simulation.restart(node) }
            // Although a replica leaves them while they look whether they are.
            for node in 1...3 { try await simulation.node(node).untilReady() }
            try await untilWhole(simulation, group, incarnation: 2, Array(1...5))
        }
    }

    @Test("TT-38b: without a majority of management nothing is decided, and clusters that have one go on")
    func withoutManagement() async throws {
        try await withLostMajority(seeds: 1) { simulation, group, run in
            simulation.partition([7, 8], from: [4, 5, 6, 9])
            await simulation.advance(by: .seconds(3))
            let refusal = await #expect(throws: NodeError.self) {
                try await simulation.node(9).recoverCluster(Self.id.text, isForced: true)
            }
            #expect(refusal?.message.contains("has no majority now") == true)
            simulation.heal()
            await simulation.advance(by: .seconds(3))
            #expect(try await simulation.fleet(9).clusters[Self.id]?.incarnation == 1)
            try await simulation.node(9).recoverCluster(Self.id.text, isForced: true)
            #expect(try await run.result() == 55)
        }
    }
}

@Suite("Management of recoveries")
struct ManagementRecoveryTests {
    private typealias Bench = ManagementBench

    @Test("of two recoveries of one incarnation the second is refused, and the same one again changes nothing")
    func fence() throws {
        var bench = try Bench(nodes: 6)
        try bench.apply(Bench.create(1, [1, 2, 3, 4, 5]))
        func recovery(_ incarnation: UInt64, _ survivor: UInt64) -> ManagementOperation {
            .recoverCluster(
                ClusterRecovery(
                    cluster: Bench.cluster(1), incarnation: incarnation, survivor: NodeID(survivor),
                    members: [4, 5, 6].map { NodeID($0) }))
        }
        #expect(try bench.apply(recovery(3, 4)) == .staleIncarnation)
        #expect(try bench.apply(recovery(2, 4)) == nil)
        #expect(try bench.apply(recovery(2, 5)) == .staleIncarnation)
        #expect(try bench.apply(recovery(2, 4)) == nil)
        let cluster = try #require(bench.state.clusters[Bench.cluster(1)])
        #expect(
            cluster.incarnation == 2 && cluster.survivor == NodeID(4)
                && cluster.voters == [4, 5, 6].map { NodeID($0) })
        #expect(cluster.members.values.allSatisfy { !$0.isFounder })
        #expect(bench.state.violation == nil)
        #expect(bench.state.departures(from: cluster.group).map(\.node) == [1, 2, 3].map { NodeID($0) })
        let restored = try ManagementState(decoding: bench.state.serialize())
        #expect(restored.clusters[Bench.cluster(1)]?.survivor == NodeID(4))
    }
    @Test("what the old incarnation reports is not heard, nor does the new one have to get as far as that one's log")
    func reports() throws {
        var bench = try Bench(nodes: 3)
        try bench.apply(Bench.create(1, [1, 2, 3]))
        var report = WorkflowReport(cluster: Bench.cluster(1), after: .zero, through: LogIndex(90))
        report.started = [Bench.started("a")]
        try bench.apply(.reportWorkflows(report))
        try bench.apply(
            .recoverCluster(
                ClusterRecovery(cluster: Bench.cluster(1), incarnation: 2, survivor: NodeID(3), members: [NodeID(3)])))
        report.through = LogIndex(95)
        (report.isWhole, report.started) = (true, [])
        try bench.apply(.reportWorkflows(report))
        #expect(bench.state.clusters[Bench.cluster(1)]?.activeCount == 1)
        report.incarnation = 2
        (report.through, report.started) = (LogIndex(40), [Bench.started("b")])
        try bench.apply(.reportWorkflows(report))
        #expect(bench.state.clusters[Bench.cluster(1)]?.runs.members.map(\.key.workflowID.text) == ["b"])
    }
}
