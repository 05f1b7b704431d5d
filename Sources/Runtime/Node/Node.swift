import FlotillaActors
import FlotillaIO
public import FlotillaRaft

/// One member of a cluster: it keeps replicas of the cluster's groups, runs workflows, and answers for all of them.
///
/// `run()` owns everything that the node starts and returns when the last of it has ended, so it fits any service
/// lifecycle; `withNode` wraps it into a scope. All other methods may be called from any task while it runs.
public final class Node: Sendable {
    /// What the node was made with.
    public let configuration: NodeConfiguration
    private let givenEnvironment: NodeEnvironment?
    let workflows: [any RegisterableWorkflow]
    let logger: FlotillaLogger
    private let phase = Lock(Phase.new)
    /// Set while the node runs; tasks that come early wait for it.
    private let services = Waitable<NodeServices>()

    private enum Phase {
        /// Can transition to: running.
        case new
        /// Can transition to: ended.
        case running
        case ended
    }

    /// - Parameters:
    ///   - workflows: what this node can run.
    ///   - environment: the machine's own by default.
    public init(
        _ configuration: NodeConfiguration, workflows: [any RegisterableWorkflow],
        environment: NodeEnvironment? = nil
    ) {
        self.configuration = configuration
        // Whichever node it is, a schedule may be its to keep.
        self.workflows = workflows + [ScheduleWorkflow.workflow]
        givenEnvironment = environment
        logger = configuration.logger
    }

    /// The node's id, as its configuration says.
    public var id: NodeID { configuration.id }

    /// Runs the node until the task is cancelled. Leadership and workflows are handed to other nodes then, within
    /// `NodeConfiguration.handoverTimeLimit`; when this returns, no thread, descriptor or task of the node is left.
    /// - Throws: `NodeError` when the node cannot start. Can be called once.
    public func run() async throws {
        let isFirst = phase.withLock { phase in
            guard case .new = phase else { return false }
            phase = .running
            return true
        }
        guard isFirst else { throw NodeError(.alreadyRunning, "a node runs once; make another one") }
        defer {
            services.fail(NodeError(.stopped, "the node has shut down"))
            phase.withLock { $0 = .ended }
        }
        try configuration.validate()
        let environment = try givenEnvironment ?? .system()
        do {
            try await serve(environment)
        } catch {
            await environment.shutdown()
            if error is CancellationError { return }
            throw error
        }
        await environment.shutdown()
    }

    private func serve(_ environment: NodeEnvironment) async throws {
        let store = try await NodeStore.open(configuration, environment)
        var start = NodeStart(configuration: configuration, environment: environment, store: store)
        do {
            let services = try await start.run(workflows: workflows, api: HTTPAPI(node: self))
            self.services.succeed(services)
            await services.run()
            await services.stop()
        } catch {
            await start.abandon()
            await store.close(environment)
            throw error
        }
        await store.close(environment)
    }

    /// What the node offers once it has started; waits for that.
    func running() async throws -> NodeServices { try await services.value() }

    /// The same if it is there now.
    var current: NodeServices? { services.current }
}

/// Runs a node for as long as `body` does, and returns what `body` returns. The node is ready when `body` begins, and
/// has ended, with everything it started, when this returns.
/// - Throws: what `body` throws; `NodeError` when the node cannot start.
public func withNode<Result: Sendable>(
    _ configuration: NodeConfiguration, workflows: [any RegisterableWorkflow],
    environment: NodeEnvironment? = nil, _ body: @Sendable (Node) async throws -> Result
) async throws -> Result {
    let node = Node(configuration, workflows: workflows, environment: environment)
    return try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask {
            try await node.run()
            return nil
        }
        // The node ends early only by an error, which the waits in `body` then report as well; this one says why.
        do {
            try await node.untilReady()
            let result = try await body(node)
            group.cancelAll()
            while try await group.next() != nil {}
            return result
        } catch {
            group.cancelAll()
            do { while try await group.next() != nil {} } catch let cause as NodeError { throw cause }
            throw error
        }
    }
}

/// A value that is there once, or the reason why it will not be. Any number of tasks may wait.
final class Waitable<Value: Sendable>: Sendable {
    private struct State {
        var result: Result<Value, any Error>?
        var waiters: [Completion<Value>] = []
    }
    private let state = Lock(State())

    func value() async throws -> Value {
        let completion = Completion<Value>()
        let known = state.withLock { state in
            if state.result == nil {
                state.waiters.removeAll { $0.isFinished }
                state.waiters.append(completion)
            }
            return state.result
        }
        if let known { return try known.get() }
        return try await completion.wait()
    }

    /// The value if it is there.
    var current: Value? { state.withLock { try? $0.result?.get() } }

    func succeed(_ value: Value) { settle(.success(value)) }
    /// Replaces a value as well: it is gone.
    func fail(_ error: any Error) { settle(.failure(error)) }

    private func settle(_ result: Result<Value, any Error>) {
        let waiters = state.withLock { state in
            state.result = result
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.finish(result) }
    }
}
