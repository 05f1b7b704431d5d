import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Random management commands", .timeLimit(.minutes(5)))
struct ManagementPropertyTests {
    private typealias Bench = ManagementBench

    @Test(
        "TT-10: whatever the commands, the maps agree, and log, snapshot and snapshot with the log's rest are one state"
    )
    func agreement() throws {
        var (applied, refused) = (0, 0)
        let seeds = Simulation.seeds(4)
        for seed in seeds {
            var random = SeededGenerator(seed: seed)
            var bench = try Bench(nodes: 3)
            let snapshotAt = Int.random(in: 3..<300, using: &random)
            var snapshot: [UInt8] = []
            for position in 3..<300 {
                if position == snapshotAt { snapshot = bench.machine.snapshotView().serialize() }
                bench.time += .random(in: 0..<100, using: &random)
                let before = bench.state.serialize()
                let command = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                    randomOperation(bench, &random)
                }
                if try bench.apply(command) == nil {
                    applied += 1
                } else {
                    refused += 1
                    #expect(bench.state.serialize() == before, "seed \(seed), command \(position)")
                }
                if let violation = bench.state.violation {
                    Issue.record("seed \(seed), command \(position), \(command): \(violation)")
                    return
                }
            }
            let whole = ManagementStateMachine(agreedLevel: FeatureLevel()) { _, _ in }
            let rest = ManagementStateMachine(agreedLevel: FeatureLevel()) { _, _ in }
            try rest.restore(snapshot, formatVersion: ManagementStateMachine.formatVersion)
            for (position, (command, time)) in bench.log.enumerated() {
                _ = try whole.apply(command, at: LogIndex(UInt64(position)), time: time)
                if position >= snapshotAt { _ = try rest.apply(command, at: LogIndex(UInt64(position)), time: time) }
            }
            #expect(whole.state.serialize() == bench.state.serialize(), "seed \(seed)")
            #expect(rest.state.serialize() == bench.state.serialize(), "seed \(seed)")
        }
        #expect(applied > 60 * seeds.count && refused > 30 * seeds.count, "\(applied) applied, \(refused) refused")
    }

    private func randomOperation(
        _ bench: Bench, _ random: inout SeededGenerator
    ) -> ManagementOperation {
        let number = UInt64.random(in: 1...6, using: &random)
        let other = Bench.cluster(.random(in: 1...6, using: &random))
        let (cluster, state) = (Bench.cluster(number), bench.state)
        let node = NodeID(.random(in: 1...8, using: &random))
        let role = Bool.random(using: &random) ? ExecutionCluster.MemberRole.voter : .learner
        switch Int.random(in: 0..<27, using: &random) {
        case 0...2: return .registerNode(Bench.node(node.rawValue, instance: .random(in: 1...9, using: &random) / 9))
        case 3: return .removeNode(node, instance: nil)
        case 4, 5:
            let founders = (1...UInt64(8)).shuffled(using: &random).prefix(.random(in: 2...6, using: &random))
            return Bench.create(number, Array(founders), pinned: number == 1 ? "pinned" : nil)
        case 6:
            let epoch = if case .sealed(let epoch)? = state.clusters[cluster]?.phase { epoch } else { UInt64(1) }
            return .destroyCluster(cluster, sealEpoch: epoch, isForced: .random(in: 0..<8, using: &random) == 0)
        case 7...9: return .associateNode(cluster, node, role)
        case 10: return .disassociateNode(cluster, node)
        case 11: return .changeNodeRole(node, Bool.random(using: &random) ? .voter : .learner)
        case 12: return .drainCluster(cluster, into: Bool.random(using: &random) ? other : nil)
        case 13: return .resumeCluster(cluster)
        case 14, 15: return .moveRuns(from: cluster, to: other, count: .random(in: 0...5, using: &random))
        case 16:
            let group = state.clusters[cluster]?.group ?? GroupID(2)
            let slots = (0..<20).map { _ in Int.random(in: 0..<SlotMap.count, using: &random) }
            return .moveSlots(SlotMove(version: state.slots.version, slots: slots, home: group))
        case 17: return .drainNode(node, isDraining: Bool.random(using: &random))
        case 18: return .createCommonCluster
        case 21:
            let incarnation = (state.clusters[cluster]?.incarnation ?? 1) + .random(in: 0...1, using: &random)
            let members = (1...UInt64(8)).shuffled(using: &random).prefix(3).map(NodeID.init)
            return .recoverCluster(
                ClusterRecovery(cluster: cluster, incarnation: incarnation, survivor: node, members: members))
        case 19, 20:
            let departure = ([ManagementState.group] + state.clusters.members.map(\.value.group)).sorted()
                .flatMap(state.departures).randomElement(using: &random)
            return .confirmDeparture(departure ?? Departure(node: node, group: GroupID(2), number: 1))
        default: return .reportWorkflows(randomReport(bench, number, &random))
        }
    }

    private func randomReport(_ bench: Bench, _ number: UInt64, _ random: inout SeededGenerator) -> WorkflowReport {
        var started: [WorkflowReport.Started] = []
        var ended: [WorkflowReport.Ended] = []
        for _ in 0..<Int.random(in: 0..<5, using: &random) {
            let id = "id\(Int.random(in: 0..<12, using: &random))"
            let run = UInt64.random(in: 1...3, using: &random)
            if Bool.random(using: &random) {
                started.append(
                    Bench.started(
                        id, run: run, type: "type\(run)", epoch: .random(in: 1...4, using: &random), at: Int64(run)))
            } else {
                ended.append(Bench.ended(id, run: run))
            }
        }
        var report = bench.report(number, started: started, ended: ended)
        report.isWhole = .random(in: 0..<6, using: &random) == 0
        report.endedWithin = .random(in: 0..<2, using: &random)
        if Int.random(in: 0..<6, using: &random) == 0 {
            report.sealEpoch = bench.state.clusters[report.cluster]?.drainEpoch ?? 0
        }
        if Int.random(in: 0..<6, using: &random) == 0 { report.after = LogIndex(report.after.rawValue + 1) }
        return report
    }
}
