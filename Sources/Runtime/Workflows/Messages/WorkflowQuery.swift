import FlotillaIO

/// A question to a workflow that its body's code answers without changing anything: also to a run that has ended, that
/// is parked, or that runs on another node.
///
/// ```swift
/// let progress = WorkflowQuery<Bool, Int>("progress")
/// context.answer(progress) { _ in done.value }                    // in the body, which has `let done = context.variable(0)`
/// let done = try await node.query("order-17", progress, true)     // from outside
/// ```
public struct WorkflowQuery<Input: Codable & Sendable, Output: Codable & Sendable>: Sendable {
    /// The query's name.
    public let name: String

    /// - Parameter name: 1 to `WorkflowLimits.nameBytesMax` bytes that do not begin with "$".
    public init(_ name: String) {
        preconditionIsName(name)
        self.name = name
    }
}

extension WorkflowContext {
    /// Says how queries of a name are answered, from here on: at the beginning of a body, best.
    /// - Parameter body: short, and without effects: it runs for each query, on any node that has the code. What it
    ///   throws is what the query gets.
    public func answer<Input, Output>(
        _ query: WorkflowQuery<Input, Output>, _ body: @escaping @Sendable (Input) throws -> Output
    ) {
        execution.setQuery(query.name) { bytes in
            let input: Input
            do {
                input = try JSONCoding.decode(Input.self, from: bytes)
            } catch {
                throw WorkflowError(.undecodableInput, "query '\(query.name)' takes a \(Input.self): \(error)")
            }
            return try encodeMessage(try body(input), "the answer to query '\(query.name)'")
        }
    }
}
