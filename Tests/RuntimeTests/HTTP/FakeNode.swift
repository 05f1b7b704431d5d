import FlotillaIO
import FlotillaRaft

@testable import Flotilla

/// A node that answers what the test says.
final class FakeNode: NodeOperations {
    struct Answers: Sendable {
        var start: Result<Bool, any Error> = .success(true)
        var run: WorkflowDescription?
        var isReady = true
        var removal: Result<Void, any Error> = .success(())
        var pruning: Result<Int, any Error> = .success(3)
        /// What becomes of anything that is asked of the fleet.
        var change: Result<Void, any Error> = .success(())
    }
    struct Calls: Sendable {
        var starts: [(type: String, version: UInt32?, id: String?, namespace: String, input: JSONValue)] =
            []
        var attributes: [[String: String]] = []
        var traces: [TraceContext?] = []
        var forks: [String] = []
        var streams: [String] = []
        var counts: [WorkflowFilter] = []
        var lists: [(namespace: String, filter: WorkflowFilter, after: String?, limit: Int)] = []
        var waits: [Duration] = []
        var hashes: [Bool] = []
        var removed: [NodeID] = []
        var controls: [(id: String, action: WorkflowAction, reason: String)] = []
        var pruned: [String] = []
        var messages: [String] = []
        var prunings: [(namespace: String, retention: WorkflowRetention, limit: Int)] = []
        var histories: [(after: String?, limit: Int, withValues: Bool)] = []
        var ids: [String] = []
        /// What was asked of the fleet, one after the other.
        var changes: [String] = []
    }
    let answers: Answers
    let calls = Lock(Calls())
    let id = NodeID(7)

    init(_ answers: Answers = Answers()) { self.answers = answers }

    static func run(status: WorkflowStatus = .completed) -> WorkflowDescription {
        WorkflowDescription(testRun(status: status), key: RunKey("default", "order-17"))
    }

    private static func testRun(status: WorkflowStatus) -> Run {
        let type = WorkflowType("order_processing", version: 1)
        var run = Run(
            sequence: 0, runID: RunID(high: 1, low: 2), type: type, contentType: "application/json",
            input: Array("{\"order\":\"a\"}".utf8), startedAt: 1_000_000, status: status,
            owner: NodeID(2))
        run.steps.insert(
            Run.Step(
                value: Array("{\"charge\":5}".utf8), epoch: 3, recordedAt: 2_000_000, owner: NodeID(2),
                effort: StepEffort(attempt: 4, duration: 1_500_000)),
            for: StepKey("charge", 0))
        if status == .completed { run.output = Array("{\"total\":5}".utf8) }
        if status == .failed {
            run.failure = WorkflowFailure(type: "PaymentDeclined", message: "no money")
        }
        if status.isFinished { run.finishedAt = 3_000_000 }
        return run
    }

    func startWorkflow(
        type: String, version: UInt32?, id: String?, namespace: String, input: JSONValue, attributes: [String: String],
        trace: TraceContext?
    ) async throws -> (info: WorkflowInfo, isNew: Bool) {
        calls.withLock { $0.traces.append(trace) }
        calls.withLock { $0.starts.append((type, version, id, namespace, input)) }
        calls.withLock { $0.attributes.append(attributes) }
        return (Self.run(status: .running).info, try answers.start.get())
    }

    func describeWorkflow(_ id: String, namespace: String) async throws -> WorkflowDescription? {
        calls.withLock { $0.ids.append(id) }
        return answers.run
    }

    func listCheckpoints(
        _ key: String, of id: String, namespace: String, from start: UInt64, limit: Int
    ) async throws -> CheckpointPage? {
        guard answers.run != nil else { return nil }
        let numbers = start..<start + UInt64(limit)
        return CheckpointPage(
            checkpoints: numbers.map {
                .init(number: $0, value: Array("\"\(key) \($0)\"".utf8), recordedAt: 1_000_000)
            },
            next: numbers.upperBound)
    }

    func workflowHistory(
        of id: String, namespace: String, after: String?, limit: Int, withValues: Bool
    ) async throws -> WorkflowHistory? {
        calls.withLock { $0.histories.append((after, limit, withValues)) }
        guard answers.run != nil else { return nil }
        guard after != "nonsense" else { throw WorkflowError(.invalidPage, "nonsense is no place") }
        var run = Self.testRun(status: .completed)
        run.timers.insert(Run.Timer(deadline: 9_000_000, startedAt: 2_000_000), for: StepKey("pause", 1))
        let reader = HistoryReader(
            run: run, owner: CheckpointRun(group: .underTest, run: RunKey("default", id), runID: run.runID),
            after: nil, limit: limit)
        let (events, next) = try reader.page(nil, withValues: withValues)
        return WorkflowHistory(
            run, key: RunKey("default", id), withValues: withValues, events: events, next: next?.token)
    }

    func controlWorkflow(
        _ id: String, namespace: String, _ action: WorkflowAction, reason: String
    ) async throws -> WorkflowInfo {
        calls.withLock { $0.controls.append((id, action, reason)) }
        guard id != "ended" else { throw WorkflowError(.wrongState, "it has ended") }
        return Self.run(status: .paused).info
    }

    func signalWorkflow(
        _ id: String, namespace: String, name: String, value: JSONValue, from sender: (name: String, number: UInt64)?
    ) async throws {
        if name == "full" { throw WorkflowError(.mailboxFull, "too many wait") }
        calls.withLock {
            $0.messages.append("signal \(id) \(name) \(value.cell) \(sender?.name ?? "-") \(sender?.number ?? 0)")
        }
    }

    func updateWorkflow(
        _ id: String, namespace: String, name: String, input: JSONValue, updateID: String?, wait: Duration
    ) async throws -> (id: String, outcome: UpdateOutcome?) {
        calls.withLock { $0.messages.append("update \(id) \(name) \(input.cell) \(updateID ?? "-") \(wait)") }
        switch name {
        case "slow": return ("u", nil)
        case "no": return ("u", .rejected(WorkflowFailure(type: "T", message: "not that")))
        default: return ("u", .replied(Array("[5]".utf8)))
        }
    }

    func queryWorkflow(_ id: String, namespace: String, name: String, input: JSONValue) async throws -> [UInt8] {
        if name == "unknown" { throw WorkflowError(.unknownQuery, "no answer") }
        return Array("[\"\(name)\",\(input.cell)]".utf8)
    }

    func completeAwakeable(_ token: String, value: JSONValue?, reason: String) async throws {
        if token == "awk_done" { throw WorkflowError(.alreadyCompleted, "done otherwise") }
        calls.withLock { $0.messages.append("awakeable \(token) \(value?.cell ?? "-") \(reason)") }
    }

    func streamWorkflow(
        _ id: String, namespace: String, stream: String, after: String?, limit: Int, wait: Duration
    ) async throws -> WorkflowStreamPage? {
        calls.withLock { $0.streams.append("\(stream) \(after ?? "-")") }
        guard let place = after.flatMap({ StreamPosition($0) }), place.number < 9 else {
            return WorkflowStreamPage(events: [], next: after, hasEnded: true)
        }
        let next = StreamPosition(execution: place.execution, number: place.number + 1).text
        let event = WorkflowStreamPage.Event(position: next, recordedAt: 1_000_000, value: [UInt8(ascii: "7")])
        return WorkflowStreamPage(events: [event], next: next, hasEnded: false)
    }

    func callObject(
        _ object: String, _ key: String, _ method: String, input: JSONValue, callID: String?, wait: Duration
    ) async throws -> (id: String, answer: ObjectCall.Answer?) { (callID ?? "-", nil) }

    func objectState(_ object: String, _ key: String) async throws -> JSONValue? { nil }

    func forkWorkflow(
        _ id: String, namespace: String, from step: String, occurrence: UInt64, newID: String?
    ) async throws -> (info: WorkflowInfo, isNew: Bool) {
        calls.withLock { $0.forks.append("\(id) \(step) \(occurrence) \(newID ?? "-")") }
        return (Self.run(status: .running).info, try answers.start.get())
    }

    func pruneWorkflow(_ id: String, namespace: String) async throws {
        calls.withLock { $0.pruned.append(id) }
        _ = try answers.pruning.get()
    }

    func pruneWorkflows(
        namespace: String, keeping retention: WorkflowRetention, limit: Int
    ) async throws -> (count: Int, hasMore: Bool) {
        calls.withLock { $0.prunings.append((namespace, retention, limit)) }
        return (try answers.pruning.get(), true)
    }

    func awaitWorkflow(_ id: String, namespace: String, wait: Duration) async throws
        -> WorkflowDescription?
    {
        calls.withLock { $0.waits.append(wait) }
        return answers.run
    }

    func listWorkflows(
        namespace: String, _ filter: WorkflowFilter, after: String?, limit: Int
    ) async throws -> WorkflowPage {
        calls.withLock { $0.lists.append((namespace, filter, after, limit)) }
        return WorkflowPage(runs: [Self.run().info], next: "order-17")
    }

    func countWorkflows(namespace: String, _ filter: WorkflowFilter) async throws -> WorkflowCount {
        calls.withLock { $0.counts.append(filter) }
        return WorkflowCount(byStatus: [.running: 3, .failed: 1], asOf: 1_000_000)
    }

    func createSchedule(_ name: String, _ schedule: Schedule, isPaused: Bool) async throws -> ScheduleDescription {
        try schedule.check(at: 0)
        calls.withLock { $0.changes.append("create \(name) \(schedule.workflow) \(isPaused)") }
        return ScheduleState(name: name, schedule: schedule, anchor: 0, last: 0, isPaused: isPaused).description
    }

    func schedule(_ name: String) async throws -> ScheduleDescription {
        guard name == "nightly" else { throw WorkflowError(.notFound, "there is no schedule '\(name)'") }
        return ScheduleState(name: name, schedule: Schedule("t", cron: "@daily"), anchor: 0, last: 0).description
    }

    func schedules() async throws -> [ScheduleDescription] { [try await schedule("nightly")] }

    func changeSchedule(_ name: String, _ command: ScheduleCommand) async throws -> ScheduleDescription {
        calls.withLock { $0.changes.append("\(name) \(command)") }
        return try await schedule(name)
    }

    func deleteSchedule(_ name: String) async throws { calls.withLock { $0.changes.append("delete \(name)") } }

    func workflowVersions() async throws -> WorkflowVersions {
        WorkflowVersions(versions: [
            WorkflowVersion(type: "w", version: 2, nodes: [NodeID(1), NodeID(3)], running: 4, parked: 0, paused: 1)
        ])
    }

    func status(withHashes: Bool) async throws -> NodeStatus {
        calls.withLock { $0.hashes.append(withHashes) }
        let group = NodeStatus.Group(
            group: 2, kind: "workflow", replica: 3, role: "leader", term: 4, leader: 7,
            commitIndex: 11,
            appliedIndex: 10, lastIndex: 12, quiet: false, voters: [7, 8, 9], learners: [],
            stateHash: withHashes ? "beef" : nil)
        return NodeStatus(
            node: 7, cluster: "c0ffee", boot: 1, featureLevel: 1, ready: answers.isReady,
            nodes: [.init(id: 7, address: "127.0.0.1:7001", http: "127.0.0.1:8001")],
            groups: [group],
            workflows: .init(running: 2, completed: 5, owned: 1))
    }

    func counters() async throws -> [NodeCounter] { [NodeCounter(name: "log_writes", help: "Writes.", value: 12)] }

    func figures() async throws -> FleetFigures {
        var figures = FleetFigures(
            node: id, memberships: 3, messagesReceived: 7, messagesSent: 9, workflows: 12, utilisation: 0.25)
        for number in 0..<(FleetFigures.clusterLimit + 50) {
            figures.add(
                FleetFigures.Cluster(
                    id: "cluster-\(number)", workflows: number, checkpoints: 4, quorumRounds: 2,
                    quorumTime: .milliseconds(3)))
        }
        return figures
    }

    func removeNode(_ id: NodeID) async throws {
        calls.withLock { $0.removed.append(id) }
        try answers.removal.get()
    }
}
