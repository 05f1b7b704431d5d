import FlotillaActors
import FlotillaIO
import FlotillaRaft

// Workflows, as any task may ask for them while the node runs. Every node answers for the whole fleet.

extension Node {
    /// Starts a workflow, or finds the run that an earlier start with the same id and an equal input made. Returns once
    /// the start is durable on a majority.
    /// - Parameters:
    ///   - attributes: what lists find it by; `WorkflowContext.setAttributes` changes them.
    ///   - trace: what this is done in; kept with the run, whose steps and children belong to it (`StepContext.trace`).
    /// - Throws: `WorkflowError` with `conflict` where the id belongs to a run with another input, and others that say
    ///   what to do; `NodeError` when the node has stopped.
    @discardableResult
    public func start<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input, attributes: [String: String] = [:],
        trace: TraceContext? = nil
    ) async throws -> WorkflowRun<Output> {
        let bytes = try encodeValue(input, "the input of \(workflow.type)")
        let router = try await router
        let started = try await router.start(
            type: workflow.type.name, version: workflow.type.version, id: id, input: bytes,
            attributes: attributes, trace: trace)
        return WorkflowRun(started) { timeout in
            try await router.result(of: id, as: Output.self, timeout: timeout)
        }
    }

    /// Waits for the end of a run, wherever and whenever it was started.
    /// - Parameter timeout: nil waits for ever.
    public func result<Output: Decodable & Sendable>(
        of id: String, as type: Output.Type, timeout: Duration? = nil
    ) async throws -> Output {
        try await router.result(of: id, as: type, timeout: timeout)
    }

    /// All that is recorded of a run, and what it waits for.
    /// - Throws: `WorkflowError` with `notFound`, and with `unavailable` where its cluster does not answer, which then
    ///   says why: it has no quorum, or the run is on its way to another one.
    public func describe(_ id: String) async throws -> WorkflowDescription {
        do {
            return try await router.perform(DescribeRun(id: id), on: id)
        } catch let error as WorkflowError where error.code == .unavailable {
            throw try await running().explaining(error, of: id)
        }
    }

    /// The values that a run has recorded under a key, in their order, page by page.
    /// - Parameter start: the number of the first; they are counted from 0.
    public func checkpoints(
        _ name: String, of id: String, from start: UInt64 = 0, limit: Int = 100
    ) async throws -> CheckpointPage {
        try await router.perform(ReadCheckpoints(id: id, key: name, start: start, limit: limit), on: id)
    }

    /// What a run has recorded, in the order of time, with its beginning and its end: page by page.
    /// - Parameters:
    ///   - after: what the page before named as `next`; nil begins with the first event.
    ///   - withValues: also what was recorded, and input and output.
    public func history(
        of id: String, after: String? = nil, limit: Int = 100, withValues: Bool = false
    ) async throws -> WorkflowHistory {
        try await router.perform(ReadHistory(id: id, after: after, limit: limit, withValues: withValues), on: id)
    }

    /// All that a run has recorded, with the values, in memory: what `replay(history:against:)` of FlotillaSimulation
    /// takes.
    public func wholeHistory(of id: String) async throws -> WorkflowHistory {
        try await WorkflowHistory.whole(of: id) { after in
            try await self.history(of: id, after: after, limit: WorkflowLimits.listLimitMax, withValues: true)
        }
    }

    /// Does something to a run: cancels, terminates, pauses, resumes it, or runs a failed one again. Returns once that is
    /// durable on a majority.
    /// - Parameter reason: kept with the run.
    /// - Returns: the run as it stands then.
    /// - Throws: `WorkflowError` with `notFound`, or `wrongState` where the run's status does not allow it.
    @discardableResult
    public func control(_ id: String, _ action: WorkflowAction, reason: String = "") async throws -> WorkflowInfo {
        try await router.perform(ControlRun(id: id, action: action, reason: reason), on: id)
    }

    /// Follows what a run emits (`WorkflowContext.emit`), from wherever it runs, until it has ended: the values in their
    /// order, each once.
    ///
    /// ```swift
    /// for try await line in node.stream(of: "import-7", as: Int.self) { print(line.value) }
    /// ```
    /// - Parameter after: the position of an element that was seen; nil begins with the oldest that is kept.
    /// - Throws: by `next()`, `WorkflowError` with `notFound`, `invalidPage`, `undecodableResult`, or `unavailable` and
    ///   `stopped`, behind which another node, or this one later, goes on from the last position.
    public func stream<Value: Decodable & Sendable>(
        _ stream: String = WorkflowStreams.standard, of id: String, as type: Value.Type, after: String? = nil
    ) -> WorkflowStream<Value> {
        WorkflowStream(after: after) { after in
            try await self.router.perform(
                ReadStream(id: id, stream: stream, after: after, limit: 100, timeout: .seconds(20)), on: id)
        }
    }

    /// Begins a run with what another one had recorded before a step: it does that step and all that follows again, by the
    /// code that its node has now. The other run is not changed, and may have ended.
    ///
    /// A child whose end the body had not met by then is started anew; messages that it had not received are not the new
    /// run's, and an awakeable that it waits for has another token.
    /// - Parameters:
    ///   - step: its name; it may be one that has no result yet, but has failed or told its progress.
    ///   - occurrence: counts the uses of the name, from 0.
    ///   - newID: nil makes one. The same fork again finds the run of the first one.
    /// - Throws: `WorkflowError` with `notFound`; `invalidInput` where the run has not recorded the step, or where more than
    ///   7 MiB of what it recorded before are in the history (see `WorkflowLimits.stepsInMemory`); `wrongState` where it
    ///   had heard by then that it is to end; `conflict` where the id is taken.
    @discardableResult
    public func fork(
        _ id: String, from step: String, occurrence: UInt64 = 0, id newID: String? = nil
    ) async throws -> StartedRun {
        try await router.fork(id, from: step, occurrence: occurrence, as: newID)
    }

    /// Removes a run that has ended, with everything that it recorded. Its id can be used again.
    /// - Throws: `WorkflowError` with `notFound`, or `wrongState` for a run that has not ended.
    public func prune(_ id: String) async throws { _ = try await router.perform(PruneRun(id: id), on: id) }

    /// Removes the runs that ended and that `retention` does not keep, in portions, so that everything else goes on
    /// meanwhile. By itself the cluster does so by `NodeConfiguration.retention`.
    /// - Parameter limit: how many at most.
    /// - Returns: how many were removed, and whether there are more to remove.
    @discardableResult
    public func pruneFinished(
        keeping retention: WorkflowRetention, limit: Int = .max
    ) async throws -> (count: Int, hasMore: Bool) {
        try await router.pruneFinished(keeping: retention, limit: limit)
    }

    /// Runs in the order of their starts, page by page.
    /// - Parameter after: what the page before named as `next`; nil begins with the oldest.
    public func list(
        _ filter: WorkflowFilter = WorkflowFilter(), after: String? = nil, limit: Int = 100
    ) async throws -> WorkflowPage {
        try await router.list(filter, after: after, limit: limit)
    }

    /// How many runs there are, by status; each cluster's part is as of a moment after the call.
    public func count(_ filter: WorkflowFilter = WorkflowFilter()) async throws -> WorkflowCount {
        try await router.count(filter)
    }

    var router: WorkflowRouter { get async throws { try await running().router } }
}

// MARK: For the HTTP interface

extension Node: NodeOperations {
    func startWorkflow(
        type: String, version: UInt32?, id: String?, namespace: String, input: JSONValue,
        attributes: [String: String] = [:], trace: TraceContext? = nil
    ) async throws -> (info: WorkflowInfo, isNew: Bool) {
        try Self.checkNamespace(namespace)
        let started = try await router.start(
            type: type, version: version, id: id, input: try JSONCoding.encode(input), attributes: attributes,
            trace: trace)
        return (try await describe(started.workflowID).info, !started.existed)
    }

    func describeWorkflow(_ id: String, namespace: String) async throws -> WorkflowDescription? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound { try await self.describe(id) }
    }

    func listCheckpoints(
        _ key: String, of id: String, namespace: String, from start: UInt64, limit: Int
    ) async throws -> CheckpointPage? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound { try await self.checkpoints(key, of: id, from: start, limit: limit) }
    }

    func workflowHistory(
        of id: String, namespace: String, after: String?, limit: Int, withValues: Bool
    ) async throws -> WorkflowHistory? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound {
            try await self.history(of: id, after: after, limit: limit, withValues: withValues)
        }
    }

    func controlWorkflow(
        _ id: String, namespace: String, _ action: WorkflowAction, reason: String
    ) async throws -> WorkflowInfo {
        try Self.checkNamespace(namespace)
        return try await control(id, action, reason: reason)
    }

    func forkWorkflow(
        _ id: String, namespace: String, from step: String, occurrence: UInt64, newID: String?
    ) async throws -> (info: WorkflowInfo, isNew: Bool) {
        try Self.checkNamespace(namespace)
        let started = try await fork(id, from: step, occurrence: occurrence, id: newID)
        return (try await describe(started.workflowID).info, !started.existed)
    }

    func streamWorkflow(
        _ id: String, namespace: String, stream: String, after: String?, limit: Int, wait: Duration
    ) async throws -> WorkflowStreamPage? {
        try Self.checkNamespace(namespace)
        let request = ReadStream(id: id, stream: stream, after: after, limit: limit, timeout: wait)
        return try await nilIfNotFound { try await self.router.perform(request, on: id) }
    }

    func pruneWorkflow(_ id: String, namespace: String) async throws {
        try Self.checkNamespace(namespace)
        try await prune(id)
    }

    func pruneWorkflows(
        namespace: String, keeping retention: WorkflowRetention, limit: Int
    ) async throws -> (count: Int, hasMore: Bool) {
        try Self.checkNamespace(namespace)
        return try await pruneFinished(keeping: retention, limit: limit)
    }

    func awaitWorkflow(_ id: String, namespace: String, wait: Duration) async throws -> WorkflowDescription? {
        try Self.checkNamespace(namespace)
        return try await nilIfNotFound {
            _ = try await self.router.outcome(of: id, timeout: wait)
            return try await self.describe(id)
        }
    }

    func listWorkflows(
        namespace: String, _ filter: WorkflowFilter, after: String?, limit: Int
    ) async throws -> WorkflowPage {
        try Self.checkNamespace(namespace)
        return try await list(filter, after: after, limit: limit)
    }

    func countWorkflows(namespace: String, _ filter: WorkflowFilter) async throws -> WorkflowCount {
        try Self.checkNamespace(namespace)
        return try await count(filter)
    }

    func counters() async throws -> [NodeCounter] { try await running().counters() }

    func figures() async throws -> FleetFigures { try await running().figures() }

    private func nilIfNotFound<Value>(_ body: () async throws -> Value) async throws -> Value? {
        do {
            return try await body()
        } catch let error as WorkflowError where error.code == .notFound {
            return nil
        }
    }

    static func checkNamespace(_ namespace: String) throws {
        guard namespace == defaultNamespace else {
            throw NodeError(
                .invalidConfiguration, "namespace '\(namespace)': there is only '\(defaultNamespace)' so far")
        }
    }
}
