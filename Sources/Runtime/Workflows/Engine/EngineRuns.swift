import FlotillaActors
import FlotillaIO
import FlotillaRaft

// From the group's changes to running bodies, and back when a run is taken away.

extension WorkflowEngine: WorkflowObserver {
    /// On the loop, after each batch of commands.
    func workflowsDidChange(_ changes: WorkflowChanges, in machine: WorkflowStateMachine) {
        let group = machine.state
        let executor = group.executors[node]
        let isRegistered = executor.map { $0.isAlive && $0.boot == boot } ?? false
        var stops: [(Promise<RunExecution.Stop>, RunExecution.Stop)] = []
        var cancels: [CancelRequest] = []
        var endings: [(Promise<Ending>, Ending)] = []
        let moved = Set(changes.moved)
        var hasPutOff = false
        let hasWork = state.withLock { state in
            let keys =
                changes.everything ? (Array(state.running.keys) + state.awaitedKeys).sorted() : changes.runs
            if changes.everything {
                state.mustReadAll = true
                state.resting.removeAll()
            }
            for key in keys {
                let run = group.runs[key]
                if let run, isRegistered, run.status == .running, run.owner == node {
                    // A run that was assigned once is new: what limits those is admission.
                    state.receive(Assignment(key: key, epoch: run.epoch), waitsForRoom: run.epoch > 1)
                    state.running[key]?.execution?.touch()
                    if run.cancellation != nil, let here = state.running[key] { cancels.append(here.cancel) }
                } else if let here = state.running[key] {
                    let wasEnded = run.map { $0.status == .terminated } ?? !moved.contains(key)
                    stops.append((here.stop, wasEnded ? .terminated : .lost))
                    state.forget(key)
                } else {
                    state.forget(key)
                }
                let absence: Ending = moved.contains(key) ? .moved : .removed
                guard let ending = run.map({ WorkflowOutcome($0).map(Ending.outcome) }) ?? absence else { continue }
                for waiter in state.takeWaiters(for: key) { endings.append((waiter, ending)) }
            }
            for key in changes.told { state.touch(key, epoch: group.runs[key]?.epoch) }
            hasPutOff = state.resting.hasPutOff
            return state.mustReadAll || !state.inbox.isEmpty
        }
        if hasPutOff { watchRests() }
        for (stop, reason) in stops { stop.fulfill(reason) }
        for cancel in cancels { cancel.make() }
        for (waiter, ending) in endings { waiter.fulfill(ending) }
        environment.bells.ring(changes.everything ? nil : changes.runs + changes.told)
        if hasWork { ring() }
        if changes.executors || changes.everything {
            state.withLock { $0.registration.note(isRegistered: isRegistered) }
            if !isRegistered { ring() }
        }
    }

    func groupDidStop() { end() }

    /// What the supervisor has to begin. In the order of the keys, so that a simulated history can be repeated.
    func takeAssignments() async -> [Assignment] {
        let (assignments, mustReadAll) = state.withLock { $0.takeInbox() }
        guard mustReadAll else { return assignments }
        do {
            let (node, boot) = (node, boot)
            let all: [Assignment] = try await environment.withMachine { machine in
                guard machine.state.executors[node].map({ $0.isAlive && $0.boot == boot }) ?? false
                else { return [] }
                return (machine.state.owned[node] ?? []).sorted().compactMap { sequence in
                    machine.state.startOrder[sequence].flatMap { key in
                        machine.state.runs[key].map { Assignment(key: key, epoch: $0.epoch) }
                    }
                }
            }
            let begin = state.withLock { $0.takeRoom(for: all) }
            if begin.count < all.count { watchRests() }
            return begin
        } catch is CancellationError {
            return []
        } catch {
            stopRunning(because: "\(error)")
            return []
        }
    }

    func launch(_ assignment: Assignment, in group: inout DiscardingTaskGroup) {
        let (begun, isFirst) = state.withLock { state in
            let begun = state.begin(assignment)
            return (begun, begun != nil && noteRun(in: &state))
        }
        guard let (stop, cancel, previous) = begun else { return }
        previous?.fulfill(.lost)
        if isFirst { watchRests() }
        let isAdded = group.addTaskUnlessCancelled {
            await self.execute(assignment, stop: stop, cancel: cancel)
            let (rests, isLast, wakes) = self.state.withLock { state in
                (state.end(assignment), state.running.isEmpty, !state.inbox.isEmpty)
            }
            if rests {
                self.watchRests()
                self.environment.context.freed.note(isLast: isLast)
            }
            if wakes { self.ring() } else { self.ringIfIdle() }
        }
        if !isAdded { _ = state.withLock { $0.end(assignment) } }
    }

    /// One run on this node, from its record to its end or its loss.
    private func execute(
        _ assignment: Assignment, stop: Promise<RunExecution.Stop>, cancel: CancelRequest
    ) async {
        guard let execution = await read(assignment, stop: stop, cancel: cancel) else { return }
        guard let definition = definitions[execution.recorded.type] else {
            // Not a failure of the run: it stays recorded, and the next registration of this node moves it.
            environment.logger.log(
                .error,
                "this node was given a run of \(execution.recorded.type), which it does not have",
                execution.metadata)
            return
        }
        state.withLock { $0.enter(execution) }
        environment.logger.log(.debug, "run begins on \(node)", execution.metadata)
        await withDiscardingTaskGroup { group in
            let isAdded = group.addTaskUnlessCancelled {
                await self.runBody(of: execution, definition)
                execution.endBody()
                stop.fulfill(.ended)
                self.state.withLock { $0.clearUnresponsive(execution) }
            }
            guard isAdded else { return }
            let reason = (try? await stop.wait()) ?? .shutdown
            switch reason {
            case .ended: return
            case .lost, .terminated, .rests, .mismatch: break
            case .shutdown where !Task.isCancelled:
                stopRunning(because: "the group has stopped on this node")
            case .shutdown: break
            }
            execution.end(isTerminated: reason == .terminated)
            group.cancelAll()
            // One that is put to rest is looked after by who put it there.
            if reason != .rests { watchGracePeriod(of: execution) }
        }
        await execution.pauseForMismatch()
    }

    /// The run's record, if it is still this node's in this epoch.
    private func read(
        _ assignment: Assignment, stop: Promise<RunExecution.Stop>, cancel: CancelRequest
    ) async -> RunExecution? {
        do {
            let node = node
            let run = try await environment.withMachine { machine in
                machine.state.runs[assignment.key].flatMap { run in
                    run.status == .running && run.owner == node && run.epoch == assignment.epoch
                        ? run : nil
                }
            }
            if run?.cancellation != nil { cancel.make() }
            return run.map {
                RunExecution(
                    key: assignment.key, recorded: $0, environment: environment, stop: stop, cancel: cancel)
            }
        } catch is CancellationError {
            return nil
        } catch {
            stopRunning(because: "\(error)")
            return nil
        }
    }

    /// Runs the user's function and records how it ended, unless it ended because it was stopped here.
    private func runBody(of execution: RunExecution, _ definition: WorkflowDefinition) async {
        let context = WorkflowContext(execution: execution)
        let result: RunResult
        do {
            let output = try await definition.run(try execution.input(), context)
            try execution.checkSize(output, "the output of \(definition.type)")
            result = .success(try environment.codec.encode(output))
        } catch let error as WorkflowError where error.code == .cancelled && execution.isCancelled {
            result = .cancelled
        } catch let error as WorkflowError where error.code == .undecodableInput && execution.hasMetNothing {
            _ = execution.stopForMismatch(error, at: nil)
            return
        } catch {
            result = .failure(WorkflowFailure(error))
        }
        guard !Task.isCancelled, !execution.isOver else { return }
        do {
            try await execution.finish(with: result)
            execution.report(result)
        } catch is CancellationError {
            // Stopped or lost meanwhile: the next owner ends it.
        } catch let error as WorkflowError where error.code == .resultTooLarge {
            let failure = RunResult.failure(WorkflowFailure(error))
            if (try? await execution.finish(with: failure)) != nil { execution.report(failure) }
        } catch {
            environment.logger.log(
                .error, "the end of a run was not recorded: \(error)", execution.metadata)
        }
    }

    /// Names the steps in the log that go on in spite of their cancellation. A timer, because every task here is
    /// cancelled.
    private func watchGracePeriod(of execution: RunExecution) {
        let loop = environment.loop
        let deadline = loop.now.advanced(by: environment.limits.stepGracePeriod)
        loop.execute { [self, weak execution] in
            guard let execution, !execution.bodyHasEnded else { return }
            _ = loop.schedule(at: deadline) { [self, weak execution] in
                if let execution { nameUnresponsive(execution) }
            }
        }
    }

    /// Any thread.
    func nameUnresponsive(_ execution: RunExecution) {
        // Under the lock that the body's end takes after it has set its mark: none is left behind.
        let isUnresponsive = state.withLock { state in
            if !execution.bodyHasEnded { state.markUnresponsive(execution) }
            return !execution.bodyHasEnded
        }
        guard isUnresponsive else { return }
        let names = execution.runningNames.joined(separator: ", ")
        environment.logger.log(
            .warning,
            "run \(execution.key) was stopped and goes on: \(names.isEmpty ? "its body" : names) ignores "
                + "cancellation; it records nothing, and the node's run() waits for it",
            execution.metadata)
    }
}
