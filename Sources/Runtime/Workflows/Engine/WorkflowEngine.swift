import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Runs the workflows that one group gives to this node, and answers for all that the group has.
///
/// `run()` owns every task. Requests may be made from any task, once the group exists, also before and while `run()`
/// runs.
public final class WorkflowEngine: Sendable {
    let environment: EngineEnvironment
    let node: NodeID
    /// One life of this process.
    let boot: UInt64
    let definitions: [WorkflowType: WorkflowDefinition]
    let state = Lock(EngineState())

    /// - Parameters:
    ///   - boot: must be higher in each life of the process, as in `RequestID.Client`.
    ///   - loop: the group's.
    ///   - checkpoints: the same that the group's state machine writes to.
    ///   - definitions: what this node can run; all its engines share it.
    ///   - random: the source for run ids, `context.random` and `context.uuid`; any thread.
    init(
        client: any GroupClient, group: GroupID, checkpoints: CheckpointJournal, boot: UInt64,
        definitions: [WorkflowType: WorkflowDefinition], loop: any Loop,
        limits: WorkflowLimits = WorkflowLimits(), logger: FlotillaLogger = .silent,
        random: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) }
    ) {
        environment = EngineEnvironment(
            client: client, group: group, checkpoints: checkpoints, loop: loop, limits: limits, logger: logger,
            random: random)
        node = client.node
        self.boot = boot
        self.definitions = definitions
    }

    /// - Throws: `WorkflowError` with `duplicateWorkflow`.
    static func definitions(
        of workflows: [any RegisterableWorkflow]
    ) throws(WorkflowError) -> [WorkflowType: WorkflowDefinition] {
        var definitions: [WorkflowType: WorkflowDefinition] = [:]
        for workflow in workflows {
            let definition = workflow.definition
            guard definitions.updateValue(definition, forKey: definition.type) == nil else {
                throw WorkflowError(
                    .duplicateWorkflow,
                    "\(definition.type) is registered twice; give one another version")
            }
        }
        return definitions
    }

    /// Runs this node's workflows until the task is cancelled or the group stops on this node. Once only.
    ///
    /// Cancelling records nothing: the runs stop here and go on under their next owner. It returns after the last body
    /// has ended. A body that ignores cancellation cannot be abandoned, because the task tree owns it: after
    /// `WorkflowLimits.stepGracePeriod` it is named in the log and in `unresponsiveSteps`, and a process that must end
    /// then can only exit.
    public func run() async {
        state.withLock { state in
            precondition(!state.hasRun, "run() of the workflow engine of \(node) was called twice")
            state.hasRun = true
            state.mustReadAll = true
            state.registration.want()
        }
        do {
            try await attach()
            ring()
            await withDiscardingTaskGroup { group in
                while await nextRing() {
                    if state.withLock({ $0.registration.begin() }) { group.addTask { await self.register() } }
                    for assignment in await takeAssignments() { launch(assignment, in: &group) }
                }
                group.cancelAll()
            }
        } catch {
            environment.logger.log(
                .error, "the workflow engine of \(node) does not start: \(error)")
        }
        let waiters = state.withLock { state in
            state.hasStopped = true
            return state.takeAllWaiters()
        }
        for waiter in waiters { waiter.fulfill(.stopped) }
        environment.bells.close()
    }

    /// Gives this node's runs to others and takes no new ones: before a planned stop, which then interrupts nobody.
    /// Returns when the group has applied it.
    /// - Throws: `CancellationError`, or what keeps the group from doing it.
    public func handOver() async throws {
        let registration = state.withLock { state in
            state.registration.leave()
            return state.registration.number
        }
        guard let registration else { return }
        _ = try await environment.proposeUntilAnswered(
            .loseExecutor(node: node, registration: registration), ownerEpoch: 0)
    }

    /// The steps that were stopped longer than the grace period ago and go on all the same. Any thread.
    public var unresponsiveSteps: [String] {
        state.withLock { state in
            state.unresponsive.values.flatMap { execution in
                execution.runningNames.map { "\($0) of \(execution.key)" }
            }.sorted()
        }
    }

    /// Ends `run()` from within.
    func stopRunning(because reason: String) {
        environment.logger.log(.error, "the workflow engine of \(node) stops: \(reason)")
        finishBell()
    }

    private func attach() async throws {
        try await environment.withMachine { machine in
            machine.observer = self
            if machine.hasStopped { self.finishBell() }
        }
    }

    // MARK: Registration

    /// Registers this node as an executor. A child of the supervisor, whenever the group does not know the node or has
    /// given it up.
    private func register() async {
        let operation = WorkflowOperation.registerExecutor(
            node: node, boot: boot, capabilities: definitions.keys.sorted())
        do {
            let result = try await environment.proposeUntilAnswered(operation, ownerEpoch: 0)
            state.withLock { $0.registration.number = result.registration }
            environment.logger.log(
                .info, "\(node) is registered for \(definitions.count) workflows",
                ["registration": "\(result.registration)", "boot": "\(boot)"])
        } catch is CancellationError {
            return
        } catch let refused as Refused {
            return stopRunning(because: refused.message)
        } catch {
            return stopRunning(because: "\(error)")
        }
        state.withLock { $0.registration.end() }
        // It may have been given up again meanwhile.
        ring()
    }
}

extension EngineEnvironment {
    /// Runs `body` on the loop with the group's workflows.
    func withMachine<Result: Sendable>(
        _ body: @escaping @Sendable (WorkflowStateMachine) -> Result
    ) async throws -> Result {
        let result = try await client.withState { machine in
            (machine as? WorkflowStateMachine).map(body)
        }
        guard let result else {
            throw WorkflowError(.unexpectedAnswer, "the group does not replicate workflows")
        }
        return result
    }
}
