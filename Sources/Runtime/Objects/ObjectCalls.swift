import FlotillaActors
import FlotillaIO

// Calls to durable objects, from outside and from workflows. Either way the call has an id, by which the object carries it
// out once.

extension WorkflowRouter {
    /// Calls an object, which begins where there is none yet.
    /// - Returns: nil when the time is over; the call stays with the object.
    func call(
        _ object: String, version: UInt32?, _ key: String, _ call: ObjectCall, callID: String, timeout: Duration?
    ) async throws -> ObjectCall.Answer? {
        let id = ObjectID.text(object, key)
        let input = try encodeValue(call, "the input of method '\(call.method)'")
        let deadline = timeout.map { core.loop.now.advanced(by: $0) }
        while true {
            do {
                let left = deadline.map { max(.zero, core.loop.now.duration(to: $0)) }
                let outcome = try await update(
                    id, name: ObjectCall.update.name, input: input, updateID: callID, timeout: left)
                switch outcome {
                case nil: return nil
                case .rejected(let failure)?: return ObjectCall.Answer(failure: failure)
                case .replied(let bytes)?: return try JSONCoding.decode(ObjectCall.Answer.self, from: bytes)
                }
            } catch let error as WorkflowError where error.code == .notFound {
                // Another caller may be first, and a later execution has another input: any object of the key will do.
                do {
                    _ = try await start(
                        type: ObjectID.type(object), version: version, id: id, input: Array("{}".utf8))
                } catch let error as WorkflowError where error.code == .conflict {}
            }
        }
    }

    /// - Returns: nil where there is no such object.
    func read(_ object: String, _ key: String) async throws -> JSONValue? {
        do {
            let id = ObjectID.text(object, key)
            return try JSONValue(parsing: try await query(id, name: ObjectCall.read.name, input: Array("null".utf8)))
        } catch let error as WorkflowError where error.code == .notFound {
            return nil
        }
    }
}

extension ObjectCall.Answer {
    func value<Output: Decodable>(of method: String, as type: Output.Type) throws -> Output {
        if let failure { throw WorkflowError(.rejected, "method '\(method)' threw: \(failure)", failure: failure) }
        return try ObjectCall.decode(type, output ?? .null, "the answer of method '\(method)'")
    }
}

extension Node {
    /// Calls a method of a durable object, by whichever node has it, and returns once what it changed is durable.
    /// - Parameters:
    ///   - callID: the call is carried out once, however often it is sent within a day, and while fewer than 20,000 others
    ///     come; nil makes one, and then a call whose outcome is unknown cannot be repeated safely.
    ///   - timeout: nil waits as long as it takes.
    /// - Throws: `WorkflowError` with `rejected` and what the method threw; `timedOut` where the answer did not come in
    ///   time, while the call stays with the object; `unknownWorkflow` where no node has the object; `wrongState` where
    ///   the object's workflow was ended from outside; `conflict` where the call's id belongs to another call.
    public func call<State, Input, Output>(
        _ object: DurableObject<State>, _ key: String, _ method: ObjectMethod<Input, Output>, _ input: Input,
        callID: String? = nil, timeout: Duration? = nil
    ) async throws -> Output {
        let router = try await router
        let call = ObjectCall(
            method: method.name, input: try ObjectCall.value(input, "the input of method '\(method.name)'"))
        let answer = try await router.call(
            object.name, version: object.type.version, key, call, callID: callID ?? router.randomName(),
            timeout: timeout)
        guard let answer else {
            throw WorkflowError(
                .timedOut, "object '\(object.name)' of key '\(key)' has not answered in time; the call goes on")
        }
        return try answer.value(of: method.name, as: Output.self)
    }

    /// The state of a durable object, with all calls that were answered before; nil where it was never called.
    public func state<State>(of object: DurableObject<State>, _ key: String) async throws -> State? {
        guard let value = try await router.read(object.name, key) else { return nil }
        return try ObjectCall.decode(State.self, value, "the state of object '\(object.name)'")
    }
}

// MARK: For the HTTP interface

extension Node {
    func callObject(
        _ object: String, _ key: String, _ method: String, input: JSONValue, callID: String?, wait: Duration
    ) async throws -> (id: String, answer: ObjectCall.Answer?) {
        let router = try await router
        let callID = callID ?? router.randomName()
        let answer = try await router.call(
            object, version: nil, key, ObjectCall(method: method, input: input), callID: callID, timeout: wait)
        return (callID, answer)
    }

    func objectState(_ object: String, _ key: String) async throws -> JSONValue? {
        try await router.read(object, key)
    }
}

/// How a running workflow reaches objects; set once the node has a router.
final class ObjectCaller: Sendable {
    typealias Call =
        @Sendable (_ object: String, _ version: UInt32, _ key: String, ObjectCall, _ callID: String) async throws ->
        ObjectCall.Answer?
    private let call = Lock<Call?>(nil)

    func set(_ call: @escaping Call) { self.call.withLock { $0 = call } }

    func callAsFunction(
        _ object: DurableObject<some Sendable>, _ key: String, _ call: ObjectCall, _ callID: String
    ) async throws -> ObjectCall.Answer {
        let reach = self.call.withLock { $0 }
        let answer = try await reach?(object.name, object.type.version, key, call, callID)
        guard let answer else { throw WorkflowError(.unavailable, "this node reaches no objects yet") }
        return answer
    }
}

extension WorkflowContext {
    /// Calls a method of a durable object. It is carried out once, however often this run changes its owner, as long as the
    /// object remembers the call: for a day, and while fewer than 20,000 others come. The answer is recorded as a step's
    /// result is.
    /// - Parameter name: calls that are made at the same time need different ones; nil takes the object's and the method's.
    /// - Throws: as `step(_:_:)`, and `WorkflowError` with `rejected` and what the method threw, or with why it cannot be
    ///   called.
    public func call<State, Input, Output>(
        _ object: DurableObject<State>, _ key: String, _ method: ObjectMethod<Input, Output>, _ input: Input,
        name: String? = nil
    ) async throws -> Output {
        let call = ObjectCall(
            method: method.name, input: try ObjectCall.value(input, "the input of method '\(method.name)'"))
        let caller = execution.environment.context.objects
        // What passes by itself is waited for; all else is the call's outcome.
        let patience = RetryPolicy(attempts: nil)
        let answer = try await step(name ?? "\(object.name).\(method.name)", retry: patience) { step in
            do {
                return try await caller(object, key, call, step.idempotencyKey)
            } catch let error as WorkflowError where error.retryAfter == nil {
                return ObjectCall.Answer(failure: WorkflowFailure(error))
            }
        }
        return try answer.value(of: method.name, as: Output.self)
    }
}
