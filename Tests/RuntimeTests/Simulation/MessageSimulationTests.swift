import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What running workflows are told, on whole nodes: the owner crashes before, while and after it is told.
@Suite struct MessageSimulationTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let deposit = WorkflowSignal<Int>("deposit")
    private static let withdraw = WorkflowUpdate<Int, Int>("withdraw")
    private static let balance = WorkflowQuery<Bool, Int>("balance")

    /// Takes what is paid in, and pays out what there is, until an outside system closes it.
    private static func account(_ tokens: Lock<Set<String>>) -> Workflow<Int, [Int]> {
        Workflow("account", version: 1) { (start: Int, context: WorkflowContext) async throws -> [Int] in
            let balance = context.variable(start)
            let deposits = context.variable([Int]())
            context.answer(Self.balance) { _ in balance.value }
            let closing = try await context.awakeable("closing", as: Bool.self)
            tokens.withLock { _ = $0.insert(closing.token) }
            return try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for try await amount in context.signals(Self.deposit) {
                        try await context.step("book") { try await $0.clock.sleep(for: .milliseconds(20)) }
                        balance.update { $0 += amount }
                        deposits.update { $0.append(amount) }
                    }
                }
                group.addTask {
                    while true {
                        let request = try await context.receive(Self.withdraw)
                        guard
                            let left = balance.update({ balance -> Int? in
                                guard balance >= request.input else { return nil }
                                balance -= request.input
                                return balance
                            })
                        else {
                            try await request.reject("there is not that much")
                            continue
                        }
                        try await request.reply(left)
                    }
                }
                _ = try await closing.value()
                let all = try await context.condition("all paid in") {
                    deposits.value.count == 6 ? deposits.value : nil
                }
                group.cancelAll()
                return all
            }
        }
    }

    @Test(
        "signals are received once and in order, updates are carried out once, an awakeable ends it, whenever owners crash",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(4) {
            let tokens = Lock<Set<String>>([])
            let account = Self.account(tokens)
            try await withSimulation(seed: seed, nodes: 3, workflows: [account]) { simulation in
                let run = try await simulation.submit(account, id: "a", input: 1_000)
                var answers: [Int] = []
                for number in 1...6 as ClosedRange<UInt64> {
                    let crashes = number == 2 || number == 5
                    let owner = crashes ? try await simulation.owner(of: "a") : nil
                    if let owner, moment == .before { simulation.crash(owner, dropUnsynced: true) }
                    async let told: Void = simulation.signal("a", Self.deposit, Int(number), from: ("bank", number))
                    async let paid = simulation.update("a", Self.withdraw, 1, updateID: "w\(number)")
                    if let owner, moment == .during {
                        await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(25)))
                        simulation.crash(owner, dropUnsynced: true)
                    }
                    try await told
                    answers.append(try await paid)
                    if let owner, moment == .after { simulation.crash(owner, dropUnsynced: true) }
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(300)))
                    if let owner { simulation.restart(owner) }
                }
                let tooMuch = await #expect(throws: WorkflowError.self) {
                    try await simulation.update("a", Self.withdraw, 5_000, updateID: "too much")
                }
                #expect(tooMuch?.code == .rejected)
                let known = try await simulation.query("a", Self.balance, true)
                #expect((1_000 - 6...1_000 - 6 + 21).contains(known), "seed \(seed): \(known)")
                let token = try #require(tokens.withLock { $0.count == 1 ? $0.first : nil })
                let owner = try await simulation.owner(of: "a")
                if let owner, moment == .before { simulation.crash(owner, dropUnsynced: true) }
                try await simulation.resolve(token, true)
                if let owner, moment != .before { simulation.crash(owner, dropUnsynced: true) }
                #expect(try await run.result() == [1, 2, 3, 4, 5, 6], "seed \(seed)")
                if let owner { simulation.restart(owner) }
                // Each was carried out once, whatever was paid in before it.
                #expect(answers.allSatisfy { (1_000 - 6...1_000 + 21).contains($0) }, "seed \(seed): \(answers)")
                #expect(try await simulation.query("a", Self.balance, true) == 1_000 + 21 - 6, "seed \(seed)")
                try await simulation.untilConverged()
            }
        }
    }

    @Test("a token with another secret is refused at once, by every node, and completes nothing")
    func forgedToken() async throws {
        let tokens = Lock<Set<String>>([])
        let account = Self.account(tokens)
        try await withSimulation(seed: 7, nodes: 3, workflows: [account]) { simulation in
            _ = try await simulation.submit(account, id: "a", input: 0)
            await simulation.advance(by: .seconds(2))
            let text = try #require(tokens.withLock { $0.first })
            var token = try AwakeableToken(checking: text)
            token.secret[0] ^= 1
            let before = simulation.world.now
            for node in [1, 2, 3] {
                let error = await #expect(throws: WorkflowError.self) {
                    try await simulation.node(node).resolve(token.text, true)
                }
                #expect(error?.code == .notFound, "\(error as Any)")
            }
            #expect(before.duration(to: simulation.world.now) < .seconds(3))
            let waits = try await simulation.node(1).describe("a").waits
            #expect(waits.contains { $0.reason == .awakeable }, "\(waits)")
            try await simulation.resolve(text, true)
        }
    }
}
