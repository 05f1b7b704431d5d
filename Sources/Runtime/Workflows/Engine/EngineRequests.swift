import FlotillaActors
import FlotillaIO

// What clients ask. Any node of the group answers.

/// The only namespace until tenants come.
let defaultNamespace = "default"

/// How a run ended, as bytes.
public enum WorkflowOutcome: Hashable, Sendable {
    /// JSON.
    case completed([UInt8])
    /// Its body threw.
    case failed(WorkflowFailure)
    /// It was asked to end, and did. The reason is empty where nobody gave one.
    case cancelled(reason: String)
    /// It was ended from outside.
    case terminated(reason: String)
    /// It was an execution that is over: its run goes on as a new one.
    case continued

    /// The run's result as a value.
    func value<Output: Decodable>(of id: String, as type: Output.Type) throws -> Output {
        switch self {
        case .completed(let bytes):
            do {
                return try JSONCoding.decode(type, from: bytes)
            } catch {
                throw WorkflowError(.undecodableResult, "the result of '\(id)' is not a \(type): \(error)")
            }
        case .failed(let failure):
            throw WorkflowError(.failed, "workflow '\(id)' failed: \(failure)", failure: failure)
        case .cancelled(let reason):
            throw WorkflowError(.cancelled, "workflow '\(id)' was cancelled" + (reason.isEmpty ? "" : ": \(reason)"))
        case .terminated(let reason):
            throw WorkflowError(.terminated, "workflow '\(id)' was terminated" + (reason.isEmpty ? "" : ": \(reason)"))
        case .continued:
            throw WorkflowError(.wrongState, "'\(id)' is a former execution, whose run went on as a new one")
        }
    }

    /// Nil unless the run has ended.
    init?(_ run: Run) {
        switch run.status {
        case .running, .parked, .paused: return nil
        case .continued: self = .continued
        case .completed: self = .completed(run.output ?? [])
        case .failed: self = .failed(run.failure ?? WorkflowFailure(type: "", message: ""))
        case .cancelled: self = .cancelled(reason: run.cancellation?.reason ?? "")
        case .terminated: self = .terminated(reason: run.intervention?.reason ?? "")
        }
    }
}

/// A run that was started, or found.
public struct StartedRun: Hashable, Codable, Sendable {
    /// The user's name for the work.
    public var workflowID: String
    /// The run that has it.
    public var runID: RunID
    /// Its workflow, with the version that it keeps.
    public var type: WorkflowType
    /// It had been started before, with the same input.
    public var existed: Bool
}

/// A started run whose result has a type.
public struct WorkflowRun<Output: Codable & Sendable>: Sendable {
    /// What is known of it from its start.
    public let started: StartedRun
    private let wait: @Sendable (_ timeout: Duration?) async throws -> Output

    /// - Parameter wait: how whoever started it waits for the end.
    package init(_ started: StartedRun, wait: @escaping @Sendable (_ timeout: Duration?) async throws -> Output) {
        self.started = started
        self.wait = wait
    }

    /// The user's name for the work.
    public var workflowID: String { started.workflowID }
    /// The run that has it.
    public var runID: RunID { started.runID }

    /// Waits for the end. An end that came before is not missed.
    /// - Parameter timeout: nil waits for ever.
    /// - Throws: `WorkflowError` with `failed`, `cancelled` or `terminated` when the workflow ended so, and with
    ///   `timedOut`, `stopped`, `notFound`, `unavailable` or `undecodableResult`; `CancellationError`.
    public func result(timeout: Duration? = nil) async throws -> Output {
        try await wait(timeout)
    }
}

extension WorkflowEngine {
    // MARK: Start

    /// Starts a workflow, or finds the run that the same start has made before.
    /// - Throws: `WorkflowError` with `conflict`, `unknownWorkflow`, `invalidName`, `inputTooLarge`, `unencodable`,
    ///   `overloaded`, `unavailable` or `stopped`; `CancellationError`.
    @discardableResult
    public func start<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input
    ) async throws -> WorkflowRun<Output> {
        let bytes = try encodeValue(input, "the input of \(workflow.type)")
        let started = try await start(
            type: workflow.type.name, version: workflow.type.version, id: id, input: bytes)
        return WorkflowRun(started) { timeout in
            try await self.result(of: id, as: Output.self, timeout: timeout)
        }
    }

    /// The same with JSON.
    /// - Parameter version: nil takes the version of the run that the id has, else the highest that a live node has,
    ///   else the highest that one ever had.
    public func start(type: String, version: UInt32?, id: String, input: [UInt8]) async throws -> StartedRun {
        var request = StartRunRequest(type: type, version: version, id: id, runID: newRunID(), input: input)
        request.placement = .alone
        return try await start(request)
    }

    func start(_ request: StartRunRequest) async throws -> StartedRun {
        let id = request.id
        try WorkflowLimits.checkID(id)
        let input = try payload(request.input, limit: environment.limits.inputBytesMax, "the input")
        let type = try await resolve(
            request.type, version: request.version, newest: request.newest, id: id,
            isNewID: request.placement == .generated)
        if request.newest != nil { try await untilKnown(type) }
        var start = WorkflowOperation.StartRun(
            workflowID: id, runID: request.runID, type: type, input: input, contentType: "application/json")
        start.placement = request.placement.operation
        start.admitBelow = request.admitBelow
        start.attributes = try RunAttributes(checking: request.attributes)
        start.parent = request.parent
        start.trace = request.trace
        setLimits(of: &start)
        let result = try await admitting(input.count) { [environment, start] in
            do {
                let result = try environment.result(
                    of: try await environment.client.propose(
                        [WorkflowOperation.startRun(start).encoded], ownerEpoch: 0))
                if let refusal = result.turnedDown {
                    throw Refused(refusal, "the group did not take workflow '\(id)': \(refusal)")
                }
                return result
            } catch let refused as Refused where refused.code == .conflict {
                guard let same = try await self.repetition(of: start) else { throw refused }
                return same
            }
        }
        let runID = result.runID ?? start.runID
        // A start whose first try was applied unseen finds its own run: that is not an earlier one.
        return StartedRun(
            workflowID: id, runID: runID, type: type,
            existed: result.wasDone && runID != start.runID)
    }

    /// A cluster that has just been made hears of its members' types in a moment.
    private func untilKnown(_ type: WorkflowType) async throws {
        let deadline = environment.loop.now.advanced(by: Self.registrationPatience)
        while try await environment.withMachine({ !$0.state.knownTypes.contains(type) }) {
            // Then the group refuses the start, in its log: only so is it known that the run will never begin there.
            guard environment.loop.now < deadline else { return }
            try await environment.loop.sleep(for: .milliseconds(20))
        }
    }

    private static var registrationPatience: Duration { .seconds(3) }

    func reserve(_ request: ReserveRun) async throws -> ReserveRun.Reply {
        var reservation = TransferOperation.Reservation(
            workflowID: request.id, runID: request.runID, group: request.group)
        reservation.replacing = request.replacing.map {
            TransferOperation.Reservation.Replaced(runID: $0.runID, group: $0.group, isLost: $0.isLost)
        }
        let result = try await namingErrors { [environment, reservation] in
            try environment.result(
                of: try await environment.client.propose(
                    [WorkflowOperation.transfer(.reserveRun(reservation)).encoded], ownerEpoch: 0))
        }
        return ReserveRun.Reply(
            runID: result.runID ?? request.runID, group: result.group ?? request.group, slotEpoch: result.slotEpoch)
    }

    private func newRunID() -> RunID {
        RunID(
            milliseconds: environment.loop.wallNow.nanoseconds / 1_000_000,
            random: (environment.random(), environment.random()))
    }

    private func resolve(
        _ name: String, version: UInt32?, newest: UInt32?, id: String, isNewID: Bool
    ) async throws -> WorkflowType {
        if let version { return WorkflowType(name, version: version) }
        // Nobody can have begun a run with an id that was made for this one: there is nothing to look up.
        if let newest, isNewID { return WorkflowType(name, version: newest) }
        let found = try await namingErrors { [environment] in
            try await environment.client.barrier()
            return try await environment.withMachine { machine -> WorkflowType? in
                let state = machine.state
                if let run = state.runs[RunKey(defaultNamespace, id)], run.type.name == name {
                    return run.type
                }
                if let newest { return WorkflowType(name, version: newest) }
                let live = state.executors.map(\.value).filter(\.isAlive).flatMap(\.capabilities)
                return live.filter { $0.name == name }.max()
                    ?? state.knownTypes.filter { $0.name == name }.max()
            }
        }
        guard let found else {
            throw WorkflowError(
                .unknownWorkflow,
                "no node ever registered a workflow '\(name)'; check the name, or start a node that has it"
            )
        }
        return found
    }

    // MARK: Result

    /// Waits for a run's end, on any node; see `WorkflowRun.result(timeout:)`.
    public func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration? = nil
    ) async throws -> Output {
        guard let outcome = try await outcome(of: id, timeout: timeout) else {
            throw WorkflowError(.timedOut, "workflow '\(id)' has not ended in time; it goes on")
        }
        return try outcome.value(of: id, as: type)
    }

    /// Waits for a run's end.
    /// - Returns: nil when `timeout` is over.
    /// - Throws: `WorkflowError` with `notFound`, `unavailable` or `stopped`; `CancellationError`.
    public func outcome(of id: String, timeout: Duration? = nil) async throws -> WorkflowOutcome? {
        let key = RunKey(defaultNamespace, id)
        let waiter = Promise<Ending>()
        let deadline = timeout.map { environment.loop.now.advanced(by: $0) }
        defer {
            // Marked first: where this task was cancelled early, the loop may yet come to enter it.
            waiter.fulfill(.stopped)
            state.withLock { $0.remove(waiter, for: key) }
        }
        try await namingErrors { [environment] in
            try await environment.client.barrier()
            // On the loop, where ends are told too: none can come between the look and the entry.
            let absence = try await environment.withMachine { machine in
                self.enter(waiter, for: key, machine) ? nil : machine.state.absence(of: key)
            }
            if let absence { throw absence }
        }
        let cancelTimer = deadline.map {
            environment.loop.promise(waiter, fulfilledAt: $0, with: .timedOut).cancel
        }
        defer { cancelTimer?() }
        switch try await waiter.wait() {
        case .outcome(.completed(let output)): return .completed(try environment.codec.decode(output))
        case .outcome(let outcome): return outcome
        case .timedOut: return nil
        case .stopped: throw WorkflowError(.stopped, "\(node) stops; ask another node")
        case .removed: throw notFound(id)
        case .moved: throw Refused(.moved, "workflow '\(id)' is moving to another group; ask there")
        }
    }

    private func enter(_ waiter: Promise<Ending>, for key: RunKey, _ machine: WorkflowStateMachine)
        -> Bool
    {
        guard let run = machine.state.runs[key] else { return false }
        if let outcome = WorkflowOutcome(run) {
            waiter.fulfill(.outcome(outcome))
            return true
        }
        let hasStopped = state.withLock { state in
            if !state.hasStopped, waiter.value == nil { state.add(waiter, for: key) }
            return state.hasStopped
        }
        if hasStopped { waiter.fulfill(.stopped) }
        return true
    }

    // MARK: Below

    /// Where the group says that a run is.
    func location(of id: String) async throws -> RunLocation {
        let key = RunKey(defaultNamespace, id)
        return try await namingErrors { [environment] in
            try await environment.withMachine { $0.state.location(of: key, in: environment.group) }
        }
    }

    /// A run as of a moment after the call.
    /// - Throws: as `describe`.
    func recordedRun(_ key: RunKey) async throws -> Run {
        try await namingErrors { [environment] in
            try await environment.client.barrier()
            let found = try await environment.withMachine { machine -> Result<Run, Refused> in
                machine.state.runs[key].map { .success($0) } ?? .failure(machine.state.absence(of: key))
            }
            return try found.get()
        }
    }

    func notFound(_ id: String) -> WorkflowError {
        WorkflowError(.notFound, "there is no workflow '\(id)'")
    }

    /// The same for what a client brings, if there is room for it.
    func admitting<Result>(_ bytes: Int, _ body: () async throws -> Result) async throws -> Result {
        try await environment.context.gate.admit(bytes) { try await namingErrors(body) }
    }

    /// Turns what the layers below throw into this module's error.
    func namingErrors<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let refused as Refused {
            switch refused.code {
            case .conflict: throw WorkflowError(.conflict, refused.message)
            case .unknownWorkflow: throw WorkflowError(.unknownWorkflow, refused.message)
            case .noSuchRun: throw WorkflowError(.notFound, refused.message)
            case .wrongState: throw WorkflowError(.wrongState, refused.message)
            // Whoever sent the request knows where to go instead.
            case .sealed, .moved, .notHome, .notReserved, .full: throw refused
            case .messageOutOfOrder: throw WorkflowError(.messageOutOfOrder, refused.message)
            case .mailboxFull: throw WorkflowError(.mailboxFull, refused.message)
            case .noSuchStep: throw WorkflowError(.invalidInput, refused.message)
            case .outdatedFork: throw WorkflowError(.unavailable, refused.message)
            case .overLimit:
                environment.context.gate.countRefusal()
                throw WorkflowError(.tooManyWorkflows, refused.message)
            case .wrongToken: throw WorkflowError(.notFound, refused.message)
            case .alreadyCompleted: throw WorkflowError(.alreadyCompleted, refused.message)
            case .outboxFull: throw WorkflowError(.outboxFull, refused.message)
            case .invalidAttribute: throw WorkflowError(.invalidAttribute, refused.message)
            case .staleOwner, .notYet, .runEnded, .noSuchTimer, .staleExecutor,
                .checkpointOutOfOrder, .notEmpty, .transferOutOfOrder, .noSuchMessage:
                throw WorkflowError(.unexpectedAnswer, refused.message)
            }
        } catch let error as GroupError {
            switch error.code {
            case .overloaded: throw WorkflowError(.overloaded, error.message)
            case .diskFull: throw WorkflowError(.diskFull, error.message)
            case .tooLarge: throw WorkflowError(.inputTooLarge, error.message)
            case .timedOut: throw WorkflowError(.unavailable, error.message)
            case .stopped, .unknownGroup: throw WorkflowError(.stopped, error.message)
            }
        }
    }
}
