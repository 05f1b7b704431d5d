import Flotilla

/// One workflow that starts a thousand others and adds up what they found. Each child is a run of its own, in whichever
/// cluster has room: it is started once, and its end is told to the parent once, whatever happens to either.
struct FanOut: Example {
    static let name = "fan-out"
    static let summary = "a run that starts a thousand others and waits for them"

    struct Range: Codable, Sendable {
        var first: Int
        var count: Int
    }

    var workflows: [any RegisterableWorkflow] { [countPrimes, countPiece] }

    let countPiece = Workflow("count_primes_piece", version: 1) {
        (range: Range, context: WorkflowContext) async throws -> Int in
        try await context.step("count") { _ in
            (range.first..<range.first + range.count).count { number in
                number > 1 && !(2..<number).prefix { $0 * $0 <= number }.contains { number % $0 == 0 }
            }
        }
    }

    var countPrimes: Workflow<Int, Int> {
        Workflow("count_primes", version: 1) {
            [countPiece] (pieces: Int, context: WorkflowContext) async throws -> Int in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<pieces {
                    // Branches that run side by side have names of their own.
                    group.addTask {
                        let piece = try await context.child(
                            countPiece, name: "piece-\(number)", input: Range(first: number * 100, count: 100))
                        return try await piece.result()
                    }
                }
                return try await group.reduce(0, +)
            }
        }
    }

    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws {
        let run = try await node.start(countPrimes, id: "primes", input: 1_000)
        say("there are \(try await run.result()) primes below 100,000")
        let ended = try await node.count(WorkflowFilter(status: .completed, type: "count_primes_piece"))
        say("\(ended.total) children counted them")
    }
}
