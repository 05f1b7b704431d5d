import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Binary clients")
struct FlotillaClientTests {
    private static let doubling = Workflow("doubling", version: 1) {
        (input: Int, context: WorkflowContext) async throws in
        try await context.step("double") { _ in input * 2 }
    }
    private static let endless = Workflow("endless", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> Int in
        try await context.sleep(for: .seconds(3_600))
        return 0
    }

    private static func configuration() -> NodeConfiguration {
        var configuration = NodeConfiguration(listen: "127.0.0.1:0", data: .memory)
        configuration.clients = "127.0.0.1:0"
        return configuration
    }

    private static func withNodeAndClient(
        _ body: @escaping @Sendable (Node, FlotillaClient) async throws -> Void
    ) async throws {
        try await withNode(configuration(), workflows: [doubling, endless]) { node async throws in
            let address = try #require(try await node.clientAddress())
            try await withFlotillaClient([address]) { try await body(node, $0) }
        }
    }

    @Test("a workflow that a client starts runs, and its result comes back; a second start finds it")
    func startAndResult() async throws {
        try await Self.withNodeAndClient { node, client in
            let run = try await client.start(Self.doubling, id: "a", input: 21, attributes: ["customer": "acme"])
            #expect(try await run.result() == 42 && !run.started.existed)
            #expect(try await client.start(Self.doubling, id: "a", input: 21).started.existed)
            #expect(try await node.result(of: "a", as: Int.self) == 42)
            #expect(
                try await node.list(WorkflowFilter(type: "doubling")).runs.map(\.attributes) == [["customer": "acme"]])
            // Equal inputs are equal, however they are written.
            #expect(try await client.start(type: "doubling", id: "a", input: Array(" 21 ".utf8)).existed)
        }
    }

    @Test("a thousand requests are under way over one connection, and each gets its own answer")
    func pipelined() async throws {
        try await Self.withNodeAndClient { _, client in
            try await withThrowingTaskGroup(of: Bool.self) { tasks in
                for number in 0..<1_000 {
                    tasks.addTask {
                        try await client.start(Self.doubling, id: "n-\(number)", input: number).result() == 2 * number
                    }
                }
                for try await isRight in tasks { #expect(isRight) }
            }
        }
    }

    @Test("errors come back as they are: by code, message and failure")
    func errors() async throws {
        try await Self.withNodeAndClient { _, client in
            _ = try await client.start(Self.doubling, id: "a", input: 1)
            func code(_ body: () async throws -> Void) async -> WorkflowError.Code? {
                do { try await body() } catch { return (error as? WorkflowError)?.code }
                return nil
            }
            #expect(await code { _ = try await client.start(Self.doubling, id: "a", input: 2) } == .conflict)
            #expect(await code { _ = try await client.result(of: "nobody", as: Int.self) } == .notFound)
            #expect(await code { _ = try await client.start(type: "none", id: "b", input: [48]) } == .unknownWorkflow)
            #expect(await code { _ = try await client.start(type: "doubling", id: "b", input: [1]) } == .invalidInput)
            #expect(await code { _ = try await client.start(type: "doubling", id: "", input: [48]) } == .invalidName)
            #expect(
                await code { _ = try await client.request("dance", [], isRepeatable: false) } == .unexpectedAnswer)
            _ = try await client.start(Self.endless, id: "long", input: 0)
            #expect(
                await code { _ = try await client.result(of: "long", as: Int.self, timeout: .milliseconds(20)) }
                    == .timedOut)
        }
    }

    @Test("a wait that is cancelled ends at once, and one that the client's end cuts off says so")
    func cancelled() async throws {
        let left = Lock<Task<Int, any Error>?>(nil)
        try await Self.withNodeAndClient { _, client in
            _ = try await client.start(Self.endless, id: "long", input: 0)
            let wait = Task { try await client.result(of: "long", as: Int.self) }
            wait.cancel()
            await #expect(throws: CancellationError.self) { try await wait.value }
            left.withLock { $0 = Task { try await client.result(of: "long", as: Int.self) } }
            #expect(try await client.start(Self.doubling, id: "a", input: 1).result() == 2)
        }
        let error = await #expect(throws: WorkflowError.self) { try await left.withLock { $0 }?.value }
        #expect(error?.code == .stopped)
    }

    @Test("a client whose node ends goes on with the next, and what had no answer is asked again")
    func nextNode() async throws {
        let (firstAddress, secondAddress) = (Promise<String>(), Promise<String>())
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            // Two fleets of one node each: the client cannot tell, since any node answers for its fleet.
            tasks.addTask {
                try await withNode(Self.configuration(), workflows: [Self.endless]) { node async throws in
                    firstAddress.fulfill(try #require(try await node.clientAddress()))
                    // Until the client waits here.
                    while try await node.list().runs.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
                }
            }
            tasks.addTask {
                try await withNode(Self.configuration(), workflows: [Self.doubling]) { node async throws in
                    _ = try await node.start(Self.doubling, id: "a", input: 21).result()
                    secondAddress.fulfill(try #require(try await node.clientAddress()))
                    while true { try await Task.sleep(for: .seconds(60)) }
                }
            }
            let addresses = [try await firstAddress.wait(), try await secondAddress.wait()]
            try await withFlotillaClient(addresses) { client in
                _ = try await client.start(Self.endless, id: "a", input: 0)
                #expect(try await client.result(of: "a", as: Int.self, timeout: .seconds(60)) == 42)
            }
            tasks.cancelAll()
            do { while try await tasks.next() != nil {} } catch is CancellationError {}
        }
    }

    @Test("without a node a request fails in time and names the reason; without an address at once")
    func nobody() async throws {
        try await withFlotillaClient(["127.0.0.1:1"]) { client in
            let error = await #expect(throws: WorkflowError.self) {
                try await client.request("start", [], isRepeatable: true, timeout: .milliseconds(300))
            }
            #expect(error?.code == .unavailable && error?.message.contains("127.0.0.1:1") == true)
        }
        await #expect(throws: WorkflowError.self) { try await withFlotillaClient([]) { _ in } }
    }

    @Test("a listener that cannot be had, and one beyond loopback, are refused by name")
    func refusedListeners() async throws {
        var configuration = Self.configuration()
        configuration.clients = "0.0.0.0:0"
        let insecure = await #expect(throws: NodeError.self) {
            try await withNode(configuration, workflows: []) { _ in }
        }
        #expect(insecure?.code == .invalidConfiguration && insecure?.message.contains("0.0.0.0:0") == true)
        try await withNode(Self.configuration(), workflows: []) { node async throws in
            var second = Self.configuration()
            second.clients = try await node.clientAddress()
            let taken = await #expect(throws: NodeError.self) { try await withNode(second, workflows: []) { _ in } }
            #expect(taken?.code == .listenFailed)
        }
    }
}
