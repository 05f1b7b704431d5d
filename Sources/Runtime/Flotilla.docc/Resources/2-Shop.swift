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
