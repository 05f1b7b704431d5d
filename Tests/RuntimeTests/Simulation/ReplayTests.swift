import Flotilla
import FlotillaIO
import FlotillaSimulation
import Testing

/// Recorded runs held against code.
@Suite struct ReplayTests {
    private struct Declined: Error {}

    /// What the variants of one workflow do otherwise.
    private struct Change: Sendable {
        var chargeName = "charge"
        var isNotified = true
        var addsStep = false
        var result = 1
    }

    private static func order(_ change: Change = Change(), bodies: Counter = Counter()) -> Workflow<Int, Int> {
        Workflow("order", version: 1) { (amount: Int, context: WorkflowContext) async throws -> Int in
            async let stock = context.step("reserve") { _ in bodies.count() }
            let charge = try await context.step(change.chargeName) { _ in
                bodies.count()
                return amount + change.result
            }
            _ = try await stock
            for number in 0..<3 { try await context.checkpoint("percent", number * 30) }
            let percent = try await context.checkpoint("percent", as: Int.self)
            guard percent == 60, amount > 0 else { throw Declined() }
            if change.addsStep { try await context.step("audit") { _ in bodies.count() } }
            try await context.sleep(for: .seconds(100))
            if change.isNotified { try await context.step("notify") { _ in bodies.count() } }
            return charge * change.result
        }
    }

    private final class Counter: Sendable {
        private let value = Lock(0)
        func count() { value.withLock { $0 += 1 } }
        var total: Int { value.withLock { $0 } }
    }

    /// - Parameter isFinished: takes the history at its end; otherwise while it sleeps.
    private func history(amount: Int = 5, isFinished: Bool = true) async throws -> WorkflowHistory {
        try await withSimulation(seed: 1, nodes: 1, workflows: [Self.order()]) { simulation in
            let run = try await simulation.submit(Self.order(), id: "order-17", input: amount)
            if isFinished { _ = try? await run.result() } else { await simulation.advance(by: .seconds(10)) }
            return try await simulation.node(1).wholeHistory(of: "order-17")
        }.value
    }

    private func mismatch(_ history: WorkflowHistory, _ change: Change) async throws -> ReplayMismatch? {
        await #expect(throws: ReplayMismatch.self) { try await replay(history: history, against: Self.order(change)) }
    }

    @Test("RM-21: a finished run's recorded values come to the same end in the same code, and no step's body runs")
    func same() async throws {
        let bodies = Counter()
        try await replay(history: try await history(), against: Self.order(bodies: bodies))
        let failed = try await history(amount: -3)
        #expect(failed.info.status == .failed)
        try await replay(history: failed, against: Self.order(bodies: bodies))
        #expect(bodies.total == 0)
    }

    @Test("RM-21: code that asks for other steps is told which, recorded and asked for")
    func otherSteps() async throws {
        let history = try await history()
        let renamed = try #require(try await mismatch(history, Change(chargeName: "bill")))
        #expect(renamed.lines.contains("- step charge#0") && renamed.lines.contains("+ step bill#0"))
        #expect(renamed.lines.contains("  step reserve#0"))
        #expect(renamed.description.contains("'order' version 1 does not do what run 'order-17' recorded"))
        let shorter = try #require(try await mismatch(history, Change(isNotified: false)))
        #expect(shorter.lines.filter { !$0.hasPrefix("  ") } == ["- step notify#0"])
        #expect(shorter.end == nil)
        let longer = try #require(try await mismatch(history, Change(addsStep: true)))
        #expect(longer.lines.last == "+ step audit#0")
    }

    @Test("RM-21: code that makes something else of the recorded values is told both ends")
    func otherEnd() async throws {
        let difference = try #require(try await mismatch(try await history(), Change(result: 2)))
        #expect(difference.lines.allSatisfy { $0.hasPrefix("  ") })
        #expect(difference.end == "recorded: completed with 6\nreplayed: completed with 12")
    }

    @Test("RM-21: code may go on behind the history of a run that has not ended, but must do what is recorded")
    func unfinished() async throws {
        let history = try await history(isFinished: false)
        #expect(history.info.status == .running && history.events.last?.kind == "sleep")
        try await replay(history: history, against: Self.order())
        try await replay(history: history, against: Self.order(Change(isNotified: false, result: 7)))
        let renamed = try #require(try await mismatch(history, Change(chargeName: "bill")))
        #expect(renamed.lines.contains("- step charge#0"))
    }

    @Test("RM-21: a history without values, a page of one and one of another type are refused by name")
    func refused() async throws {
        let whole = try await history()
        var page = whole
        page.next = "5.0.0.charge"
        var bare = whole
        for number in bare.events.indices { bare.events[number].value = nil }
        var other = whole
        other.info.type = "payment"
        for history in [page, bare, other] {
            let error = await #expect(throws: WorkflowError.self) {
                try await replay(history: history, against: Self.order())
            }
            #expect(error?.code == .invalidInput)
        }
    }
}
