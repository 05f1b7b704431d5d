import FlotillaActors
import FlotillaIO

// What a running workflow is told and asked, by any node.

extension Node {
    /// Sends a signal to a run: it is received once, in the order in which signals were acknowledged, also where the body
    /// asks for it later only. Returns once it is durable on a majority.
    /// - Parameter sender: whoever may have to repeat a signal names itself and numbers its signals to the run from 1; a
    ///   repetition is then none. Nil for a single one.
    /// - Throws: `WorkflowError` with `notFound`; `wrongState` where the run has ended; `mailboxFull` where it has too many
    ///   to receive; `messageOutOfOrder`.
    public func signal<Value>(
        _ id: String, _ signal: WorkflowSignal<Value>, _ value: Value,
        from sender: (name: String, number: UInt64)? = nil
    ) async throws {
        let bytes = try encodeValue(value, "signal '\(signal.name)'")
        try await router.signal(id, name: signal.name, value: bytes, from: sender)
    }

    /// Asks a run to do something, and waits for its body's answer.
    /// - Parameters:
    ///   - updateID: the run carries it out once, however often it is sent; every request with the id gets the answer.
    ///   - timeout: nil waits as long as the run lasts.
    /// - Throws: `WorkflowError` with `rejected` where the body said no; `timedOut` where the answer did not come in time,
    ///   while the update goes on; `wrongState` where the run has ended; `conflict` where the id belongs to another update.
    public func update<Input, Output>(
        _ id: String, _ update: WorkflowUpdate<Input, Output>, _ input: Input, updateID: String,
        timeout: Duration? = nil
    ) async throws -> Output {
        let bytes = try encodeValue(input, "update '\(update.name)'")
        let outcome = try await router.update(
            id, name: update.name, input: bytes, updateID: updateID, timeout: timeout)
        switch outcome {
        case nil:
            throw WorkflowError(.timedOut, "workflow '\(id)' has not answered '\(updateID)' in time; it goes on")
        case .rejected(let failure)?:
            throw WorkflowError(.rejected, "workflow '\(id)' rejected '\(updateID)': \(failure)", failure: failure)
        case .replied(let output)?:
            do {
                return try JSONCoding.decode(Output.self, from: output)
            } catch {
                throw WorkflowError(
                    .undecodableResult, "the answer of '\(id)' to '\(updateID)' is not a \(Output.self): \(error)")
            }
        }
    }

    /// Asks a workflow something that its code answers without changing anything, whether it runs or has ended. The answer
    /// knows everything that was acknowledged before the call. This node must have the workflow's code.
    /// - Throws: `WorkflowError` with `notFound`, `unknownQuery`, `unknownWorkflow` where this node does not have the code,
    ///   or `rejected` with what the answer threw.
    public func query<Input, Output>(
        _ id: String, _ query: WorkflowQuery<Input, Output>, _ input: Input
    ) async throws -> Output {
        let bytes = try encodeValue(input, "query '\(query.name)'")
        let output = try await router.query(id, name: query.name, input: bytes)
        do {
            return try JSONCoding.decode(Output.self, from: output)
        } catch {
            throw WorkflowError(
                .undecodableResult, "the answer to query '\(query.name)' is not a \(Output.self): \(error)")
        }
    }

    /// Completes what a run waits for by an awakeable; once. The same again does nothing.
    /// - Parameter token: as the run handed it out.
    /// - Throws: `WorkflowError` with `notFound`; `alreadyCompleted` where that was done with something else.
    public func resolve<Value: Encodable>(_ token: String, _ value: Value) async throws {
        try await router.complete(token, value: try encodeValue(value, "the value of an awakeable"))
    }

    /// The same with a no: the run's wait throws `WorkflowError.Code.rejected`.
    public func reject(_ token: String, reason: String) async throws {
        try await router.complete(token, value: nil, reason: reason)
    }

    // MARK: For the HTTP interface

    func signalWorkflow(
        _ id: String, namespace: String, name: String, value: JSONValue, from sender: (name: String, number: UInt64)?
    ) async throws {
        try Self.checkNamespace(namespace)
        try await router.signal(id, name: name, value: value.canonicalBytes, from: sender)
    }

    func updateWorkflow(
        _ id: String, namespace: String, name: String, input: JSONValue, updateID: String?, wait: Duration
    ) async throws -> (id: String, outcome: UpdateOutcome?) {
        try Self.checkNamespace(namespace)
        let router = try await router
        let updateID = updateID ?? router.randomName()
        let outcome = try await router.update(
            id, name: name, input: input.canonicalBytes, updateID: updateID, timeout: wait)
        return (updateID, outcome)
    }

    func queryWorkflow(_ id: String, namespace: String, name: String, input: JSONValue) async throws -> [UInt8] {
        try Self.checkNamespace(namespace)
        return try await router.query(id, name: name, input: input.canonicalBytes)
    }

    func completeAwakeable(_ token: String, value: JSONValue?, reason: String) async throws {
        try await router.complete(token, value: value?.canonicalBytes, reason: reason)
    }
}
