import FlotillaIO

/// State under a key with a single writer: calls to one key are carried out one after the other, each once, and what they
/// change is replicated before they are answered. Register it as a workflow is registered; an object begins with the first
/// call to its key.
///
/// ```swift
/// let add = ObjectMethod<Int, Int>("add")
/// let counter = DurableObject("counter", version: 1, initial: 0)
///     .on(add) { (count: inout Int, amount: Int) in
///         count += amount
///         return count
///     }
/// let total = try await node.call(counter, "page-7", add, 1, callID: "request-81")      // from outside, by any node
/// let total = try await context.call(counter, "page-7", add, 1)                          // from a workflow
/// ```
/// An object is a workflow that receives its calls as updates; its id is `object.counter/page-7`.
public struct DurableObject<State: Codable & Sendable>: RegisterableWorkflow {
    typealias Method = @Sendable (_ state: inout State, _ input: JSONValue) throws -> JSONValue

    /// The object's name, as it was made with.
    public let name: String
    let type: WorkflowType
    private let initial: State
    private var methods: [String: Method] = [:]
    /// After so many calls the state begins a new execution, with nothing recorded.
    var callsPerExecution = 500

    /// - Parameters:
    ///   - name: 1 to 200 bytes without "/".
    ///   - version: from 1. Objects keep the version that they began with until their next execution; raise it when methods
    ///     are to do something else with the same calls.
    ///   - initial: what an object's state is before the first call.
    public init(_ name: String, version: Int, initial: State) {
        precondition(
            (1...200).contains(name.utf8.count) && !name.contains("/"),
            "'\(name)' is not a name of 1 to 200 bytes without '/'")
        self.name = name
        self.initial = initial
        guard version > 0, let number = UInt32(exactly: version) else {
            preconditionFailure("version \(version) of object '\(name)' is not a positive 32-bit number")
        }
        type = WorkflowType(ObjectID.type(name), version: number)
    }

    /// Says what a method does.
    /// - Parameter body: short, and a function of state and input alone: it runs again when the object's node has
    ///   changed. Where it throws the state stays as it was, and the caller gets what it threw.
    public func on<Input, Output>(
        _ method: ObjectMethod<Input, Output>,
        _ body: @escaping @Sendable (_ state: inout State, _ input: Input) throws -> Output
    ) -> DurableObject {
        var object = self
        let previous = object.methods.updateValue(
            { state, input in
                let input = try ObjectCall.decode(Input.self, input, "method '\(method.name)'")
                return try ObjectCall.value(try body(&state, input), "the answer of method '\(method.name)'")
            }, forKey: method.name)
        precondition(previous == nil, "object '\(name)' has two methods '\(method.name)'")
        return object
    }

    public var definition: WorkflowDefinition {
        let (initial, methods, callsPerExecution) = (initial, methods, callsPerExecution)
        let name = name
        return Workflow<ObjectState<State>, JSONValue>(type.name, version: Int(type.version)) { start, context in
            let state = context.variable(start.state ?? initial)
            context.answer(ObjectCall.read) { _ in try ObjectCall.value(state.value, "the state of object '\(name)'") }
            for _ in 0..<callsPerExecution {
                let request = try await context.receive(ObjectCall.update)
                let before = state.value
                var changed = before
                do {
                    guard let method = methods[request.input.method] else {
                        throw WorkflowError(.unknownMethod, "object '\(name)' has no method '\(request.input.method)'")
                    }
                    let output = try method(&changed, request.input.input)
                    state.set(changed)
                    try await request.reply(.init(output: output))
                } catch let error as WorkflowError where error.endsBody {
                    throw error
                } catch let error as CancellationError {
                    throw error
                } catch {
                    state.set(before)
                    try await request.reply(.init(failure: WorkflowFailure(error)))
                }
            }
            try await context.continueAsNew(ObjectState(state: state.value))
        }.definition
    }
}

/// A method of a durable object: made once, and used by the object and by its callers.
public struct ObjectMethod<Input: Codable & Sendable, Output: Codable & Sendable>: Sendable {
    /// The method's name.
    public let name: String

    /// - Parameter name: 1 to `WorkflowLimits.nameBytesMax` bytes that do not begin with "$".
    public init(_ name: String) {
        preconditionIsName(name)
        self.name = name
    }
}

/// What an object's workflow is started with.
struct ObjectState<State: Codable & Sendable>: Codable, Sendable {
    /// Nil for a new object.
    var state: State?
}

/// A call as it travels to an object, and the answer.
struct ObjectCall: Codable, Sendable {
    var method: String
    var input: JSONValue

    struct Answer: Codable, Sendable {
        var output: JSONValue?
        var failure: WorkflowFailure?
    }

    static let update = WorkflowUpdate<ObjectCall, Answer>("call")
    static let read = WorkflowQuery<JSONValue, JSONValue>("state")

    static func value<Value: Encodable>(_ value: Value, _ what: @autoclosure () -> String) throws -> JSONValue {
        try JSONValue(parsing: try encodeMessage(value, what()))
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ value: JSONValue, _ what: String) throws -> Value {
        do {
            return try JSONCoding.decode(type, from: value.canonicalBytes)
        } catch {
            throw WorkflowError(.undecodableInput, "\(what) has to do with a \(type): \(error)")
        }
    }
}

enum ObjectID {
    private static let prefix = "object."

    static func type(_ name: String) -> String { prefix + name }
    /// The workflow id of an object.
    static func text(_ name: String, _ key: String) -> String { "\(prefix)\(name)/\(key)" }
}

extension WorkflowError {
    /// Not of a method: the run stops here, or is to end.
    fileprivate var endsBody: Bool {
        switch code {
        case .cancelled, .contextEnded: true
        default: false
        }
    }
}
