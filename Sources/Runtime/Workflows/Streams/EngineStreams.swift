import FlotillaActors
import FlotillaIO
import FlotillaRaft

extension WorkflowEngine {
    /// What a run has emitted to a stream behind a place; waits until there is something.
    /// - Parameters:
    ///   - after: as a page before named it; nil begins with the oldest that is kept. Former executions come first.
    ///   - limit: at most `WorkflowLimits.listLimitMax`; more is cut to that.
    /// - Returns: a page without events where the time is over.
    /// - Throws: as `describe`; `invalidPage` where `after` is no place; `unknownPayloadKey` or `damagedPayload`.
    func stream(
        _ name: String, of id: String, after: String?, limit: Int, timeout: Duration
    ) async throws -> WorkflowStreamPage {
        var position = StreamPosition(execution: 1, number: 0)
        if let after {
            guard let place = StreamPosition(after) else {
                throw WorkflowError(.invalidPage, "'\(after)' is no place in a stream; take that of an event")
            }
            position = StreamPosition(execution: place.execution, number: place.number + 1)
        }
        let key = RunKey(defaultNamespace, id)
        let deadline = environment.loop.now.advanced(by: timeout)
        // What was emitted before the call is seen.
        try await namingErrors { [environment] in try await environment.client.barrier() }
        while true {
            let bell = environment.bells.bell(for: key)
            defer { environment.bells.giveBack(bell, for: key) }
            let (start, group) = (position, environment.group)
            let look = try await namingErrors { [environment] in
                try await environment.withMachine { machine in
                    Result { () throws(Refused) in
                        try machine.state.look(at: WorkflowStreams.key(name), of: key, from: start, in: group)
                    }
                }.get()
            }
            position = look.position
            if let found = look.found {
                let page = try await page(of: found, name, from: position, limit: limit, key)
                return WorkflowStreamPage(events: page, next: page.last?.position ?? after, hasEnded: false)
            }
            if look.hasEnded || environment.loop.now >= deadline {
                return WorkflowStreamPage(events: [], next: after, hasEnded: look.hasEnded)
            }
            let cancelTimer = environment.loop.promise(bell, fulfilledAt: deadline, with: ()).cancel
            defer { cancelTimer() }
            try await bell.wait()
            guard !environment.bells.isClosed else { throw WorkflowError(.stopped, "\(node) stops; ask another node") }
        }
    }

    private func page(
        of found: StreamLook.Found, _ name: String, from position: StreamPosition, limit: Int, _ key: RunKey
    ) async throws -> [WorkflowStreamPage.Event] {
        let records = try await readingHistory(of: found.run, key) { journal in
            try await journal.page(
                of: CheckpointKey(run: found.owner, name: ByteText(WorkflowStreams.key(name))), from: position.number,
                limit: max(1, min(limit, WorkflowLimits.listLimitMax)), until: found.count)
        }
        return try records.map { record in
            WorkflowStreamPage.Event(
                position: StreamPosition(execution: position.execution, number: record.sequence).text,
                recordedAt: record.recordedAt, value: try environment.codec.decode(record.value))
        }
    }
}

/// What is there of a stream, from a place on.
private struct StreamLook: Sendable {
    struct Found: Sendable {
        /// The run that is asked for, whichever execution has it.
        var run: Run
        var owner: CheckpointRun
        var count: UInt64
    }

    /// The next that there is, or will be.
    var position: StreamPosition
    var found: Found?
    var hasEnded = false
}

extension WorkflowState {
    fileprivate func look(
        at name: String, of key: RunKey, from start: StreamPosition, in group: GroupID
    ) throws(Refused) -> StreamLook {
        guard let run = runs[key] else { throw absence(of: key) }
        var position = start
        while true {
            let isFormer = position.execution < run.execution
            let at =
                isFormer
                ? RunKey(key.namespace.text, ExecutionID.text(key.workflowID.text, execution: position.execution)) : key
            // A former execution may have been removed.
            if let execution = isFormer ? runs[at] : run, let kept = execution.checkpoints[ByteText(name)],
                position.number < kept.count
            {
                position.number = max(position.number, kept.first)
                let owner = execution.checkpointRun(at, in: group)
                return StreamLook(position: position, found: .init(run: run, owner: owner, count: kept.count))
            }
            guard isFormer else { return StreamLook(position: position, hasEnded: run.status.isFinished) }
            position = StreamPosition(execution: position.execution + 1, number: 0)
        }
    }
}

struct ReadStream: RunRequest {
    typealias Reply = WorkflowStreamPage
    static let name = "stream"
    var id: String
    var stream: String
    var after: String?
    var limit: Int
    var timeout: Duration

    var subject: String? { id }
    var patience: Duration { timeout + .seconds(10) }
    func perform(on engine: WorkflowEngine) async throws -> WorkflowStreamPage {
        try await engine.stream(stream, of: id, after: after, limit: limit, timeout: timeout)
    }
}
