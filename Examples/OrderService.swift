import Flotilla
import FoundationEssentials

/// A small HTTP service with a node inside: what it accepts is durable before it answers. It knows nothing of the server:
/// with Hummingbird or Vapor a route calls `answer`, here ServiceHost.swift does.
struct OrderService: Example {
    static let name = "order-service"
    static let summary = "an HTTP service that takes orders and carries them out"

    struct Order: Codable, Sendable {
        var item: String
    }

    struct Answer: Sendable {
        /// Of HTTP.
        var status: Int
        var text = ""
    }

    let workflow = Workflow("ship_order", version: 1) {
        (order: Order, context: WorkflowContext) async throws -> String in
        try await context.step("pack") { _ in "parcel of \(order.item)" }
    }
    var workflows: [any RegisterableWorkflow] { [workflow] }

    /// `PUT /orders/{id}` takes an order, once; `GET /orders/{id}` waits for what became of it.
    func answer(_ method: String, _ path: [String], _ body: [UInt8], _ node: Node) async -> Answer {
        guard path.count == 2, path[0] == "orders" else { return Answer(status: 404, text: "there is /orders/{id}") }
        let id = path[1]
        do {
            switch method {
            case "PUT":
                let order = try JSONDecoder().decode(Order.self, from: Data(body))
                let run = try await node.start(workflow, id: id, input: order)
                return Answer(status: run.started.existed ? 200 : 201)
            case "GET": return Answer(status: 200, text: try await node.result(of: id, as: String.self))
            default: return Answer(status: 405, text: "orders are PUT and got by GET")
            }
        } catch let error as WorkflowError where error.code == .notFound {
            return Answer(status: 404, text: error.message)
        } catch let error as WorkflowError where error.code == .conflict {
            return Answer(status: 409, text: error.message)
        } catch let error as DecodingError {
            return Answer(status: 400, text: "an order looks like {\"item\": \"kettle\"}: \(error)")
        } catch {
            return Answer(status: 503, text: "\(error)")
        }
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        try await withService {
            await answer($0, $1, $2, node)
        } clients: { client in
            for item in ["kettle", "kettle", "spoon"] {
                let body = Array(try JSONEncoder().encode(Order(item: item)))
                say("PUT a \(item) as order-17: \(try await client.send("PUT", "/orders/order-17", body).status)")
            }
            let answer = try await client.send("GET", "/orders/order-17")
            say("GET order-17: \(answer.status) \(answer.text)")
        }
    }
}
