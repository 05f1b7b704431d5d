import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// What runs emit, and who follows it.
@Suite struct StreamTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    /// Emits ten numbers in each of two executions.
    private static let emitting = Workflow("emitting", version: 1) {
        (start: Int, context: WorkflowContext) async throws -> Int in
        for number in start..<start + 10 {
            try await context.step("s") { try await $0.clock.sleep(for: .milliseconds(50)) }
            try await context.emit(number)
            try await context.emit("at \(number)", to: "texts")
        }
        if start == 0 { try await context.continueAsNew(10) }
        return start
    }

    @Test(
        "a follower sees each value once and in order until the run has ended, whenever its owner crashes",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [Self.emitting], configure: snapshotOften
            ) { simulation in
                try await simulation.submit(Self.emitting, id: "e", input: 0)
                let owner = try #require(try await simulation.owner(of: "e"))
                let other = try #require((1...3).first { $0 != owner })
                async let followed = Self.follow("e", simulation, as: Int.self, by: other)
                switch moment {
                case .before: break
                case .during: await simulation.advance(by: simulation.world.random(in: .zero ... .seconds(1)))
                case .after: await simulation.advance(by: .seconds(3))
                }
                simulation.crash(owner, dropUnsynced: true)
                let elements = try await followed
                #expect(elements.map(\.value) == Array(0..<20), "seed \(seed): \(elements.map(\.value))")
                #expect(Set(elements.map(\.position)).count == 20)
                // Whoever comes later sees the same, and goes on behind any place.
                let again = try await Self.follow("e", simulation, as: Int.self, by: other, after: elements[7].position)
                #expect(again.map(\.position) == elements.dropFirst(8).map(\.position))
                let texts = try await Self.follow("e", simulation, as: String.self, by: other, stream: "texts")
                #expect(texts.map(\.value) == (0..<20).map { "at \($0)" })
                #expect(try await Self.follow("e", simulation, as: Int.self, by: other, stream: "none").isEmpty)
                simulation.restart(owner)
                try await simulation.untilConverged()
            }
        }
    }

    private static func follow<Value: Decodable & Sendable>(
        _ id: String, _ simulation: SimulatedCluster, as type: Value.Type, by node: Int, stream: String = "progress",
        after: String? = nil
    ) async throws -> [WorkflowStream<Value>.Element] {
        var elements: [WorkflowStream<Value>.Element] = []
        var after = after
        while true {
            do {
                for try await element in try simulation.node(node).stream(stream, of: id, as: type, after: after) {
                    elements.append(element)
                    after = element.position
                }
                return elements
            } catch let error as WorkflowError where error.code == .unavailable {
                // While there is no leader.
                await simulation.advance(by: .milliseconds(100))
            }
        }
    }

    @Test(
        "a follower of a run that emits nothing waits as long as it says, and a place that is none is refused by name")
    func waiting() async throws {
        let silent = Workflow("silent", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.sleep(for: .seconds(60))
            try await context.emit(1)
            return 1
        }
        try await withSimulation(seed: 1, nodes: 1, workflows: [silent]) { simulation in
            try await simulation.submit(silent, id: "s", input: 0)
            let node = try simulation.node(1)
            func page(_ after: String?, _ wait: Duration) async throws -> WorkflowStreamPage? {
                try await node.streamWorkflow(
                    "s", namespace: "default", stream: "progress", after: after, limit: 10, wait: wait)
            }
            #expect(try await page(nil, .seconds(5)) == WorkflowStreamPage(events: [], next: nil, hasEnded: false))
            let first = try await page(nil, .seconds(100))
            #expect(first?.events.map(\.value) == [Array("1".utf8)] && first?.next == "1.0")
            #expect(try await page("1.0", .seconds(100))?.hasEnded == true)
            for wrong in ["", "x", "1", "0.1", "1.1.1", "1.-1", "1.\(UInt64.max)"] {
                let error = await #expect(throws: WorkflowError.self) { try await page(wrong, .zero) }
                #expect(error?.code == .invalidPage)
            }
            #expect(
                try await node.streamWorkflow(
                    "none", namespace: "default", stream: "progress", after: nil, limit: 1, wait: .zero) == nil)
        }
    }

    @Test("over HTTP a stream is JSON, or server-sent events that go on behind the last one, until 204 ends them")
    func overHTTP() async throws {
        let node = FakeNode(.init(run: FakeNode.run()))
        func ask(_ headers: [(name: String, value: String)], _ query: [(name: String, value: String)] = []) async
            -> HTTPResponse
        {
            await HTTPAPI(node: node).respond(
                to: HTTPRequest(
                    method: "GET", path: "/v1/workflows/a/stream", segments: ["v1", "workflows", "a", "stream"],
                    query: query, headers: headers))
        }
        let json = try JSONValue(parsing: await ask([], [("after", "1.4"), ("wait", "1s")]).body)
        #expect(json["next"] == .string("1.5") && json["ended"] == .bool(false))
        #expect(json["events"]?.elements.first?["value"] == .integer(7))
        let events = await ask([("accept", "text/event-stream"), ("last-event-id", "1.5")])
        #expect(events.headers.contains { $0.value == "text/event-stream" })
        #expect(String(decoding: events.body, as: UTF8.self).contains("id: 1.6\ndata: 7\n\n"))
        #expect(await ask([("accept", "text/event-stream"), ("last-event-id", "9.9")]).status == 204)
        #expect(await ask([], [("wait", "x")]).status == 400)
        #expect(node.calls.withLock { $0.streams } == ["progress 1.4", "progress 1.5", "progress 9.9"])
    }
}
