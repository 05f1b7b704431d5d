import Flotilla

/// An order that is charged and packed, or not at all: what was done is undone in reverse, each undoing a step of its
/// own, so that a node which dies in the middle of it leaves nothing half undone.
struct OrderSaga: Example {
    static let name = "order-saga"
    static let summary = "an order whose steps are undone where a later one fails"

    struct Order: Codable, Sendable {
        var item: String
        var cents: Int
    }

    struct OutOfStock: Error {}

    /// The services of a shop. A real one drops repetitions by the idempotency key, as this one does.
    actor Shop {
        private(set) var journal: [String] = []
        private var known: Set<String> = []

        func act(_ what: String, key: String) {
            if known.insert(key).inserted { journal.append(what) }
        }
    }

    let shop = Shop()
    var workflows: [any RegisterableWorkflow] { [workflow] }

    var workflow: Workflow<Order, String> {
        Workflow("order_saga", version: 1) { [shop] (order: Order, context: WorkflowContext) async throws -> String in
            try await context.compensating { scope in
                try await context.step("reserve") { await shop.act("reserve \(order.item)", key: $0.idempotencyKey) }
                scope.undo("release") { await shop.act("release \(order.item)", key: $0.idempotencyKey) }

                try await context.step("charge") { await shop.act("charge \(order.cents)", key: $0.idempotencyKey) }
                scope.undo("refund") { await shop.act("refund \(order.cents)", key: $0.idempotencyKey) }

                return try await context.step("pack", retry: RetryPolicy(attempts: 3) { !($0 is OutOfStock) }) { step in
                    if order.item == "unicorn" { throw OutOfStock() }
                    await shop.act("pack \(order.item)", key: step.idempotencyKey)
                    return "parcel of \(order.item)"
                }
            }
        }
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        let kettle = try await node.start(workflow, id: "order-kettle", input: Order(item: "kettle", cents: 3_000))
        say("order-kettle: \(try await kettle.result())")
        let unicorn = try await node.start(workflow, id: "order-unicorn", input: Order(item: "unicorn", cents: 9_900))
        do {
            say("order-unicorn: \(try await unicorn.result())")
        } catch let error as WorkflowError {
            say("order-unicorn: \(error.message)")
        }
        for line in await shop.journal { say("  the shop did: \(line)") }
    }
}
