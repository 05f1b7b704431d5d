import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Keyed objects with one writer.
@Suite struct ObjectTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }
    private struct Overdrawn: Error {}

    private static let add = ObjectMethod<Int, Int>("add")
    private static let unknown = ObjectMethod<Int, Int>("unknown")

    /// Refuses what would make it negative, after it has changed its copy.
    private static let account: DurableObject<Int> = {
        var account = DurableObject("account", version: 1, initial: 100)
        account.callsPerExecution = 7
        return account.on(add) { (balance: inout Int, amount: Int) in
            balance += amount
            guard balance >= 0 else { throw Overdrawn() }
            return balance
        }
    }()

    private static let transfer = Workflow("transfer", version: 1) {
        (amount: Int, context: WorkflowContext) async throws -> [Int] in
        let from = try await context.call(account, "a", add, -amount)
        let to = try await context.call(account, "b", add, amount)
        return [from, to]
    }

    @Test(
        "calls from everywhere are carried out once each and one after the other, whenever the object's owner crashes",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.account, Self.transfer], configure: snapshotOften
            ) { simulation in
                func call(_ number: Int) async throws -> Int {
                    try await simulation.ask { node in
                        try await node.call(Self.account, "a", Self.add, 1, callID: "c\(number)", timeout: .seconds(5))
                    }
                }
                #expect(try await call(0) == 101)
                let owner = try #require(try await simulation.owner(of: "object.account/a"))
                if moment == .before { simulation.crash(owner, dropUnsynced: true) }
                let answers = try await withThrowingTaskGroup(of: (number: Int, answer: Int).self) { group in
                    for number in 1...20 { group.addTask { (number, try await call(number)) } }
                    if moment == .during {
                        await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(60)))
                        simulation.crash(owner, dropUnsynced: true)
                    }
                    return try await group.reduce(into: [Int: Int]()) { $0[$1.number] = $1.answer }
                }
                if moment == .after { simulation.crash(owner, dropUnsynced: true) }
                // Each saw another balance: one writer, and none was carried out twice.
                #expect(answers.values.sorted() == Array(102...121), "seed \(seed): \(answers)")
                #expect(try await call(3) == answers[3])
                let run = try await simulation.submit(Self.transfer, id: "t", input: 21)
                #expect(try await run.result() == [100, 121], "seed \(seed)")
                #expect(try await simulation.ask { try await $0.state(of: Self.account, "a") } == 100)
                #expect(try await simulation.ask { try await $0.describe("object.account/a").info.execution } == 4)
                #expect(try await simulation.ask { try await $0.state(of: Self.account, "never") } == nil)
                simulation.restart(owner)
                try await simulation.untilConverged()
            }
        }
    }

    @Test("what a method throws changes nothing and is told, to workflows as well; so is a method that is not there")
    func refusals() async throws {
        let careless = Workflow("careless", version: 1) { (_: Int, context: WorkflowContext) async throws -> String in
            do {
                return "\(try await context.call(Self.account, "a", Self.add, -1_000))"
            } catch let error as WorkflowError { return "\(error.code) \(error.failure?.type ?? "")" }
        }
        try await withSimulation(seed: 1, nodes: 3, workflows: [Self.account, careless]) { simulation in
            let node = try simulation.node(2)
            let thrown = await #expect(throws: WorkflowError.self) {
                try await node.call(Self.account, "a", Self.add, -101)
            }
            #expect(thrown?.code == .rejected && thrown?.failure?.type == "Overdrawn")
            #expect(try await simulation.submit(careless, id: "c", input: 0).result() == "rejected Overdrawn")
            let missing = await #expect(throws: WorkflowError.self) {
                try await node.call(Self.account, "a", Self.unknown, 1)
            }
            #expect(missing?.code == .rejected && missing?.message.contains("no method 'unknown'") == true)
            #expect(try await node.state(of: Self.account, "a") == 100)
            // Nothing is lost by what was refused.
            #expect(try await node.call(Self.account, "a", Self.add, 5) == 105)
            let absent = DurableObject("absent", version: 1, initial: 0)
            let none = await #expect(throws: WorkflowError.self) {
                try await node.call(absent, "a", Self.add, 1, timeout: .seconds(5))
            }
            #expect(none?.code == .unknownWorkflow)
        }
    }

    @Test("over HTTP any client calls objects, and reads what they hold")
    func overHTTP() async throws {
        try await withSimulation(seed: 1, nodes: 1, workflows: [Self.account]) { simulation in
            let api = HTTPAPI(node: try simulation.node(1))
            func ask(_ method: String, _ path: [String], _ body: String = "") async throws -> (Int, JSONValue) {
                let response = await api.respond(
                    to: HTTPRequest(
                        method: method, path: "/" + path.joined(separator: "/"), segments: path, body: Array(body.utf8))
                )
                return (response.status, try JSONValue(parsing: response.body))
            }
            let object = ["v1", "objects", "account", "a"]
            #expect(try await ask("GET", object).0 == 404)
            for _ in 0..<2 {
                let (status, answer) = try await ask("POST", object + ["add"], #"{"input":5,"id":"x"}"#)
                #expect(status == 200 && answer["output"] == .integer(105))
            }
            #expect(try await ask("POST", object + ["add"], #"{"input":-500}"#).0 == 422)
            #expect(try await ask("GET", object).1["state"] == .integer(105))
            #expect(try await ask("POST", ["v1", "objects", "none", "a", "add"], #"{"input":1}"#).0 == 422)
        }
    }
}
