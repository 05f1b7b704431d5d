import FlotillaActors
import FlotillaIO

// Questions that a workflow's code answers.

typealias QueryAnswer = @Sendable (_ input: [UInt8]) throws -> [UInt8]

extension WorkflowEngine {
    /// Asks a run something. The answer knows everything that was recorded before the call (read index).
    ///
    /// Where the run is in this node's memory, its body answers. Everywhere else the code is replayed here against what
    /// is recorded, and answers then; no step's body runs.
    /// - Parameter input: JSON.
    /// - Returns: JSON.
    /// - Throws: `WorkflowError` with `notFound`; `unknownQuery` where the code has no answer for the name; `rejected`
    ///   with what the answer threw; `unknownWorkflow` where this node does not have the code; `unavailable` where what
    ///   is recorded is not what the code does; `undecodableInput`, `invalidInput` or `stopped`; `CancellationError`.
    public func query(_ id: String, name: String, input: [UInt8]) async throws -> [UInt8] {
        let key = RunKey(defaultNamespace, id)
        let run = try await namingErrors { [environment] in
            try await environment.client.barrier()
            return try await environment.withMachine { $0.state.runs[key] }
        }
        guard let run else { throw notFound(id) }
        let here = state.withLock { $0.running[key]?.execution }
        if let here, here.epoch == run.epoch, !run.status.isFinished, !here.isOver, here.hasCaughtUp,
            let answer = here.query(name)
        {
            return try Self.ask(answer, input)
        }
        guard let definition = definitions[run.type] else {
            throw WorkflowError(
                .unknownWorkflow, "\(node) does not have \(run.type), whose code answers; ask a node that does")
        }
        let replay = QueryReplay(key: key, run: run, definition: definition, environment: environment)
        return try Self.ask(try await replay.answer(to: name), input)
    }

    private static func ask(_ answer: QueryAnswer, _ input: [UInt8]) throws -> [UInt8] {
        do {
            return try answer(input)
        } catch let error as WorkflowError {
            throw error
        } catch {
            let failure = WorkflowFailure(error)
            throw WorkflowError(.rejected, "the query was not answered: \(failure)", failure: failure)
        }
    }
}

extension RunExecution {
    func setQuery(_ name: String, _ answer: @escaping QueryAnswer) {
        progress.withLock { $0.queries[ByteText(name)] = answer }
        replay?.tell()
    }

    func query(_ name: String) -> QueryAnswer? { progress.withLock { $0.queries[ByteText(name)] } }

    /// The body has met again all that was recorded before this life of it.
    var hasCaughtUp: Bool {
        let place = recorded.steps[Self.cancellationStep] == nil ? 0 : 1
        return progress.withLock { $0.metCount + ($0.isCancelled ? UInt64(place) : 0) >= recordedCount }
    }
}

/// Runs a body against its record until it has met all of it, without any effect: for what it can tell then.
struct QueryReplay {
    /// Far more than a replay takes; a record that the code does not meet is named after so many looks.
    private static let looks = 50
    private static let lookInterval: Duration = .milliseconds(200)

    private let execution: RunExecution
    private let definition: WorkflowDefinition
    private let notes: ReplayNotes

    init(key: RunKey, run: Run, definition: WorkflowDefinition, environment: EngineEnvironment) {
        notes = ReplayNotes(parks: true)
        self.definition = definition
        execution = RunExecution(
            key: key, recorded: run, environment: environment, stop: Promise(), cancel: CancelRequest(), replay: notes)
    }

    func answer(to name: String) async throws -> QueryAnswer {
        let input = try execution.input()
        let found = await withTaskGroup(of: QueryAnswer?.self) { group in
            group.addTask { [execution, definition, notes] in
                // How the body ends, or that it is stopped, is not what was asked.
                _ = try? await definition.run(input, WorkflowContext(execution: execution))
                execution.progress.withLock { $0.bodyHasEnded = true }
                notes.tell()
                return nil
            }
            group.addTask { [execution, notes] in
                for await _ in notes.changes.rings {
                    if hasSettled, let answer = execution.query(name) { return answer }
                    if execution.bodyHasEnded { return nil }
                }
                return nil
            }
            group.addTask { [execution, notes] in
                for _ in 0..<Self.looks {
                    guard (try? await execution.environment.loop.sleep(for: Self.lookInterval)) != nil else { break }
                    // It would have said by now how it answers.
                    if hasSettled, notes.hasParked { break }
                }
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first ?? (hasSettled ? execution.query(name) : nil)
        }
        if let found { return found }
        try Task.checkCancellation()
        if let error = execution.unreadable { throw error }
        guard hasSettled else {
            throw WorkflowError(
                .unavailable, "what '\(execution.key.workflowID)' recorded is not what \(definition.type) does here")
        }
        throw WorkflowError(
            .unknownQuery, "'\(execution.key.workflowID)' (\(definition.type)) has no answer to '\(name)'")
    }

    /// A run that ended by itself has done so here as well.
    private var hasSettled: Bool {
        switch execution.recorded.status {
        case .completed, .failed, .cancelled: execution.bodyHasEnded
        case .running, .parked, .paused, .terminated, .continued: execution.hasCaughtUp
        }
    }
}
