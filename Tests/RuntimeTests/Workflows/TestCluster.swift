import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// Several nodes, each with a state machine and an engine, that apply one list of commands.
final class TestCluster: Sendable {
    /// What happens to a proposal.
    enum Fault: Sendable {
        /// The node dies before the command reaches anyone.
        case dieBefore
        /// The command is committed, and the node dies before it hears of it.
        case dieAfter
        case fail(GroupError)
        /// Committed, but the proposer is told that the outcome is unknown.
        case commitAndFail(GroupError)
    }

    private struct Shared {
        var log: [(command: Command, time: Int64)] = []
        var sequence: UInt64 = 0
        var nodes: [NodeID: TestNode] = [:]
        var fault: (@Sendable (NodeID, WorkflowOperation) -> Fault?)?
    }

    let clock = TestClock()
    private let shared = Lock(Shared())

    /// Adds a node and starts its engine, with the same data if it was there before.
    @discardableResult
    func start(
        _ id: UInt64, boot: UInt64 = 1, _ workflows: [any RegisterableWorkflow],
        limits: WorkflowLimits = WorkflowLimits(), codec: PayloadCoding = .json, logger: FlotillaLogger = .silent
    ) throws -> TestNode {
        let node = try TestNode(
            NodeID(id), boot: boot, cluster: self, workflows: workflows, limits: limits,
            codec: codec, logger: logger)
        shared.withLock { shared in
            shared.nodes[node.node] = node
            for (offset, entry) in shared.log.enumerated() {
                node.deliver(entry, at: offset + 1, answer: nil)
            }
        }
        node.begin()
        return node
    }

    func setFault(_ fault: (@Sendable (NodeID, WorkflowOperation) -> Fault?)?) {
        shared.withLock { $0.fault = fault }
    }

    /// The commands so far.
    var log: [(command: Command, time: Int64)] { shared.withLock { $0.log } }

    func submit(
        _ operations: [Operation], ownerEpoch: UInt64, from node: TestNode,
        answer: Promise<Result<Answer, GroupError>>
    ) {
        let fault = shared.withLock { $0.fault }
        let decoded = operations.first.flatMap { try? WorkflowOperation($0) }
        switch decoded.flatMap({ fault?(node.node, $0) }) {
        case .dieBefore: node.die()
        case .dieAfter:
            commit(operations, ownerEpoch: ownerEpoch, from: node, answer: nil)
            node.die()
        case .fail(let error): answer.fulfill(.failure(error))
        case .commitAndFail(let error):
            commit(operations, ownerEpoch: ownerEpoch, from: node, answer: nil)
            answer.fulfill(.failure(error))
        case nil: commit(operations, ownerEpoch: ownerEpoch, from: node, answer: answer)
        }
    }

    private func commit(
        _ operations: [Operation], ownerEpoch: UInt64, from node: TestNode,
        answer: Promise<Result<Answer, GroupError>>?
    ) {
        shared.withLock { shared in
            guard node.isConnected else { return }
            shared.sequence += 1
            let request = RequestID(
                client: RequestID.Client(replica: ReplicaID(node.node.rawValue), boot: node.boot),
                sequence: shared.sequence,
                acknowledgedBelow: 0)
            let stamp = clock.wallNow.nanoseconds
            let command = Command(
                kind: .workflow, request: request, timestamp: stamp, ownerEpoch: ownerEpoch,
                operations: operations)
            let entry = (command, max(stamp, shared.log.last?.time ?? 0))
            shared.log.append(entry)
            for other in shared.nodes.values where other.isConnected {
                other.deliver(entry, at: shared.log.count, answer: other === node ? answer : nil)
            }
        }
    }

    /// Takes a node off the network without its noticing.
    func cutOff(_ node: TestNode) { shared.withLock { _ in node.setConnected(false) } }

    /// Lets a node catch up.
    func reconnect(_ node: TestNode) {
        shared.withLock { shared in
            node.setConnected(true)
            for (offset, entry) in shared.log.enumerated() where offset >= node.deliveredCount {
                node.deliver(entry, at: offset + 1, answer: nil)
            }
        }
    }

    /// Lets a node catch up by another's snapshot.
    func reconnectBySnapshot(_ node: TestNode, from source: TestNode) async throws {
        // The count goes with the snapshot: what is committed later reaches the loop later.
        let taken = Promise<(bytes: [UInt8], count: Int)>()
        shared.withLock { shared in
            let count = shared.log.count
            source.loop.execute { taken.fulfill((source.snapshot(), count)) }
        }
        let (bytes, count) = try await taken.wait()
        try node.complete(bytes, from: source)
        shared.withLock { shared in
            node.restore(bytes)
            node.setConnected(true)
            for (offset, entry) in shared.log.enumerated() where offset >= count {
                node.deliver(entry, at: offset + 1, answer: nil)
            }
        }
    }

    /// What a failure detector on another node does.
    func lose(_ lost: TestNode, noticedBy node: TestNode) async throws {
        let id = lost.node
        let registration = try await node.withMachine { machine in
            machine.executors.first { $0.node == id }?.registration ?? 0
        }
        _ = try await node.propose(
            [WorkflowOperations.loseExecutor(id, registration: registration)], ownerEpoch: 0)
    }

    /// Ends everything, and waits for it.
    func shutDown() async {
        for node in shared.withLock({ Array($0.nodes.values) }) { await node.stop() }
        // They hold the cluster, and a fault may hold anything.
        shared.withLock { shared in
            shared.nodes = [:]
            shared.fault = nil
        }
    }
}

/// Runs a test on a cluster and leaves nothing behind.
func withCluster<Result>(_ body: (TestCluster) async throws -> Result) async throws -> Result {
    let cluster = TestCluster()
    do {
        let result = try await body(cluster)
        await cluster.shutDown()
        return result
    } catch {
        await cluster.shutDown()
        throw error
    }
}

/// A node of a test cluster, and its group's client.
///
/// `@unchecked Sendable`: `machine` and `watchers` are touched on the loop only.
final class TestNode: GroupClient, @unchecked Sendable {
    private struct Shared {
        var isConnected = true
        var deliveredCount = 0
        var task: Task<Void, Never>?
    }

    let node: NodeID
    let boot: UInt64
    let loop: TestLoop
    let died = Promise<Void>()
    private let cluster: TestCluster
    let checkpoints: CheckpointJournal
    private let machine: WorkflowStateMachine
    private var watchers: [(@Sendable (WorkflowStateMachine) -> Bool, Promise<Void>)] = []
    private let shared = Lock(Shared())
    private let lateEngine = Lock<WorkflowEngine?>(nil)

    init(
        _ node: NodeID, boot: UInt64, cluster: TestCluster, workflows: [any RegisterableWorkflow],
        limits: WorkflowLimits, codec: PayloadCoding, logger: FlotillaLogger
    ) throws {
        self.node = node
        self.boot = boot
        self.cluster = cluster
        loop = TestLoop(clock: cluster.clock)
        checkpoints = .inMemory(loop: loop)
        machine = WorkflowStateMachine(group: .underTest, checkpoints: checkpoints)
        let context = EngineContext(
            boot: boot, definitions: try WorkflowEngine.definitions(of: workflows), checkpoints: checkpoints,
            loop: loop, limits: limits, codec: codec, logger: logger)
        let engine = WorkflowEngine(client: self, group: .underTest, context: context)
        lateEngine.withLock { $0 = engine }
    }

    var engine: WorkflowEngine {
        guard let engine = lateEngine.withLock({ $0 }) else {
            preconditionFailure("the node has been stopped")
        }
        return engine
    }

    var isConnected: Bool { shared.withLock { $0.isConnected } }
    var deliveredCount: Int { shared.withLock { $0.deliveredCount } }
    func setConnected(_ isConnected: Bool) { shared.withLock { $0.isConnected = isConnected } }

    func begin() {
        let engine = engine
        engine.ring()
        shared.withLock { $0.task = Task { await engine.environment.context.serve { _ in engine } } }
    }

    /// As kill -9: nothing that it does from here on is seen by anyone.
    func die() {
        shared.withLock { shared in
            shared.isConnected = false
            shared.task?.cancel()
        }
        died.fulfill(())
    }

    /// Waits for the engine's end, then ends the loop.
    func stop() async {
        let task = shared.withLock { $0.task }
        task?.cancel()
        await task?.value
        let engine = lateEngine.withLock { engine in
            defer { engine = nil }
            return engine
        }
        engine?.end()
        loop.stop()
    }

    /// Waits until the engine has ended.
    func engineEnded() async {
        while !engine.hasEnded { await Task.yield() }
        let task = shared.withLock { $0.task }
        task?.cancel()
        await task?.value
    }

    func deliver(
        _ entry: (command: Command, time: Int64), at index: Int,
        answer: Promise<Result<Answer, GroupError>>?
    ) {
        shared.withLock { $0.deliveredCount = index }
        loop.execute { [self] in
            do {
                let result = try machine.apply(
                    entry.command, at: LogIndex(UInt64(index)), time: entry.time)
                machine.didApplyBatch()
                answer?.fulfill(.success(result))
            } catch {
                Issue.record("\(node) cannot apply entry \(index): \(error)")
                answer?.fulfill(.failure(GroupError(.stopped, "\(error)")))
            }
            let ready = watchers.filter { $0.0(machine) }
            watchers.removeAll { watcher in ready.contains { $0.1.id == watcher.1.id } }
            for (_, promise) in ready { promise.fulfill(()) }
        }
    }

    /// Loop only.
    func snapshot() -> [UInt8] { machine.snapshotView().serialize() }

    /// Asks another node for what belongs to a snapshot, as a group does.
    func complete(_ bytes: [UInt8], from source: TestNode) throws {
        let (here, there) = (CheckpointCompanion(group: .underTest, journal: checkpoints), source.checkpoints)
        let answering = CheckpointCompanion(group: .underTest, journal: there)
        while let question = try here.question(for: bytes, formatVersion: WorkflowStateMachine.formatVersion) {
            try here.take(try answering.answer(to: question))
        }
    }

    func restore(_ bytes: [UInt8]) {
        loop.execute { [self] in
            do {
                try machine.restore(bytes, formatVersion: WorkflowStateMachine.formatVersion)
                machine.didApplyBatch()
            } catch {
                Issue.record("\(node) cannot restore: \(error)")
            }
        }
    }

    /// Waits until this node's state is as `condition` wants it.
    func until(_ condition: @escaping @Sendable (WorkflowStateMachine) -> Bool) async throws {
        let promise = Promise<Void>()
        loop.execute { [self] in
            if condition(machine) {
                promise.fulfill(())
            } else {
                watchers.append((condition, promise))
            }
        }
        try await promise.wait()
    }

    func withMachine<Result: Sendable>(
        _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result {
        let promise = Promise<Result>()
        loop.execute { [self] in promise.fulfill(body(machine)) }
        return try await promise.wait()
    }

    // MARK: GroupClient

    func propose(_ operations: [Operation], ownerEpoch: UInt64) async throws -> Answer {
        let answer = Promise<Result<Answer, GroupError>>()
        cluster.submit(operations, ownerEpoch: ownerEpoch, from: self, answer: answer)
        return try await answer.wait().get()
    }

    func barrier() async throws { _ = try await withMachine { _ in } }

    func withState<Result: Sendable>(
        _ body: @escaping @Sendable (any StateMachine) -> Result
    ) async throws -> Result {
        try await withMachine { body($0) }
    }
}

extension WorkflowStateMachine {
    /// A run of the default namespace.
    func run(_ id: String) -> Run? { state.runs[RunKey("default", id)] }
}

/// What happened outside the cluster.
final class Ledger: Sendable {
    struct Effect: Hashable, Sendable {
        var name: String
        var key: String
        var token: UInt64
    }
    private let entries = Lock<[Effect]>([])
    func append(_ name: String, _ step: StepContext) {
        entries.withLock {
            $0.append(Effect(name: name, key: step.idempotencyKey, token: step.fencingToken))
        }
    }
    var effects: [Effect] { entries.withLock { $0 } }
    func count(of name: String) -> Int { effects.count { $0.name == name } }
}

/// A wait that ignores cancellation, for one task.
final class Gate: Sendable {
    private let state = Lock<(isOpen: Bool, waiter: CheckedContinuation<Void, Never>?)>(
        (false, nil))

    func open() {
        let waiter = state.withLock { state in
            state.isOpen = true
            return state.waiter
        }
        waiter?.resume()
    }

    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiter = continuation }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}
