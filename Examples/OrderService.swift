import Flotilla
import FlotillaIO
import FoundationEssentials

/// A small HTTP service with a node inside: what it accepts is durable before it answers. The server is the one that the
/// node's own API uses; with Vapor or Hummingbird the handlers look the same.
struct OrderService: Example {
    static let name = "order-service"
    static let summary = "an HTTP service that takes orders and carries them out"

    struct Order: Codable, Sendable {
        var item: String
    }

    let workflow = Workflow("ship_order", version: 1) {
        (order: Order, context: WorkflowContext) async throws -> String in
        try await context.step("pack") { _ in "parcel of \(order.item)" }
    }
    var workflows: [any RegisterableWorkflow] { [workflow] }

    /// `PUT /orders/{id}` takes an order, once; `GET /orders/{id}` waits for what became of it.
    func answer(_ request: HTTPRequest, _ node: Node) async -> HTTPResponse {
        guard request.segments.count == 2, request.segments[0] == "orders" else {
            return .problem(status: 404, detail: "there is /orders/{id}")
        }
        let id = request.segments[1]
        do {
            switch request.method {
            case "PUT":
                let order = try JSONDecoder().decode(Order.self, from: Data(request.body))
                let run = try await node.start(workflow, id: id, input: order)
                return HTTPResponse(status: run.started.existed ? 200 : 201)
            case "GET":
                return HTTPResponse(status: 200, body: Array(try await node.result(of: id, as: String.self).utf8))
            default:
                return .problem(status: 405, detail: "orders are PUT and got by GET")
            }
        } catch let error as WorkflowError where error.code == .notFound {
            return .problem(status: 404, detail: error.message)
        } catch let error as WorkflowError where error.code == .conflict {
            return .problem(status: 409, detail: error.message)
        } catch let error as DecodingError {
            return .problem(status: 400, detail: "an order looks like {\"item\": \"kettle\"}: \(error)")
        } catch {
            return .problem(status: 503, detail: "\(error)")
        }
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        let loop = EventLoop(name: "order-service")
        let worker = try ThreadWorker(name: "client")
        try loop.start()
        let result: Result<Void, any Error>
        do {
            result = .success(try await order(from: node, loop, Client(loop: loop, worker: worker), say))
        } catch {
            result = .failure(error)
        }
        await worker.shutdown()
        await loop.shutdown()
        try result.get()
    }

    private func order(
        from node: Node, _ loop: EventLoop, _ client: Client, _ say: @escaping @Sendable (String) -> Void
    ) async throws {
        let server = try await HTTPServer.start(on: "127.0.0.1:0", loop: loop) { await answer($0, node) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await server.run() }
            let url = "http://\(server.address)/orders/order-17"
            for item in ["kettle", "kettle", "spoon"] {
                let body = Array(try JSONEncoder().encode(Order(item: item)))
                say("PUT a \(item) as order-17: \(try await client.send("PUT", url, body).status)")
            }
            let answer = try await client.send("GET", url)
            say("GET order-17: \(answer.status) \(String(decoding: answer.body, as: UTF8.self))")
            group.cancelAll()
        }
    }

    /// Somebody else's program; its calls block, so it has a thread.
    private struct Client {
        typealias Answer = (status: Int, body: [UInt8])

        let loop: EventLoop
        let worker: ThreadWorker

        func send(_ method: String, _ url: String, _ body: [UInt8]? = nil) async throws -> Answer {
            try await withCheckedThrowingContinuation { continuation in
                worker.submit(
                    {
                        continuation.resume(
                            with: Result {
                                try HTTPClient.send(method: method, url: url, body: body, timeout: .seconds(30))
                            })
                    }, then: {}, on: loop)
            }
        }
    }
}
