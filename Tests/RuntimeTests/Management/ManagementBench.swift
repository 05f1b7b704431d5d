import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// Applies management commands as the log would, by number.
struct ManagementBench {
    let machine = ManagementStateMachine(agreedLevel: FeatureLevel()) { _, _ in }
    var log: [(Command, Int64)] = []
    var time: Int64 = 1_000

    var state: ManagementState { machine.state }

    /// - Returns: why it was refused; nil if it was applied.
    @discardableResult
    mutating func apply(_ operations: ManagementOperation...) throws -> ManagementStateMachine.Refusal? {
        try apply(operations)
    }

    @discardableResult
    mutating func apply(_ operations: [ManagementOperation]) throws -> ManagementStateMachine.Refusal? {
        let request = RequestID(
            client: RequestID.Client(replica: ReplicaID(1), boot: 1), sequence: UInt64(log.count), acknowledgedBelow: 0)
        let command = Command(
            kind: .management, request: request, timestamp: time, operations: operations.map(\.encoded))
        log.append((command, time))
        let answer = try machine.apply(command, at: LogIndex(UInt64(log.count)), time: time)
        guard answer.code != 0 else { return nil }
        #expect(!answer.body.isEmpty, "a refusal has words")
        #expect(ManagementStateMachine.Refusal(rawValue: answer.code) != nil, "code \(answer.code)")
        return ManagementStateMachine.Refusal(rawValue: answer.code)
    }

    /// A bench with so many nodes.
    init(nodes: UInt64 = 0) throws {
        for node in 0..<nodes { try apply(.registerNode(Self.node(node + 1))) }
    }

    static func node(_ id: UInt64, instance: UInt64 = 1, labels: [NodeLabel] = []) -> ManagementStateMachine.Node {
        ManagementStateMachine.Node(
            node: NodeID(id), instance: instance, address: "host-\(id):1", httpAddress: "", featureLevel: 1,
            joinedAt: 0, labels: labels)
    }

    static func cluster(_ number: UInt64) -> ClusterID { ClusterID(high: 1, low: number) }

    static func create(_ number: UInt64, _ nodes: [UInt64], pinned: ByteText? = nil) -> ManagementOperation {
        .createCluster(
            ClusterCreation(cluster: cluster(number), founders: nodes.map(NodeID.init), pinnedType: pinned))
    }

    static func started(
        _ id: String, run: UInt64 = 1, type: String = "w", epoch: UInt64 = 1, at: Int64 = 0
    ) -> WorkflowReport.Started {
        let located = LocatedRun(
            runID: RunID(high: 7, low: run), type: WorkflowType(type, version: 1), startedAt: at, epoch: epoch)
        return WorkflowReport.Started(key: RunKey("default", id), run: located)
    }

    static func ended(_ id: String, run: UInt64 = 1) -> WorkflowReport.Ended {
        WorkflowReport.Ended(key: RunKey("default", id), runID: RunID(high: 7, low: run))
    }

    /// The next report of a cluster.
    func report(
        _ number: UInt64, started: [WorkflowReport.Started] = [], ended: [WorkflowReport.Ended] = []
    ) -> WorkflowReport {
        var report = Self.report(of: Self.cluster(number), state)
        (report.started, report.ended) = (started, ended)
        return report
    }

    func located(_ id: String) -> ClusterID? { state.locations[RunKey("default", id)] }
}
