/// An ordinary `async` function whose steps are recorded, so that it outlives the node that runs it.
///
/// ```swift
/// let orderProcessing = Workflow("order_processing", version: 1) {
///     (order: Order, context: WorkflowContext) async throws -> Receipt in
///     let charge = try await context.step("charge") { try await payments.charge(order, key: $0.idempotencyKey) }
///     try await context.sleep(for: .seconds(1))
///     return Receipt(order: order.id, charge: charge.id)
/// }
/// ```
///
/// After a takeover the body runs again from its beginning, and what was recorded is handed to it: between the calls
/// of the context it must do the same each time it is given the same.
public struct Workflow<Input: Codable & Sendable, Output: Codable & Sendable>: RegisterableWorkflow {
    /// What a workflow does, from its beginning. It runs on one node at a time, on Swift's pool.
    public typealias Body =
        @Sendable (_ input: Input, _ context: WorkflowContext) async throws -> Output

    /// Name and version.
    public let type: WorkflowType
    private let body: Body

    /// - Parameters:
    ///   - name: 1 to `WorkflowLimits.nameBytesMax` bytes.
    ///   - version: from 1. A run keeps the version it was started with; raise it when a running workflow would
    ///     misread its record with the new body.
    public init(_ name: String, version: Int, body: @escaping Body) {
        precondition(
            !name.isEmpty && name.utf8.count <= WorkflowLimits.nameBytesMax,
            "workflow name '\(name)' is not 1 to \(WorkflowLimits.nameBytesMax) bytes long")
        guard version > 0, let version = UInt32(exactly: version) else {
            preconditionFailure(
                "version \(version) of workflow '\(name)' is not a positive 32-bit number")
        }
        type = WorkflowType(name, version: version)
        self.body = body
    }

    public var definition: WorkflowDefinition {
        let (type, body) = (type, body)
        return WorkflowDefinition(type: type) { bytes, context in
            let input: Input
            do {
                input = try JSONCoding.decode(Input.self, from: bytes)
            } catch {
                throw WorkflowError(
                    .undecodableInput,
                    "the input is not what \(type) takes (\(Input.self)): \(error)")
            }
            return try encodeValue(try await body(input, context), "the output of \(type)")
        }
    }
}

/// What a node can be given to run: `[any RegisterableWorkflow]` holds workflows of different inputs and outputs.
public protocol RegisterableWorkflow: Sendable {
    /// The workflow as the node runs it.
    var definition: WorkflowDefinition { get }
}

/// A workflow without its Swift types: bytes in, bytes out. Bindings to other languages use this one.
public struct WorkflowDefinition: RegisterableWorkflow {
    /// What the workflow does with its input's bytes; it returns its output's.
    public typealias Run =
        @Sendable (_ input: [UInt8], _ context: WorkflowContext) async throws -> [UInt8]

    /// Name and version.
    public let type: WorkflowType
    /// What the bytes are.
    public let contentType: String
    /// What the workflow does.
    public let run: Run

    /// A workflow of bytes.
    /// - Parameter contentType: what the bytes are.
    public init(type: WorkflowType, contentType: String = "application/json", run: @escaping Run) {
        self.type = type
        self.contentType = contentType
        self.run = run
    }

    /// The workflow's name.
    public var name: String { type.name }
    /// The workflow's version.
    public var version: UInt32 { type.version }
    public var definition: WorkflowDefinition { self }
}

/// A value's JSON.
func encodeValue<Value: Encodable>(_ value: Value, _ what: @autoclosure () -> String) throws
    -> [UInt8]
{
    do {
        return try JSONCoding.encode(value)
    } catch {
        throw WorkflowError(.unencodable, "\(what()) cannot be written as JSON: \(error)")
    }
}
