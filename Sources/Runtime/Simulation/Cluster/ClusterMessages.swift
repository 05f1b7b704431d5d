public import Flotilla
import FlotillaIO

// What a client tells and asks running workflows that knows all nodes and does not die with one. Each may be sent more
// than once, to several nodes, and counts once.

extension SimulatedCluster {
    /// Sends a signal by whichever node takes it, and asks again until one has.
    /// - Parameter sender: names the client and numbers its signals to the run, from 1.
    /// - Throws: `WorkflowError` with `notFound`, `wrongState` or `messageOutOfOrder`.
    public func signal<Value>(
        _ id: String, _ signal: WorkflowSignal<Value>, _ value: Value, from sender: (name: String, number: UInt64)
    ) async throws {
        try await ask { node in try await node.signal(id, signal, value, from: sender) }
        note("run '\(id)': signal '\(signal.name)' \(sender.number) of \(sender.name)", node: nil)
    }

    /// Sends an update by whichever node takes it, until the body has answered.
    /// - Throws: `WorkflowError` with `rejected`, `notFound`, `wrongState` or `conflict`.
    public func update<Input, Output>(
        _ id: String, _ update: WorkflowUpdate<Input, Output>, _ input: Input, updateID: String
    ) async throws -> Output {
        while true {
            do {
                let output = try await ask { node in
                    try await node.update(id, update, input, updateID: updateID, timeout: Self.patience)
                }
                note("run '\(id)': update '\(updateID)' is answered", node: nil)
                return output
            } catch let error as WorkflowError where error.code == .timedOut {
                continue
            }
        }
    }

    /// Asks a workflow something by whichever node can answer.
    /// - Throws: `WorkflowError` with `notFound`, `unknownQuery` or `rejected`.
    public func query<Input, Output>(
        _ id: String, _ query: WorkflowQuery<Input, Output>, _ input: Input
    ) async throws -> Output {
        try await ask { node in try await node.query(id, query, input) }
    }

    /// Completes an awakeable by whichever node takes it, and asks again until one has.
    /// - Throws: `WorkflowError` with `notFound` or `alreadyCompleted`.
    public func resolve<Value: Encodable & Sendable>(_ token: String, _ value: Value) async throws {
        try await ask { node in try await node.resolve(token, value) }
        note("an awakeable is completed", node: nil)
    }
}
