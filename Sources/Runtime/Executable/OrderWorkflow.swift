import Flotilla

/// What a shop sends: one line of Benchmarks/orders.jsonl.
struct Order: Codable, Sendable {
    struct Customer: Codable, Sendable {
        var name: String
        var city: String
    }
    struct Item: Codable, Sendable {
        var sku: String
        var quantity: Int
        var priceCents: Int
    }
    var order: String
    var customer: Customer?
    var items: [Item]
    var currency: String?
}

struct Receipt: Codable, Sendable {
    var order: String
    var totalCents: Int
    var reservation: String
    var charge: String
    var parcel: String
    var trackingCode: String
}

/// The sample: an order on its way through a shop. Each step does something to the world outside, here a line in a
/// ledger, and is recorded once it is done; a node that takes the order over goes on behind the last recorded step.
let orderProcessing = Workflow("order_processing", version: 1) {
    (order: Order, context: WorkflowContext) async throws -> Receipt in
    let shop = Shop(order: order.order)
    let total = order.items.reduce(0) { $0 + $1.quantity * $1.priceCents }

    let reservation = try await context.step("reserve") { try await shop.act("reserve", $0) }
    let charge = try await context.step("charge") { try await shop.act("charge", $0) }
    let parcel = try await context.step("pack") { try await shop.act("pack", $0) }
    // Until the carrier comes.
    try await context.sleep(for: .milliseconds(300))
    let trackingCode = try await context.step("ship") { try await shop.act("ship", $0) }
    try await context.step("notify") { _ = try await shop.act("notify", $0) }

    return Receipt(
        order: order.order, totalCents: total, reservation: reservation, charge: charge,
        parcel: parcel,
        trackingCode: trackingCode)
}

/// The services that a shop calls, as far as a sample needs them.
struct Shop: Sendable {
    let order: String

    /// Does what a step is for, and takes as long as calling another service does.
    /// - Returns: the service's reference. It is made of the idempotency key, as a service that drops repetitions
    ///   would answer.
    func act(_ step: String, _ context: StepContext) async throws -> String {
        try Ledger.shared?.append(order: order, step: step, context)
        try await Task.sleep(for: .milliseconds(.random(in: 30...90)))
        return "\(step)-\(context.idempotencyKey)"
    }
}
