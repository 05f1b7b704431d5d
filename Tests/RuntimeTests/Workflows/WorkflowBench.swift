import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// Applies commands and remembers them.
struct Bench {
    var machine = WorkflowStateMachine()
    var log: [(Command, Int64)] = []
    var time: Int64 = 1000

    @discardableResult
    mutating func apply(_ operations: [WorkflowOperation], epoch: UInt64 = 0) throws
        -> WorkflowAnswer
    {
        let request = RequestID(
            client: RequestID.Client(replica: ReplicaID(NodeID(1).rawValue), boot: 1), sequence: UInt64(log.count),
            acknowledgedBelow: 0)
        let command = Command(
            kind: .workflow, request: request, timestamp: time, ownerEpoch: epoch,
            operations: operations.map(\.encoded))
        log.append((command, time))
        let answer = try machine.apply(command, at: LogIndex(UInt64(log.count)), time: time)
        return try WorkflowAnswer(answer)
    }

    static let type = WorkflowType("w", version: 1)

    static func start(
        _ id: String, _ type: WorkflowType = type, run: UInt64 = 1, input: String = "1"
    ) -> WorkflowOperation {
        .startRun(
            WorkflowOperation.StartRun(
                workflowID: id, runID: RunID(high: 7, low: run), type: type,
                input: Array(input.utf8),
                contentType: "application/json"))
    }

    static func register(_ node: UInt64, boot: UInt64 = 1, _ types: [WorkflowType] = [type])
        -> WorkflowOperation
    {
        .registerExecutor(node: NodeID(node), boot: boot, capabilities: types)
    }

    static func address(_ id: String, run: UInt64 = 1) -> RunAddress {
        RunAddress(workflowID: id, runID: RunID(high: 7, low: run))
    }
}

extension WorkflowAnswer {
    var refusal: WorkflowRefusal? {
        if case .refused(let refusal, _) = self { refusal } else { nil }
    }
    var result: OperationResult? {
        if case .applied(let results) = self { results.first } else { nil }
    }
}

extension WorkflowState {
    /// What is kept beside the runs must follow from them.
    func check() -> String? {
        var (owned, parked, counts): ([NodeID: Set<UInt64>], Set<UInt64>, [WorkflowStatus: Int]) = (
            [:], [], [:]
        )
        var finished: Set<FinishPosition> = []
        for (key, run) in runs.inStartOrder() {
            if let position = FinishPosition(run) { finished.insert(position) }
            if startOrder[run.sequence] != key {
                return "\(key) is not at its place in the order"
            }
            counts[run.status, default: 0] += 1
            switch run.status {
            case .running:
                guard let owner = run.owner, let executor = executors[owner] else {
                    return "\(key) has no owner"
                }
                guard executor.isAlive, executor.capabilities.contains(run.type) else {
                    return "\(key) belongs to \(owner), which cannot run it"
                }
                owned[owner, default: []].insert(run.sequence)
            case .parked:
                if executors.map(\.value).contains(where: {
                    $0.isAlive && $0.capabilities.contains(run.type)
                }) {
                    return "\(key) is parked, and a live node has its type"
                }
                parked.insert(run.sequence)
            case .paused: if run.owner != nil { return "\(key) is paused, and has an owner" }
            case .completed, .failed, .terminated, .cancelled, .continued:
                if run.finishedAt == nil { return "\(key) ended at no time" }
            }
        }
        let order = self.finished.elements.map(\.key)
        if Set(order) != finished || order != order.sorted() { return "the order of the ends differs" }
        if owned != self.owned.filter({ !$0.value.isEmpty }) { return "the owned runs differ" }
        if parked != self.parked { return "the parked runs differ" }
        var unfinished: [WorkflowType: [WorkflowStatus: Int]] = [:]
        for (_, run) in runs.inStartOrder() where !run.status.isFinished {
            unfinished[run.type, default: [:]][run.status, default: 0] += 1
        }
        let known = unfinishedCounts.mapValues { $0.filter { $0.value != 0 } }.filter { !$0.value.isEmpty }
        if unfinished != known { return "the counts of unfinished runs differ" }
        if counts != self.counts.filter({ $0.value != 0 }) { return "the counts differ" }
        return startOrder.count == runs.count
            ? nil : "the order has \(startOrder.count) runs, the state \(runs.count)"
    }
}
