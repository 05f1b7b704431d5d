import FlotillaIO

// What a run emits, for those who follow it over HTTP: as JSON that is asked for again and again, or as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html), whose clients do that by themselves.

extension HTTPAPI {
    /// How long something to come is waited for if the request does not say.
    static let streamWaitDefault: Duration = .seconds(20)

    func stream(of id: String, _ request: HTTPRequest) async throws -> HTTPResponse {
        try request.allowQuery("stream", "after", "limit", "wait", "namespace")
        let isEvents = request.header("accept")?.contains("text/event-stream") ?? false
        // What a client of server-sent events has seen, it says when it connects again.
        let seen = isEvents ? request.header("last-event-id").flatMap { $0.isEmpty ? nil : $0 } : nil
        let page = try await node.streamWorkflow(
            id, namespace: request.text("namespace") ?? Self.namespaceDefault,
            stream: request.text("stream") ?? WorkflowStreams.standard, after: seen ?? request.text("after"),
            limit: try request.number("limit", in: 1...Self.listLimitMax) ?? Self.listLimitDefault,
            wait: min(try request.duration("wait") ?? Self.streamWaitDefault, Self.resultWaitMax))
        guard let page else { throw Self.unknown(id) }
        guard isEvents else { return .json(WorkflowJSON.value(page)) }
        // 204 tells such a client not to connect again.
        guard !page.hasEnded || !page.events.isEmpty else { return HTTPResponse(status: 204) }
        // A comment where there is nothing; the client connects again at once.
        var text = "retry: 100\n\n" + (page.events.isEmpty ? ": nothing yet\n\n" : "")
        for event in page.events {
            text += "id: \(event.position)\ndata: "
            text += String(decoding: WorkflowJSON.document(event.value).canonicalBytes, as: UTF8.self) + "\n\n"
        }
        var response = HTTPResponse.text(text, contentType: "text/event-stream")
        response.headers.append((name: "Cache-Control", value: "no-store"))
        return response
    }
}
