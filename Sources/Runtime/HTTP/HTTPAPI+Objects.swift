import FlotillaIO

// Durable objects over HTTP.

extension HTTPAPI {
    /// How long the answer of a call is waited for if the request does not say.
    private static let callWaitDefault: Duration = .seconds(10)

    func objectRoutes(for path: [String]) -> [(method: String, handler: Handler)]? {
        guard path.starts(with: ["v1", "objects"]) else { return nil }
        switch path.count {
        case 4: return [("GET", { try await state(of: path[2], path[3], $0) })]
        case 5: return [("POST", { try await call(path[2], path[3], path[4], $0) })]
        default: return nil
        }
    }

    private func state(of object: String, _ key: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        guard let state = try await node.objectState(object, key) else {
            throw Problem.notFound("object '\(object)' of key '\(key)' was never called")
        }
        return .json(.object(["state": state]))
    }

    private func call(
        _ object: String, _ key: String, _ method: String, _ request: HTTPRequest
    ) async throws -> HTTPResponse {
        try request.allowQuery("wait")
        let body = try request.optionalObject(allowing: ["input", "id"])
        let wait = min(try request.duration("wait") ?? Self.callWaitDefault, Self.resultWaitMax)
        let (id, answer) = try await node.callObject(
            object, key, method, input: body.members["input"] ?? .null, callID: try body.string("id"), wait: wait)
        guard let answer else { return .json(.object(["id": .string(id)]), status: 202) }
        if let failure = answer.failure {
            throw failure.type == "WorkflowError.unknownMethod"
                ? Problem.notFound(failure.message) : Problem.unprocessable("method '\(method)' threw: \(failure)")
        }
        return .json(.object(["id": .string(id), "output": answer.output ?? .null]))
    }
}
