import FlotillaRaft

// One function for each operation. Each checks everything before it changes anything.

/// What an operation is applied with.
struct ApplyContext {
    var group: GroupID
    var namespace: String
    /// The fencing token of the command.
    var ownerEpoch: UInt64
    /// The group's time in nanoseconds since 1970.
    var time: Int64
}

extension WorkflowState {
    mutating func apply(
        _ operation: WorkflowOperation, _ context: ApplyContext, arrived: TransferredRun? = nil
    ) throws(Refused) -> OperationResult {
        switch operation {
        case .startRun(let start):
            return try startRun(start, context)
        case .recordStep(let run, let step, let value, let effort, let keeping):
            return try recordStep(run, step, value, effort, keeping: keeping, context)
        case .recordFailure(let run, let step, let failed):
            return try recordFailure(run, step, failed, context)
        case .recordProgress(let run, let step, let attempt, let value):
            return try recordProgress(run, step, attempt: attempt, value, context)
        case .startTimer(let run, let timer, let setting):
            return try startTimer(run, timer, setting, context)
        case .fireTimer(let run, let timer):
            return try fireTimer(run, timer, context)
        case .setCheckpoint(let run, let checkpoint, let value):
            return try setCheckpoint(run, checkpoint, value, context)
        case .finishRun(let run, let result):
            return try finishRun(run, result, context)
        case .registerExecutor(let node, let boot, let capabilities):
            return try registerExecutor(node, boot: boot, capabilities: Set(capabilities))
        case .loseExecutor(let node, let registration):
            return loseExecutor(node, registration: registration)
        case .pruneRun(let workflowID): return try pruneRun(workflowID, context)
        case .pruneFinished(let retention, let limit):
            return pruneFinished(keeping: retention, limit: Int(limit), context)
        case .controlRun(let workflowID, let action, let reason):
            try checkOwner(of: workflowID, context)
            return try control(workflowID, action, reason: reason, context)
        case .transfer(let operation): return try apply(operation, context, arrived: arrived)
        case .message(let operation): return try apply(operation, context)
        case .composition(let operation): return try apply(operation, context)
        case .tie(let operation): return try apply(operation, context)
        case .fork(let fork): return try forkRun(fork, context)
        }
    }

    // MARK: Starts

    private mutating func startRun(
        _ start: WorkflowOperation.StartRun, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, start.workflowID)
        if let run = runs[key] {
            guard run.matches(start) else {
                let difference = run.type == start.type ? "with another input, or of another parent" : "of \(run.type)"
                throw Refused(
                    .conflict,
                    "workflow id '\(start.workflowID)' belongs to run \(run.runID) \(difference); choose another id"
                )
            }
            return OperationResult(wasDone: true, runID: run.runID)
        }
        if let problem = try admit(start, key, context) { return OperationResult(turnedDown: problem) }
        addRun(start, key: key, time: context.time)
        return OperationResult(runID: start.runID)
    }

    // MARK: What an owner records

    private mutating func recordStep(
        _ address: RunAddress, _ step: StepKey, _ value: [UInt8], _ effort: StepEffort, keeping: UInt64,
        _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        var archived: (owner: CheckpointRun, records: [CheckpointRecord])?
        let result = try withOwnedRun(address, context) { run throws(Refused) in
            if let recorded = run.steps[step] {
                return OperationResult(wasDone: true, recordedValue: recorded.value)
            }
            // The owner that says it again has the value.
            if run.isArchived(step) { return OperationResult(wasDone: true) }
            guard let owner = run.owner else { preconditionFailure("running run \(run.runID) has no owner") }
            let record = Run.Step(
                value: value, epoch: context.ownerEpoch, recordedAt: context.time, owner: owner, effort: effort)
            run.steps.insert(record, for: step)
            run.attempts.remove(step)
            run.progress[step] = nil
            let records = run.archive(before: step, keeping: keeping)
            if !records.isEmpty { archived = (run.checkpointRun(key, in: context.group), records) }
            return OperationResult()
        }
        guard let archived else { return result }
        let series = CheckpointKey(run: archived.owner, name: StepArchive.series(of: step.name))
        for record in archived.records { changes.checkpoints.append(.append(series, record)) }
        return result
    }

    /// Of an attempt that is recorded already nothing changes.
    private mutating func recordFailure(
        _ address: RunAddress, _ step: StepKey, _ failed: StepFailure, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run throws(Refused) in
            if let recorded = run.steps[step] {
                return OperationResult(wasDone: true, recordedValue: recorded.value)
            }
            if run.isArchived(step) { return OperationResult(wasDone: true) }
            let known = run.attempts[step]
            if let known, known.nextAt == nil || known.effort.attempt >= failed.effort.attempt {
                return OperationResult(wasDone: true, deadline: known.nextAt ?? 0)
            }
            guard let owner = run.owner else { preconditionFailure("running run \(run.runID) has no owner") }
            let nextAt = failed.delay.map { delay in
                let (sum, isTooLarge) = context.time.addingReportingOverflow(max(0, delay))
                return isTooLarge ? Int64.max : sum
            }
            let began = context.time.subtractingReportingOverflow(max(0, failed.effort.duration))
            let begunAt = run.begunAt(of: step) ?? (began.overflow ? context.time : began.partialValue)
            run.attempts.insert(
                StepAttempts(
                    startedAt: begunAt, failedAt: context.time, nextAt: nextAt, failure: failed.failure, owner: owner,
                    epoch: context.ownerEpoch, effort: failed.effort), for: step)
            if let progress = failed.progress {
                run.note(progress, of: step, attempt: failed.effort.attempt, context)
            }
            return OperationResult(deadline: nextAt ?? 0)
        }
    }

    private mutating func startTimer(
        _ address: RunAddress, _ timer: StepKey, _ setting: WorkflowOperation.TimerSetting,
        _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run in
            if let running = run.timers[timer] {
                return OperationResult(wasDone: true, deadline: running.deadline)
            }
            let deadline: Int64
            switch setting {
            case .at(let moment): deadline = moment
            case .after(let duration):
                let (sum, isTooLarge) = context.time.addingReportingOverflow(max(0, duration))
                deadline = isTooLarge ? .max : sum
            }
            run.timers.insert(Run.Timer(deadline: deadline, startedAt: context.time), for: timer)
            return OperationResult(deadline: deadline)
        }
    }

    private mutating func fireTimer(
        _ address: RunAddress, _ timer: StepKey, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        try withOwnedRun(address, context) { run throws(Refused) in
            guard var running = run.timers[timer] else {
                throw Refused(.noSuchTimer, "run \(address.runID) has no timer \(timer)")
            }
            if running.hasFired {
                return OperationResult(wasDone: true, deadline: running.deadline)
            }
            guard context.time >= running.deadline else {
                throw Refused(
                    .notYet,
                    "timer \(timer) is due in \(running.deadline - context.time) ns of the group's time"
                )
            }
            running.firedAt = context.time
            run.timers.insert(running, for: timer)
            return OperationResult(deadline: running.deadline)
        }
    }

    private mutating func setCheckpoint(
        _ address: RunAddress, _ checkpoint: StepKey, _ value: [UInt8], _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        var owner: CheckpointRun?
        let result = try withOwnedRun(address, context) { run throws(Refused) in
            owner = run.checkpointRun(key, in: context.group)
            let count = run.checkpoints[checkpoint.name]?.count ?? 0
            guard checkpoint.occurrence >= count else { return OperationResult(wasDone: true) }
            guard checkpoint.occurrence == count else {
                throw Refused(
                    .checkpointOutOfOrder, "checkpoint \(checkpoint) of run \(run.runID) comes before number \(count)")
            }
            run.checkpoints.insert(
                Run.Checkpoint(count: count + 1, value: value, recordedAt: context.time), for: checkpoint.name)
            return OperationResult()
        }
        guard !result.wasDone, let owner else { return result }
        if WorkflowStreams.isKey(checkpoint.name) { changes.told.append(key) }
        changes.checkpoints.append(
            .append(
                CheckpointKey(run: owner, name: checkpoint.name),
                CheckpointRecord(sequence: checkpoint.occurrence, value: value, recordedAt: context.time)))
        return result
    }

    private mutating func finishRun(
        _ address: RunAddress, _ result: RunResult, _ context: ApplyContext
    ) throws(Refused) -> OperationResult {
        _ = try withOwnedRun(address, context) { run throws(Refused) in
            guard result != .cancelled || run.cancellation != nil else {
                throw Refused(.wrongState, "nobody has asked run \(run.runID) to end")
            }
            return OperationResult()
        }
        finish(RunKey(context.namespace, address.workflowID), with: result, time: context.time)
        return OperationResult()
    }

    /// Changes the run that the command's owner owns. A stale owner cannot get past here.
    mutating func withOwnedRun(
        _ address: RunAddress, _ context: ApplyContext,
        _ body: (inout Run) throws(Refused) -> OperationResult
    ) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, address.workflowID)
        let result = try update(key) { run throws(Refused) -> OperationResult? in
            guard run.runID == address.runID else { return nil }
            guard run.epoch == context.ownerEpoch, run.status != .parked, run.status != .paused else {
                throw Refused(
                    .staleOwner,
                    "run \(run.runID) is in epoch \(run.epoch), the command came from \(context.ownerEpoch)"
                )
            }
            guard run.status == .running else {
                throw Refused(.runEnded, "run \(run.runID) is \(run.status)")
            }
            return try body(&run)
        }
        guard let result, let result else {
            throw Refused(
                .noSuchRun,
                "there is no run \(address.runID) of workflow id '\(address.workflowID)'")
        }
        return result
    }

    // MARK: Executors

    private mutating func registerExecutor(
        _ node: NodeID, boot: UInt64, capabilities: Set<WorkflowType>
    ) throws(Refused) -> OperationResult {
        let known = executors[node]
        if let known {
            guard boot >= known.boot else {
                throw Refused(
                    .staleExecutor,
                    "\(node) has registered with boot \(known.boot), after boot \(boot)")
            }
            if known.isAlive && known.boot == boot && known.capabilities == capabilities {
                return OperationResult(wasDone: true, registration: known.registration)
            }
        }
        let registration = (known?.registration ?? 0) + 1
        executors[node] = Executor(
            boot: boot, registration: registration, isAlive: true, capabilities: capabilities)
        knownTypes.formUnion(capabilities)
        changes.executors = true
        // A later life of a process knows nothing of the runs that the earlier one had.
        reassignRuns(of: node)
        assignParked(having: capabilities)
        return OperationResult(registration: registration)
    }

    private mutating func loseExecutor(_ node: NodeID, registration: UInt64) -> OperationResult {
        guard let known = executors[node], known.isAlive, known.registration == registration else {
            return OperationResult(wasDone: true)
        }
        executors[node]?.isAlive = false
        changes.executors = true
        reassignRuns(of: node)
        return OperationResult(registration: registration)
    }
}
