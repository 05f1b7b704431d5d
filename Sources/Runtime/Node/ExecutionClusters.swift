import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// The execution clusters that have a replica on this node. Each is one child task of the node's run, which owns a task
/// group of its own: when the replica leaves, all that is in it is cancelled, and the child ends when nothing is left.
final class ExecutionClusters: Sendable {
    private struct State {
        /// Replicas that were taken up, and have not left.
        var known: Set<ReplicaIdentity> = []
        /// Also of replicas that have stopped: they say so.
        var engines: [ReplicaIdentity: WorkflowEngine] = [:]
        var waiters: [(group: GroupID, completion: Completion<WorkflowEngine>)] = []
        var failure: NodeError?
    }

    private let state = Lock(State())
    private let hosted: HostedGroups
    private let makeEngine: @Sendable (RaftGroup) throws -> WorkflowEngine
    private let logger: FlotillaLogger
    /// Rings when replicas have come or gone.
    private let didChange: Signal

    init(
        _ hosted: HostedGroups, logger: FlotillaLogger, didChange: Signal,
        makeEngine: @escaping @Sendable (RaftGroup) throws -> WorkflowEngine
    ) {
        self.hosted = hosted
        self.logger = logger
        self.didChange = didChange
        self.makeEngine = makeEngine
    }

    /// Runs what there is and what comes, until the task is cancelled or the node ends.
    func run() async {
        await withDiscardingTaskGroup { clusters in
            for await _ in hosted.changes {
                let groups = hosted.all.filter { $0.identity.kind == .workflow }
                for group in takeUp(groups) { clusters.addTask { await self.run(group) } }
                didChange.ring()
            }
        }
    }

    /// - Returns: those that are new.
    private func takeUp(_ groups: [RaftGroup]) -> [RaftGroup] {
        state.withLock { state in
            let present = Set(groups.map(\.identity))
            state.engines = state.engines.filter { present.contains($0.key) }
            defer { state.known = present }
            return groups.filter { !state.known.contains($0.identity) }
        }
    }

    private func run(_ group: RaftGroup) async {
        let identity = group.identity
        do {
            let engine = try makeEngine(group)
            offer(engine, identity)
            await withDiscardingTaskGroup { tasks in
                tasks.addTask { await engine.run() }
                await group.untilStopped()
                tasks.cancelAll()
            }
        } catch {
            logger.error("the workflows of \(identity.group) do not run here", ["error": "\(error)"])
        }
    }

    private func offer(_ engine: WorkflowEngine, _ identity: ReplicaIdentity) {
        let waiting = state.withLock { state in
            if state.known.contains(identity) { state.engines[identity] = engine }
            defer { state.waiters.removeAll { $0.group == identity.group } }
            return state.waiters.filter { $0.group == identity.group }
        }
        for waiter in waiting { waiter.completion.finish(.success(engine)) }
    }

    /// Waits until the cluster runs here.
    func engine(of group: GroupID) async throws -> WorkflowEngine {
        let completion = Completion<WorkflowEngine>()
        let known: Result<WorkflowEngine, any Error>? = state.withLock { state in
            if let failure = state.failure { return .failure(failure) }
            if let engine = state.engines.first(where: { $0.key.group == group })?.value { return .success(engine) }
            state.waiters.removeAll { $0.completion.isFinished }
            state.waiters.append((group, completion))
            return nil
        }
        if let known { return try known.get() }
        return try await completion.wait()
    }

    /// The engine of a cluster that runs here; nil where none does.
    func runningEngine(of group: GroupID) throws -> WorkflowEngine? {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            return state.engines.first { $0.key.group == group }?.value
        }
    }

    /// Why nobody gets an engine any more; nil while the node runs.
    var failure: NodeError? { state.withLock { $0.failure } }

    /// Nobody gets an engine any more.
    func close(_ failure: NodeError) {
        let waiting = state.withLock { state in
            state.failure = failure
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiting { waiter.completion.finish(.failure(failure)) }
    }
}
