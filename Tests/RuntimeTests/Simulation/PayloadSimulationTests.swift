import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Encrypted payloads on whole nodes.
@Suite struct PayloadSimulationTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let secret = "4111 1111 1111 1111"
    private static let note = WorkflowSignal<String>("note")
    private static let change = WorkflowUpdate<String, String>("change")

    private static func coding(_ ids: [String]) throws -> PayloadCoding {
        let keys = ids.map { ($0, [UInt8](repeating: $0.utf8.first ?? 0, count: 32)) }
        let codec = try AESGCMCodec(keys: Dictionary(uniqueKeysWithValues: keys), current: ids[0])
        return PayloadCoding([ZstandardCodec(), codec])
    }

    private static let child = Workflow("child", version: 1) { (text: String, _: WorkflowContext) in text + "!" }

    /// Uses each kind of payload there is, in two executions.
    private static func busy(_ tokens: Lock<[String]>) -> Workflow<[String], [String]> {
        Workflow("busy", version: 1) { (texts: [String], context: WorkflowContext) async throws -> [String] in
            let step = try await context.step("s") { step in
                try await step.clock.sleep(for: .milliseconds(20))
                return "step " + secret
            }
            try await context.checkpoint("c", "checkpoint " + secret)
            let told = try await context.receive(note)
            let request = try await context.receive(change)
            try await request.reply(request.input + " done")
            let awakeable = try await context.awakeable("a", as: String.self)
            tokens.withLock { if !$0.contains(awakeable.token) { $0.append(awakeable.token) } }
            let resolved = try await awakeable.value()
            let result = try await context.child(child, input: told).result()
            let known = try await context.checkpoint("c", as: String.self)
            let all = texts + [step, told, request.input, resolved, result, known ?? "none"]
            if context.executionNumber == 1 { try await context.continueAsNew(all) }
            return all
        }
    }

    @Test(
        "every kind of payload comes through encryption whenever owners crash, and no disk holds one in plain",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(2) {
            let coding = try Self.coding(["a"])
            let tokens = Lock<[String]>([])
            let busy = Self.busy(tokens)
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                snapshotOften(&configuration)
                configuration.codec = coding
            }
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [busy, Self.child], configure: configure
            ) { simulation in
                let run = try await simulation.submit(busy, id: "b", input: ["input " + Self.secret])
                for execution in 1...2 as ClosedRange<UInt64> {
                    let owner = try await simulation.owner(of: "b")
                    if let owner, moment == .before { simulation.crash(owner, dropUnsynced: true) }
                    try await simulation.signal(
                        "b", Self.note, "signal " + Self.secret, from: ("ann", execution))
                    if let owner, moment == .during {
                        await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(40)))
                        simulation.crash(owner, dropUnsynced: true)
                    }
                    let answer = try await simulation.update(
                        "b", Self.change, "update " + Self.secret, updateID: "u\(execution)")
                    #expect(answer == "update \(Self.secret) done", "seed \(seed)")
                    let token = await Self.token(Int(execution), tokens, simulation)
                    if let owner, moment == .after { simulation.crash(owner, dropUnsynced: true) }
                    try await simulation.resolve(token, "resolved " + Self.secret)
                    // The same again is a repetition.
                    if let owner { simulation.restart(owner) }
                }
                let one = ["step", "signal", "update", "resolved"].map { "\($0) \(Self.secret)" }
                let texts = one + ["signal \(Self.secret)!", "checkpoint \(Self.secret)"]
                #expect(try await run.result() == ["input \(Self.secret)"] + texts + texts, "seed \(seed)")
                let history = try await simulation.ask { try await $0.wholeHistory(of: "b") }
                #expect(history.events.contains { $0.value == Array("\"step \(Self.secret)\"".utf8) })
                try await simulation.untilConverged()
                for number in simulation.runningNodes {
                    let disk = try simulation.disk(number)
                    #expect(!disk.files.isEmpty)
                    for file in disk.files {
                        let text = String(decoding: disk.contents(of: file) ?? [], as: UTF8.self)
                        #expect(!text.contains(Self.secret), "seed \(seed): \(file) of node \(number)")
                    }
                }
            }
        }
    }

    /// Of the execution, once it has one.
    private static func token(
        _ execution: Int, _ tokens: Lock<[String]>, _ simulation: SimulatedCluster
    ) async -> String {
        while true {
            if let token = tokens.withLock({ $0.count >= execution ? $0[execution - 1] : nil }) { return token }
            await simulation.advance(by: .milliseconds(20))
        }
    }

    private static let slow = Workflow("slow", version: 1) {
        (text: String, context: WorkflowContext) async throws -> String in
        let step = try await context.step("s") { _ in "step" }
        try await context.sleep(for: .seconds(120))
        return text + step
    }

    @Test("a key is changed while runs go on, node by node, and a start that is sent again is recognised behind that")
    func rotation() async throws {
        for seed in Simulation.seeds(2) {
            let ids = Lock([["a"], ["a"], ["a"]])
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                let number = Int(configuration.id.rawValue) - 1
                configuration.codec = ids.withLock { (try? Self.coding($0[number])) ?? .json }
            }
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.slow], configure: configure
            ) { simulation in
                let run = try await simulation.submit(Self.slow, id: "s", input: "x")
                // First all know the new key, then it is the current one.
                for keys in [["a", "b"], ["b", "a"]] {
                    for number in 1...3 {
                        ids.withLock { $0[number - 1] = keys }
                        simulation.crash(number, dropUnsynced: true)
                        await simulation.advance(by: .seconds(2))
                        simulation.restart(number)
                        await simulation.advance(by: .seconds(5))
                    }
                }
                let again = try await simulation.ask {
                    try await $0.start(Self.slow, id: "s", input: "x").started
                }
                #expect(again.existed && again.runID == run.runID, "seed \(seed)")
                let other = await #expect(throws: WorkflowError.self) {
                    try await simulation.ask { _ = try await $0.start(Self.slow, id: "s", input: "y") }
                }
                #expect(other?.code == .conflict)
                #expect(try await run.result() == "xstep")
            }
        }
    }

    @Test("a node without the key names it, stops the runs that need it, and goes on; with the key they go on")
    func missingKey() async throws {
        let ids = Lock(["a"])
        let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
            let known = configuration.id.rawValue == 1 ? ids.withLock { $0 } : ["a"]
            configuration.codec = (try? Self.coding(known)) ?? .json
        }
        try await withSimulation(seed: 11, nodes: 0, workflows: [], configure: configure) { simulation in
            // Only the first node can run it.
            simulation.addNode(workflows: [Self.slow])
            for _ in 2...3 { simulation.addNode(workflows: []) }
            try await simulation.untilFormed()
            let run = try await simulation.submit(Self.slow, id: "s", input: "x")
            await simulation.advance(by: .seconds(1))
            func restart(with keys: [String]) async {
                ids.withLock { $0 = keys }
                simulation.crash(1, dropUnsynced: true)
                simulation.restart(1)
                await simulation.advance(by: .seconds(5))
            }
            await restart(with: ["b"])
            let input = try await simulation.node(1).describe("s").input
            #expect(String(decoding: input, as: UTF8.self).contains("key 'a'"))
            for number in 2...3 {
                #expect(try await simulation.node(number).describe("s").input == Array("\"x\"".utf8))
            }
            // It takes other runs meanwhile, and its time passes; this one waits and has not failed.
            let other = try await simulation.node(1).start(Self.slow, id: "t", input: "y")
            #expect(try await other.result() == "ystep")
            #expect(try await simulation.node(2).describe("s").info.status == .running)
            let unread = await #expect(throws: WorkflowError.self) {
                try await simulation.node(2).result(of: "t", as: String.self)
            }
            #expect(unread?.code == .unknownPayloadKey && unread?.message.contains("key 'b'") == true)
            await restart(with: ["a", "b"])
            #expect(try await run.result() == "xstep")
        }
    }
}
