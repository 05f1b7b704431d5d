import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension WorkflowEngine {
    /// Begins a run with what another one of the group has recorded before a step.
    /// - Throws: `WorkflowError` with `notFound`; `invalidInput` where it has not recorded the step, or too much before it
    ///   that is in the history (`ForkArchive.bytesMax`); `wrongState`,
    ///   `conflict`, `invalidName`, `tooManyWorkflows`, `overloaded`, `unavailable` or `stopped`; `CancellationError`.
    func fork(_ request: ForkRunRequest) async throws -> StartedRun {
        let source = try await recordedRun(RunKey(defaultNamespace, request.id))
        guard !source.type.name.hasPrefix("$") else {
            throw WorkflowError(.wrongState, "'\(request.id)' is Flotilla's own and cannot be forked")
        }
        // The id's home knows for which group it is reserved.
        if case .reserved = request.placement, request.group != environment.group {
            throw WorkflowError(.unavailable, "'\(request.id)' has moved to another group meanwhile; try again")
        }
        let generated = GeneratedID(group: environment.group, runID: request.runID).text
        let id = request.newID ?? (request.placement == .generated ? generated : request.runID.description)
        if request.newID != nil { try WorkflowLimits.checkID(id) }
        var start = WorkflowOperation.StartRun(
            workflowID: id, runID: request.runID, type: source.type, input: [], contentType: source.contentType)
        start.placement = request.placement.operation
        setLimits(of: &start)
        var fork = ForkRun(
            origin: ForkRun.Origin(
                source: RunAddress(workflowID: request.id, runID: source.runID),
                step: StepKey(request.step, request.occurrence)), start: start)
        let result = try await admitting(0) {
            fork.archive = try await archive(of: source, before: fork.origin.step, request.id)
            var result: OperationResult
            do {
                result = try await propose(fork)
            } catch let refused as Refused where refused.code == .outdatedFork {
                // It runs. What is read now is at most a moment old.
                let source = try await recordedRun(RunKey(defaultNamespace, request.id))
                fork.archive = try await archive(of: source, before: fork.origin.step, request.id)
                result = try await propose(fork)
            }
            if let refusal = result.turnedDown {
                throw Refused(refusal, "the group did not take workflow '\(id)': \(refusal)")
            }
            return result
        }
        return StartedRun(
            workflowID: id, runID: result.runID ?? request.runID, type: source.type, existed: result.wasDone)
    }

    private func propose(_ fork: ForkRun) async throws -> OperationResult {
        try environment.result(
            of: try await environment.client.propose([WorkflowOperation.fork(fork).encoded], ownerEpoch: 0))
    }

    /// What a fork has to bring along; nil where all is in the state.
    private func archive(of source: Run, before step: StepKey, _ id: String) async throws -> ForkArchive? {
        guard let archives = source.archives else { return nil }
        let key = RunKey(defaultNamespace, id)
        let owner = source.checkpointRun(key, in: environment.group)
        return try await readingHistory(of: source, key) { journal in
            var found = ForkArchive(before: .max)
            if source.isArchived(step), let archive = archives[step.name] {
                let series = CheckpointKey(run: owner, name: StepArchive.series(of: step.name))
                let record = try await journal.page(of: series, from: step.occurrence, limit: 1, until: archive.end)[0]
                (found.before, found.isRecorded) = (record.recordedAt, true)
            } else {
                found.before = try source.moment(of: step, key, nil)
                found.isRecorded = source.steps[step] != nil
            }
            var room = ForkArchive.bytesMax
            for (name, archive) in archives.sorted() {
                var series = ForkArchive.Series(name: name, end: archive.end)
                try await journal.visitSteps(name, archive, of: owner) { record in
                    guard record.recordedAt < found.before else {
                        series.isCut = true
                        return false
                    }
                    room -= record.value.count + 32
                    guard room >= 0 else {
                        throw WorkflowError(
                            .invalidInput,
                            "what '\(id)' recorded before step \(step) takes more than \(ForkArchive.bytesMax) bytes; "
                                + "fork it from an earlier step")
                    }
                    series.records.append(record)
                    return true
                }
                found.series.append(series)
            }
            return found
        }
    }

    /// What this node's configuration says of how many may run; see `AdmissionLimits`.
    func setLimits(of start: inout WorkflowOperation.StartRun) {
        guard !start.type.name.hasPrefix("$") else { return }
        let limits = environment.context.gate.limits
        start.runLimit = UInt64(limits.workflows ?? 0)
        start.typeLimit = UInt64(limits.workflowsByType[start.type.name] ?? 0)
    }
}
