import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Begins a run with what another one had recorded before a step; see workflow.proto.
struct ForkRun: Hashable, Sendable {
    /// Which run, and what the new one does again, with all behind it.
    struct Origin: Hashable, Sendable {
        var source: RunAddress
        var step: StepKey
    }

    var origin: Origin
    /// The new run; type and input are those of the source.
    var start: WorkflowOperation.StartRun
    /// Nil where the source has no steps in the history.
    var archive: ForkArchive?
}

extension ForkRun {
    private static let number: UInt32 = 85
    private static let version: UInt32 = 1

    var encoded: Operation {
        var writer = ProtobufWriter()
        origin.write(to: &writer)
        writer.message(5) { start.write(to: &$0) }
        if let archive { writer.message(6) { archive.write(to: &$0) } }
        return Operation(type: Self.number, version: Self.version, body: writer.bytes)
    }

    /// - Returns: nil for an operation of another number.
    init?(_ operation: Operation) throws(ApplyError) {
        guard operation.type == Self.number else { return nil }
        guard operation.version == Self.version else {
            throw ApplyError(.unknownVersion, "version \(operation.version) of 'forkRun' is unknown; upgrade this node")
        }
        do throws(WireError) {
            var reader = ProtobufReader(operation.body)
            try self.init(from: &reader)
        } catch {
            throw ApplyError(
                error.code == .unknownField ? .unknownField : .damagedCommand, "operation 'forkRun': \(error.message)")
        }
    }

    private init(from reader: inout ProtobufReader) throws(WireError) {
        var origin = OriginFields()
        var start: WorkflowOperation.StartRun?
        var archive: ForkArchive?
        while let field = try reader.next() {
            if try origin.read(field, from: &reader) { continue }
            guard field == 5 || field == 6 else { throw reader.unknownField(in: "forkRun") }
            var inner = try reader.message()
            if field == 5 {
                start = try WorkflowOperation.StartRun(from: &inner)
            } else {
                archive = try ForkArchive(from: &inner)
            }
        }
        guard let start else { throw WireError(.invalidValue, "a fork without its start") }
        self.init(origin: try origin.origin(), start: start, archive: archive)
    }
}

extension ForkRun.Origin {
    func write(to writer: inout ProtobufWriter) { writer.write(source, step) }

    init(from reader: inout ProtobufReader) throws(WireError) {
        var fields = OriginFields()
        while let field = try reader.next() {
            guard try fields.read(field, from: &reader) else { throw reader.unknownField(in: "the origin of a fork") }
        }
        self = try fields.origin()
    }
}

private struct OriginFields {
    var (workflowID, name, occurrence) = ("", "", UInt64(0))
    var runID: RunID?

    /// - Returns: false for another field.
    mutating func read(_ field: Int, from reader: inout ProtobufReader) throws(WireError) -> Bool {
        switch field {
        case 1: workflowID = try reader.string()
        case 2: runID = RunID(bytes: try reader.bytes())
        case 3: name = try reader.string()
        case 4: occurrence = try reader.varint()
        default: return false
        }
        return true
    }

    func origin() throws(WireError) -> ForkRun.Origin {
        guard let runID else { throw WireError(.invalidValue, "a fork without its source") }
        return ForkRun.Origin(
            source: RunAddress(workflowID: workflowID, runID: runID), step: StepKey(name, occurrence))
    }
}

extension WorkflowState {
    mutating func forkRun(_ fork: ForkRun, _ context: ApplyContext) throws(Refused) -> OperationResult {
        let key = RunKey(context.namespace, fork.start.workflowID)
        if let run = runs[key] {
            guard run.fork == fork.origin else {
                throw Refused(
                    .conflict, "workflow id '\(key.workflowID)' belongs to run \(run.runID); choose another id")
            }
            return OperationResult(wasDone: true, runID: run.runID)
        }
        let sourceKey = RunKey(context.namespace, fork.origin.source.workflowID)
        guard let source = runs[sourceKey] else { throw absence(of: sourceKey) }
        guard source.runID == fork.origin.source.runID else {
            throw Refused(
                .noSuchRun, "there is no run \(fork.origin.source.runID) of workflow id '\(sourceKey.workflowID)'")
        }
        var start = fork.start
        (start.type, start.input, start.contentType) = (source.type, source.input, source.contentType)
        let moment = try source.moment(of: fork.origin.step, sourceKey, fork.archive)
        guard source.archives == nil || fork.archive?.covers(source, before: moment) ?? false else {
            throw Refused(.outdatedFork, "workflow '\(sourceKey.workflowID)' has gone on meanwhile; try again")
        }
        if let problem = try admit(start, key, context) { return OperationResult(turnedDown: problem) }
        startCount += 1
        var run = source.forked(before: moment, as: start.runID, sequence: startCount, at: context.time)
        run.fork = fork.origin
        addArchive(fork.archive, before: moment, to: &run, key, context)
        if case .reserved = start.placement { run.isListed = true }
        restore(run, for: key)
        assign(run.sequence)
        return OperationResult(runID: start.runID)
    }

    private mutating func addArchive(
        _ archive: ForkArchive?, before moment: Int64, to run: inout Run, _ key: RunKey, _ context: ApplyContext
    ) {
        let owner = run.checkpointRun(key, in: context.group)
        for series in archive?.series ?? [] {
            let records = series.records.filter { $0.recordedAt < moment }
            guard !records.isEmpty else { continue }
            var known = StepArchive()
            for record in records { known.add(record.sequence, recordedAt: record.recordedAt) }
            if run.archives == nil { run.archives = BucketedMap() }
            run.archives?.insert(known, for: series.name)
            let place = CheckpointKey(run: owner, name: StepArchive.series(of: series.name))
            for record in records { changes.checkpoints.append(.append(place, record)) }
        }
    }
}

extension Run {
    /// When a step was recorded; `max` for one that has no result yet.
    /// - Parameter archive: says it of one that is in the history.
    func moment(of step: StepKey, _ key: RunKey, _ archive: ForkArchive?) throws(Refused) -> Int64 {
        let moment: Int64
        if let recorded = steps[step] {
            moment = recorded.recordedAt
        } else if isArchived(step) {
            guard let archive, archive.isRecorded else {
                throw Refused(.outdatedFork, "step \(step) of '\(key.workflowID)' was recorded meanwhile; try again")
            }
            moment = archive.before
        } else if let tried = attempts[step] {
            moment = tried.nextAt == nil ? tried.failedAt : .max
        } else if progress[step] != nil {
            moment = .max
        } else {
            throw Refused(.noSuchStep, "workflow '\(key.workflowID)' has recorded no step \(step)")
        }
        if let heard = steps[RunExecution.cancellationStep], heard.recordedAt < moment {
            throw Refused(
                .wrongState,
                "workflow '\(key.workflowID)' had heard by then that it is to end; fork it from an earlier step")
        }
        return moment
    }

    /// A run that has recorded what this one had before a moment; what was recorded at that moment is done again.
    ///
    /// Checkpoints are recorded anew as the body comes by. A child whose end the body had not met is started anew, since
    /// it is told to its own parent. Messages that were not received are this run's.
    fileprivate func forked(before moment: Int64, as id: RunID, sequence: UInt64, at time: Int64) -> Run {
        var fork = Run(
            sequence: sequence, runID: id, type: type, contentType: contentType, input: input, startedAt: time,
            status: .parked)
        (fork.execution, fork.attributes, fork.trace) = (execution, attributes, trace)
        steps.visit { key, step in
            guard step.recordedAt < moment else { return }
            if ChildKey.isStart(key) {
                guard let end = steps[ChildKey.end(of: key)], end.recordedAt < moment else { return }
            }
            fork.steps.insert(step, for: key)
        }
        attempts.visit { key, attempts in
            if attempts.nextAt == nil, attempts.failedAt < moment { fork.attempts.insert(attempts, for: key) }
        }
        timers.visit { key, timer in
            guard timer.startedAt < moment else { return }
            var timer = timer
            if let firedAt = timer.firedAt, firedAt >= moment { timer.firedAt = nil }
            fork.timers.insert(timer, for: key)
        }
        fork.messages = messages?.forked(before: moment)
        return fork
    }
}

extension RunMessages {
    fileprivate func forked(before moment: Int64) -> RunMessages? {
        var fork = RunMessages()
        for (key, ask) in asks.sorted() where ask.recordedAt < moment {
            guard let outcome = ask.outcome else { continue }
            fork.asks.insert(ask, for: key)
            guard case .message(let number) = outcome else { continue }
            let place = StepKey(key.name.text, number)
            guard var message = messages[place] else { preconditionFailure("message \(place) is gone") }
            if let reply = message.reply, reply.recordedAt >= moment { message.reply = nil }
            // An awakeable's may have been asked for twice.
            if fork.messages[place] == nil { fork.restore(message, for: place) }
            var box = fork.boxes[key.name] ?? Box()
            box.count = max(box.count, number + 1)
            box.takenCount = box.count
            fork.boxes.insert(box, for: key.name)
        }
        for (key, awakeable) in awakeables.members where awakeable.createdAt < moment {
            fork.awakeables.insert(awakeable, for: key)
        }
        return fork.recordCount == 0 ? nil : fork
    }
}
