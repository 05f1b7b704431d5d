import FlotillaIO

// In place of the web framework and the clients of your choice: the server that a node's own API uses. It is no product of
// this package, and no part of the example.

/// Answers HTTP requests by `answer` while `clients` runs.
func withService(
    _ answer: @escaping @Sendable (_ method: String, _ path: [String], _ body: [UInt8]) async -> OrderService.Answer,
    clients: (ServiceClient) async throws -> Void
) async throws {
    let loop = EventLoop(name: "service")
    let worker = try ThreadWorker(name: "client")
    try loop.start()
    let result: Result<Void, any Error>
    do {
        let server = try await HTTPServer.start(on: "127.0.0.1:0", loop: loop) { request in
            let answer = await answer(request.method, request.segments, request.body)
            return HTTPResponse(status: answer.status, body: Array(answer.text.utf8))
        }
        result = .success(
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await server.run() }
                try await clients(ServiceClient(url: "http://\(server.address)", loop: loop, worker: worker))
                group.cancelAll()
            })
    } catch {
        result = .failure(error)
    }
    await worker.shutdown()
    await loop.shutdown()
    try result.get()
}

/// Somebody else's program; its calls block, so it has a thread.
struct ServiceClient: Sendable {
    fileprivate let url: String
    fileprivate let loop: EventLoop
    fileprivate let worker: ThreadWorker

    func send(_ method: String, _ path: String, _ body: [UInt8]? = nil) async throws -> OrderService.Answer {
        try await withCheckedThrowingContinuation { continuation in
            worker.submit(
                { [url] in
                    continuation.resume(
                        with: Result {
                            let (status, bytes) = try HTTPClient.send(
                                method: method, url: url + path, body: body, timeout: .seconds(30))
                            return OrderService.Answer(status: status, text: String(decoding: bytes, as: UTF8.self))
                        })
                }, then: {}, on: loop)
        }
    }
}
