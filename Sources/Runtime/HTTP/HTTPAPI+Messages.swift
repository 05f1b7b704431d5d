import FlotillaIO

// What is told to workflows over HTTP, and asked of them.

extension HTTPAPI {
    /// How long an update's answer is waited for if the request does not say.
    static let updateWaitDefault: Duration = .seconds(10)

    func signal(_ id: String, _ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: ["value", "sender", "number", "namespace"])
        let (sender, number) = (try body.string("sender"), try body.number("number"))
        guard (sender == nil) == (number == nil) else {
            throw Problem.badRequest("sender and number belong together: a sender numbers its signals from 1")
        }
        var from: (String, UInt64)?
        if let sender, let number { from = (sender, number) }
        try await node.signalWorkflow(
            id, namespace: try body.string("namespace") ?? Self.namespaceDefault, name: name,
            value: body.members["value"] ?? .null, from: from)
        return HTTPResponse(status: 204)
    }

    func update(_ id: String, _ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("wait")
        let body = try request.object(allowing: ["input", "id", "namespace"])
        let wait = min(try request.duration("wait") ?? Self.updateWaitDefault, Self.resultWaitMax)
        let (updateID, outcome) = try await node.updateWorkflow(
            id, namespace: try body.string("namespace") ?? Self.namespaceDefault, name: name,
            input: body.members["input"] ?? .null, updateID: try body.string("id"), wait: wait)
        var object: [String: JSONValue] = ["id": .string(updateID), "workflow": .string(id)]
        switch outcome {
        case nil:
            object["status"] = .string("accepted")
            return .json(.object(object), status: 202)
        case .replied(let output)?:
            object["status"] = .string("completed")
            WorkflowJSON.addEnd(output: output, failure: nil, to: &object)
        case .rejected(let failure)?:
            object["status"] = .string("rejected")
            WorkflowJSON.addEnd(output: nil, failure: failure, to: &object)
        }
        return .json(.object(object))
    }

    func query(_ id: String, _ name: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let names: Set<String> = ["input", "namespace"]
        let body = request.body.isEmpty ? JSONObject(members: [:]) : try request.object(allowing: names)
        let output = try await node.queryWorkflow(
            id, namespace: try body.string("namespace") ?? Self.namespaceDefault, name: name,
            input: body.members["input"] ?? .null)
        return .json(.object(["output": WorkflowJSON.document(output)]))
    }

    func complete(_ token: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery()
        let body = try request.object(allowing: ["value", "reject"])
        let (value, reason) = (body.members["value"], try body.string("reject"))
        guard (value == nil) != (reason == nil) else {
            throw Problem.badRequest("say either value, which completes it, or reject, with the reason")
        }
        try await node.completeAwakeable(token, value: value, reason: reason ?? "")
        return HTTPResponse(status: 204)
    }
}
