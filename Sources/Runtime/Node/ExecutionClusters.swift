package import FlotillaActors
import FlotillaIO
package import FlotillaRaft

/// The execution clusters that have a replica on this node. One that has something to do is a child task of the node's run,
/// which owns a task group of its own: when the replica leaves, all that is in it is cancelled, and the child ends when
/// nothing is left. One that has nothing to do has no task.
package final class ExecutionClusters: Sendable {
    private struct Cluster {
        let replica: ReplicaIdentity
        /// Also of a replica that has stopped: it says so.
        let engine: WorkflowEngine
    }

    private struct State {
        /// Replicas that were taken up, and have not left.
        var clusters: [GroupID: Cluster] = [:]
        var waiters: [GroupID: [Completion<WorkflowEngine>]] = [:]
        var failure: NodeError?
    }

    private let state = Lock(State())
    private let hosted: HostedGroups
    private let context: EngineContext
    private let didChange: @Sendable ([GroupID]) -> Void

    /// - Parameters:
    ///   - boot: of the node.
    ///   - random: the source for run ids; any thread.
    ///   - newestVersion: see `EngineContext`.
    ///   - didChange: called with the groups of replicas that have come or gone.
    /// - Throws: `WorkflowError` with `duplicateWorkflow`.
    package init(
        _ core: NodeCore, workflows: [any RegisterableWorkflow], checkpoints: CheckpointJournal, boot: UInt64,
        limits: WorkflowLimits, codec: PayloadCoding = .json, gate: AdmissionGate = AdmissionGate(),
        spans: (any SpanSink)? = nil, logger: FlotillaLogger, random: @escaping @Sendable () -> UInt64,
        newestVersion: @escaping @Sendable (_ type: String) -> UInt32? = { _ in nil },
        didChange: @escaping @Sendable ([GroupID]) -> Void
    ) throws(WorkflowError) {
        hosted = core.hosted
        self.didChange = didChange
        context = EngineContext(
            boot: boot, definitions: try WorkflowEngine.definitions(of: workflows), checkpoints: checkpoints,
            loop: core.loop, limits: limits, codec: codec, gate: gate, spans: spans, logger: logger, random: random,
            newestVersion: newestVersion)
    }

    /// How runs of this node reach durable objects.
    var objects: ObjectCaller { context.objects }

    /// Runs what there is and what comes, until the task is cancelled or the node ends.
    package func run() async {
        await withDiscardingTaskGroup { tasks in
            tasks.addTask { [self] in await context.serve { group in state.withLock { $0.clusters[group]?.engine } } }
            for await _ in hosted.changes {
                let changed = hosted.takeChanged()
                follow(changed)
                didChange(changed)
            }
            tasks.cancelAll()
        }
        for cluster in state.withLock({ $0.clusters }).sorted(by: { $0.key < $1.key }) { cluster.value.engine.end() }
    }

    /// - Parameter changed: groups that have come or gone.
    private func follow(_ changed: [GroupID]) {
        for id in changed {
            let group = hosted[id].flatMap { $0.identity.kind == .workflow ? $0 : nil }
            let (left, engine, waiting) = state.withLock { state in
                let known = state.clusters[id]
                if let group, known?.replica == group.identity {
                    return (WorkflowEngine?.none, WorkflowEngine?.none, [Completion<WorkflowEngine>]())
                }
                let engine = group.map { WorkflowEngine(client: $0, group: id, context: context) }
                state.clusters[id] = group.flatMap { group in
                    engine.map { Cluster(replica: group.identity, engine: $0) }
                }
                return (known?.engine, engine, engine == nil ? [] : state.waiters.removeValue(forKey: id) ?? [])
            }
            left?.end()
            guard let engine else { continue }
            // It has to register this node.
            engine.ring()
            for waiter in waiting { waiter.finish(.success(engine)) }
        }
    }

    /// Waits until the cluster runs here.
    func engine(of group: GroupID) async throws -> WorkflowEngine {
        let completion = Completion<WorkflowEngine>()
        let known: Result<WorkflowEngine, any Error>? = state.withLock { state in
            if let failure = state.failure { return .failure(failure) }
            if let engine = state.clusters[group]?.engine { return .success(engine) }
            var waiting = state.waiters[group] ?? []
            waiting.removeAll { $0.isFinished }
            state.waiters[group] = waiting + [completion]
            return nil
        }
        if let known { return try known.get() }
        return try await completion.wait()
    }

    /// The engine of a cluster that runs here; nil where none does.
    func runningEngine(of group: GroupID) throws -> WorkflowEngine? {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            return state.clusters[group]?.engine
        }
    }

    /// Why nobody gets an engine any more; nil while the node runs.
    var failure: NodeError? { state.withLock { $0.failure } }

    /// Nobody gets an engine any more.
    func close(_ failure: NodeError) {
        let waiting = state.withLock { state in
            state.failure = failure
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiting.sorted(by: { $0.key < $1.key }).flatMap(\.value) { waiter.finish(.failure(failure)) }
    }
}
