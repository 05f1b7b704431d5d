import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Runs the workflows that one group gives to this node, and answers for all that the group has.
///
/// `work()` owns every task; an engine that has nothing to do has none. Requests may be made from any task, once the group
/// exists, whether or not it works.
public final class WorkflowEngine: Sendable {
    let environment: EngineEnvironment
    let state: Lock<EngineState>

    init(client: any GroupClient, group: GroupID, context: EngineContext) {
        state = Lock(EngineState(bodiesMax: context.limits.replayedBodiesMax))
        environment = EngineEnvironment(client: client, group: group, context: context, bells: RunBells(of: state))
    }

    var node: NodeID { environment.client.node }
    var boot: UInt64 { environment.context.boot }
    var definitions: [WorkflowType: WorkflowDefinition] { environment.context.definitions }

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

    /// Does what there is to do: registers this node, and runs its workflows. Returns when nothing is left, and for good when
    /// the task is cancelled or the group stops on this node. To be given a task by whoever is called by
    /// `EngineContext.calls`; where there is nothing to do, or the engine has a task already, it returns at once.
    ///
    /// Cancelling records nothing: the runs stop here and go on under their next owner. It returns after the last body
    /// has ended. A body that ignores cancellation cannot be abandoned, because the task tree owns it: after
    /// `WorkflowLimits.stepGracePeriod` it is named in the log and in `unresponsiveSteps`, and a process that must end
    /// then can only exit.
    func work() async {
        guard state.withLock({ $0.bell.enter() }) else { return }
        do {
            try await attach()
            await withDiscardingTaskGroup { group in
                while await nextRing() {
                    if state.withLock({ $0.registration.begin() }) { group.addTask { await self.register() } }
                    for assignment in await takeAssignments() { launch(assignment, in: &group) }
                }
                if hasEnded { group.cancelAll() }
            }
        } catch {
            environment.logger.log(
                .error, "the workflow engine of \(node) does not start: \(error)")
            end()
        }
        if hasEnded { didEnd() }
    }

    /// Whether nothing is done any more.
    var hasEnded: Bool { state.withLock { $0.bell.isFinished } }

    /// Tells those who wait. Idempotent.
    func didEnd() {
        let waiters = state.withLock { state in
            state.hasStopped = true
            return state.takeAllWaiters()
        }
        for waiter in waiters { waiter.fulfill(.stopped) }
        stopWatchingRests()
        environment.bells.ring(nil)
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
        end()
    }

    /// The first time: from now on the group tells what happens, and what was there before is to be looked at.
    private func attach() async throws {
        guard state.withLock({ !$0.isAttached }) else { return }
        try await environment.withMachine { machine in
            machine.observer = self
            if machine.hasStopped { self.end() }
        }
        state.withLock { state in
            state.isAttached = true
            state.mustReadAll = true
            state.registration.want()
        }
    }

    // MARK: Registration

    /// Registers this node as an executor. A child of the supervisor, whenever the group does not know the node or has
    /// given it up.
    private func register() async {
        let operation = WorkflowOperation.registerExecutor(
            node: node, boot: boot, capabilities: definitions.keys.sorted())
        do {
            let result = try await environment.context.registrations.run(on: environment.loop) {
                try await environment.proposeUntilAnswered(operation, ownerEpoch: 0)
            }
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
