import Flotilla

/// A counter for each key: one workflow per key, which is the only writer of its value and answers everybody in turn.
/// Each request counts once, however often it is sent, because it has an id. The workflow has no end: after so many
/// requests it goes on as a new execution, with nothing recorded but the value.
struct KeyedCounter: Example {
    static let name = "keyed-counter"
    static let summary = "counters by key, each with a single writer, which never end"

    static let add = WorkflowUpdate<Int, Int>("add")
    static let value = WorkflowQuery<Bool, Int>("value")

    let counter = Workflow("counter", version: 1) { (start: Int, context: WorkflowContext) async throws -> Int in
        let value = context.variable(start)
        context.answer(Self.value) { _ in value.value }
        for _ in 0..<20 {
            let request = try await context.receive(Self.add)
            value.update { $0 += request.input }
            try await request.reply(value.value)
        }
        try await context.continueAsNew(value.value)
    }
    var workflows: [any RegisterableWorkflow] { [counter] }

    /// Adds to a key's value, and makes the counter where there is none.
    /// - Parameter request: repeated with the same one it counts once.
    func add(_ amount: Int, to key: String, request: String, on node: Node) async throws -> Int {
        try await node.start(counter, id: "counter-\(key)", input: 0)
        return try await node.update("counter-\(key)", Self.add, amount, updateID: request)
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<50 {
                group.addTask {
                    _ = try await add(1, to: number.isMultiple(of: 2) ? "even" : "odd", request: "\(number)", on: node)
                }
            }
            try await group.waitForAll()
        }
        for key in ["even", "odd"] {
            _ = try await add(10, to: key, request: "ten", on: node)
            let repeated = try await add(10, to: key, request: "ten", on: node)
            say("\(key): \(repeated)")
        }
    }
}
