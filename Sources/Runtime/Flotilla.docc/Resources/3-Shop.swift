import Flotilla

struct Order: Codable, Sendable {
    var item: String
    var cents: Int
}

let shipping = Workflow("shipping", version: 1) {
    (order: Order, context: WorkflowContext) async throws -> String in
    let charge = try await context.step("charge") { step in
        print("charging \(order.cents) cents, under the key \(step.idempotencyKey)")
        return "charge of \(order.cents) cents"
    }
    try await context.sleep(for: .seconds(20))
    return try await context.step("ship") { _ in
        print("shipping the \(order.item)")
        return "a \(order.item), by \(charge)"
    }
}

@main
struct Shop {
    static func main() async throws {
        let configuration = NodeConfiguration(listen: "127.0.0.1:7001", data: .directory("shop-data"))
        try await withNode(configuration, workflows: [shipping]) { node in
            let run = try await node.start(shipping, id: "order-1", input: Order(item: "kettle", cents: 4_200))
            print(try await run.result())
        }
    }
}
