import Flotilla

/// A counter for each key: a durable object, which is the only writer of its value and answers everybody in turn. Each
/// call counts once, however often it is sent, because it has an id.
struct KeyedCounter: Example {
    static let name = "keyed-counter"
    static let summary = "counters by key, each with a single writer"

    static let add = ObjectMethod<Int, Int>("add")

    let counter = DurableObject("counter", version: 1, initial: 0)
        .on(add) { (count: inout Int, amount: Int) in
            count += amount
            return count
        }
    var workflows: [any RegisterableWorkflow] { [counter] }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<50 {
                group.addTask {
                    let key = number.isMultiple(of: 2) ? "even" : "odd"
                    _ = try await node.call(counter, key, Self.add, 1, callID: "request-\(number)")
                }
            }
            try await group.waitForAll()
        }
        for key in ["even", "odd"] {
            // Whoever does not know whether its call arrived sends it again.
            _ = try await node.call(counter, key, Self.add, 10, callID: "ten")
            let total = try await node.call(counter, key, Self.add, 10, callID: "ten")
            say("\(key): \(total)")
        }
    }
}
