import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// A fleet that does what the rebalancer plans, period by period: learners catch up, runs move, empty clusters seal
/// their logs. It checks each plan on the way.
struct RebalanceWorld {
    let seed: UInt64
    var random: SeededGenerator
    private(set) var state = ManagementState()
    var lost: Set<NodeID> = []
    var load = 0.0
    var now: Int64 = 0
    /// Learners that have caught up.
    private var caughtUp: [ClusterID: Set<NodeID>] = [:]
    private var runCount: UInt64 = 0
    private(set) var skipReason: String?

    static let period: Int64 = 30_000_000_000

    init(seed: UInt64, nodes: Int, _ change: (inout ExecutionClusterPolicy) -> Void = { _ in }) throws {
        self.seed = seed
        random = SeededGenerator(seed: seed)
        var policy = ExecutionClusterPolicy()
        change(&policy)
        try apply([.setPolicy(policy)])
        try add(nodes: 1...UInt64(nodes))
    }

    // MARK: What happens to the fleet

    mutating func apply(_ command: [ManagementOperation]) throws { _ = try state.apply(command, time: now) }

    mutating func add(nodes: ClosedRange<UInt64>) throws {
        for node in nodes { try apply([.registerNode(ManagementBench.node(node))]) }
    }

    mutating func drain(_ nodes: some Sequence<NodeID>) throws {
        for node in nodes { try apply([.drainNode(node, isDraining: true)]) }
    }

    /// Starts runs where placement puts them.
    mutating func start(_ count: Int, type: String = "w") throws {
        var placement = Placement(state, origin: NodeID(1))
        for _ in 0..<count {
            let request = Placement.Request(type: ByteText(type), origin: NodeID(1), capable: Set(usable))
            var decision = placement.choose(request)
            if case .create(let founders, let pinned) = decision {
                let creation = ClusterCreation(cluster: nextID(), founders: founders, pinnedType: pinned)
                try apply([.createCluster(creation)])
                placement.refresh(state)
                decision = placement.choose(request)
            }
            guard case .cluster(let id) = decision else { return }
            runCount += 1
            report(id, started: [ManagementBench.started("run\(runCount)", run: runCount, type: type)])
        }
    }

    mutating func end(_ count: Int) {
        for (key, id) in state.locations.sorted().shuffled(using: &random).prefix(count) {
            guard let run = state.clusters[id]?.runs[key] else { continue }
            report(id, ended: [WorkflowReport.Ended(key: key, runID: run.runID)])
        }
    }

    /// One period: a plan, and all that it asks for, as far as it can be done.
    /// - Returns: whether anything was planned.
    @discardableResult
    mutating func step() throws -> Bool {
        now += Self.period
        var id = random
        let plan = planner(&id)
        random = id
        try check(plan)
        for command in plan.commands {
            let before = state
            try apply(command)
            checkQuorums(before, command)
        }
        let again = planner(&id)
        #expect(again.commands.isEmpty, "seed \(seed): a second plan has \(again.commands)")
        #expect(state.violation == nil, "seed \(seed)")
        obey()
        return !plan.commands.isEmpty
    }

    /// Until nothing is planned any more.
    /// - Returns: how many periods that took.
    @discardableResult
    mutating func settle(within periods: Int = 120) throws -> Int {
        for period in 0..<periods where try !step() { return period }
        let orders = state.clusters.sorted().map {
            ($0.value.members.keys.sorted(), $0.value.activeCount, $0.value.phase)
        }
        Issue.record("seed \(seed): no rest within \(periods) periods: \(orders)")
        throw RebalanceError()
    }

    // MARK: What is seen of it

    var observation: FleetObservation {
        var observation = FleetObservation(now: now, caughtUp: caughtUp, load: load)
        for node in lost { observation.silence[node] = .max }
        return observation
    }

    var fleetLoad: FleetLoad { FleetLoad(state, observation) }
    var usable: [NodeID] { fleetLoad.usable }
    var imbalance: Double { fleetLoad.imbalance }
    var isBalanced: Bool { fleetLoad.busiest(above: state.policy.rebalanceThreshold).isEmpty }
    var clusters: [ExecutionCluster] { state.clusters.sorted().map(\.value) }
    var idleNodes: [NodeID] { usable.filter { state.memberships[$0] == nil } }

    // MARK: Helpers

    private func planner(_ random: inout SeededGenerator) -> RebalancePlanner {
        let ids = IDs(random)
        defer { random = ids.random }
        return RebalancePlanner(state, observation) { ids.next() }
    }

    private mutating func nextID() -> ClusterID {
        ClusterID(milliseconds: now / 1_000_000, random: (random.next(), random.next()))
    }

    private mutating func check(_ plan: RebalancePlanner) throws {
        skipReason = plan.skipReason
        #expect(plan.refusal == nil, "seed \(seed)")
        #expect(plan.commands.count < RebalancePlanner.commandLimit, "seed \(seed): a plan without end")
    }

    /// No command takes the majority from a cluster that had one, or makes it larger than one member on its way.
    private func checkQuorums(_ before: ManagementState, _ command: [ManagementOperation]) {
        let (old, new) = (FleetLoad(before, observation), FleetLoad(state, observation))
        for cluster in new.clusters {
            guard let former = before.clusters[cluster.id], old.hasQuorum(former) else { continue }
            #expect(new.hasQuorum(cluster), "seed \(seed): \(command) takes the quorum of \(cluster.voters)")
            let arriving = Set(cluster.members.keys).subtracting(former.members.keys)
            #expect(arriving.count <= 1 && cluster.learners.count <= 1, "seed \(seed): \(command)")
            #expect(arriving.allSatisfy { cluster.members[$0]?.role == .learner }, "seed \(seed): \(command)")
        }
    }

    private mutating func obey() {
        let load = fleetLoad
        caughtUp = [:]
        for cluster in load.clusters where load.hasQuorum(cluster) {
            caughtUp[cluster.id] = Set(cluster.learners.filter { !lost.contains($0) })
            if case .draining(let successor) = cluster.phase {
                if let successor, load.clusters.contains(where: { $0.id == successor && load.hasQuorum($0) }) {
                    move(cluster.activeCount, from: cluster.id, to: successor)
                }
                guard state.clusters[cluster.id]?.activeCount == 0 else { continue }
                var sealed = ManagementBench.report(of: cluster.id, state)
                sealed.sealEpoch = cluster.drainEpoch
                _ = state.take(sealed, time: now)
            }
            for (target, count) in cluster.outgoing.sorted(by: { $0.key < $1.key }) {
                guard load.clusters.contains(where: { $0.id == target && load.hasQuorum($0) }) else { continue }
                move(count, from: cluster.id, to: target)
            }
        }
    }

    private mutating func move(_ count: Int, from: ClusterID, to: ClusterID) {
        for (key, run) in (state.clusters[from]?.runs.sorted() ?? []).prefix(count) {
            var moved = run
            moved.epoch += 1
            report(to, started: [WorkflowReport.Started(key: key, run: moved)])
            report(from, ended: [WorkflowReport.Ended(key: key, runID: run.runID)])
        }
    }

    private mutating func report(
        _ id: ClusterID, started: [WorkflowReport.Started] = [], ended: [WorkflowReport.Ended] = []
    ) {
        var report = ManagementBench.report(of: id, state)
        (report.started, report.ended) = (started, ended)
        _ = state.take(report, time: now)
    }
}

struct RebalanceError: Error {}

/// Cluster ids from a seed.
private final class IDs {
    var random: SeededGenerator
    init(_ random: SeededGenerator) { self.random = random }
    func next() -> ClusterID { ClusterID(high: random.next(), low: random.next()) }
}

extension ManagementBench {
    /// An empty report that follows on what was heard.
    static func report(of id: ClusterID, _ state: ManagementState) -> WorkflowReport {
        let after = state.clusters[id]?.reportedThrough ?? .zero
        return WorkflowReport(cluster: id, after: after, through: after.next)
    }
}
