package import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// The execution clusters that have a replica on this node. Each is one child task of the node's run, which owns a task
/// group of its own: when the replica leaves, all that is in it is cancelled, and the child ends when nothing is left.
/// One that has nothing to do is that one task, which waits.
package final class ExecutionClusters: Sendable {
    private struct Cluster {
        let replica: ReplicaIdentity
        /// Also of a replica that has stopped: it says so.
        var engine: WorkflowEngine?
    }

    private struct State {
        /// Replicas that were taken up, and have not left.
        var clusters: [GroupID: Cluster] = [:]
        var waiters: [GroupID: [Completion<WorkflowEngine>]] = [:]
        var failure: NodeError?
    }

    private let state = Lock(State())
    private let hosted: HostedGroups
    private let makeEngine: @Sendable (RaftGroup) throws -> WorkflowEngine
    private let logger: FlotillaLogger
    private let didChange: Signal

    /// - Parameters:
    ///   - boot: of the node.
    ///   - random: the source for run ids; any thread.
    ///   - didChange: rings when replicas have come or gone.
    package init(
        _ core: NodeCore, workflows: [any RegisterableWorkflow], checkpoints: CheckpointJournal, boot: UInt64,
        limits: WorkflowLimits, logger: FlotillaLogger, random: @escaping @Sendable () -> UInt64, didChange: Signal
    ) {
        hosted = core.hosted
        self.didChange = didChange
        self.logger = logger
        let definitions = Result { () throws(WorkflowError) in try WorkflowEngine.definitions(of: workflows) }
        makeEngine = { group in
            WorkflowEngine(
                client: group, group: group.identity.group, checkpoints: checkpoints, boot: boot,
                definitions: try definitions.get(), loop: core.loop, limits: limits, logger: logger, random: random)
        }
    }

    /// Runs what there is and what comes, until the task is cancelled or the node ends.
    package func run() async {
        await withDiscardingTaskGroup { clusters in
            for await _ in hosted.changes {
                for group in takeUp(hosted.takeChanged()) { clusters.addTask { await self.run(group) } }
                didChange.ring()
            }
        }
    }

    /// - Parameter changed: groups that have come or gone.
    /// - Returns: those that are new.
    private func takeUp(_ changed: [GroupID]) -> [RaftGroup] {
        state.withLock { state in
            changed.compactMap { id in
                guard let group = hosted[id], group.identity.kind == .workflow else {
                    state.clusters[id] = nil
                    return nil
                }
                guard state.clusters[id]?.replica != group.identity else { return nil }
                state.clusters[id] = Cluster(replica: group.identity)
                return group
            }
        }
    }

    /// Ends with the group, or with the task.
    private func run(_ group: RaftGroup) async {
        do {
            let engine = try makeEngine(group)
            offer(engine, group.identity)
            await engine.run()
        } catch {
            logger.error("the workflows of \(group.identity.group) do not run here", ["error": "\(error)"])
        }
    }

    private func offer(_ engine: WorkflowEngine, _ replica: ReplicaIdentity) {
        let waiting = state.withLock { state in
            guard state.clusters[replica.group]?.replica == replica else { return [Completion<WorkflowEngine>]() }
            state.clusters[replica.group]?.engine = engine
            return state.waiters.removeValue(forKey: replica.group) ?? []
        }
        for waiter in waiting { waiter.finish(.success(engine)) }
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
