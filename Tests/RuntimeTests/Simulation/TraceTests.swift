import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// A workflow and the trace that it belongs to.
@Suite struct TraceTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test("a traceparent is read as the specification says, and written back")
    func parsing() throws {
        let context = try #require(TraceContext(traceparent: Self.parent, tracestate: "a=1,b=2"))
        #expect(context.traceparent == Self.parent && context.isSampled && context.tracestate == "a=1,b=2")
        #expect(context.traceID == "4bf92f3577b34da6a3ce929d0e0e4736" && context.spanID == "00f067aa0ba902b7")
        // A later version may have more behind.
        let later = TraceContext(traceparent: "cc" + Self.parent.dropFirst(2) + "-what")
        #expect(later?.traceparent == Self.parent)
        for wrong in [
            "", "00", String(Self.parent.dropLast()), Self.parent + "-what", Self.parent + "0",
            Self.parent.uppercased(),
            "ff" + Self.parent.dropFirst(2), "cc" + Self.parent.dropFirst(2) + "what",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", Self.parent.replacing("-", with: "_"),
        ] {
            #expect(TraceContext(traceparent: wrong) == nil, "\(wrong)")
        }
        let long = String(repeating: "x", count: 513)
        #expect(TraceContext(traceparent: Self.parent, tracestate: long)?.tracestate == "")
        #expect(TraceContext(traceparent: Self.parent, tracestate: "a=\n")?.tracestate == "")
        let child = context.span(named: "x")
        #expect(child == context.span(named: "x") && child != context.span(named: "y"))
        #expect(child.traceID == context.traceID && child.spanID != context.spanID)
        #expect(TraceContext(traceparent: child.traceparent, tracestate: "a=1,b=2") == child)
    }

    @Test("a start over HTTP takes the trace of its headers along, and ignores what is none")
    func headers() async throws {
        let node = FakeNode()
        let starts = [[("traceparent", Self.parent), ("tracestate", "a=1")], [("traceparent", "nonsense")], []]
        for headers in starts {
            let request = HTTPRequest(
                method: "POST", path: "/v1/workflows", segments: ["v1", "workflows"],
                headers: headers.map { (name: $0.0, value: $0.1) }, body: Array(#"{"type":"w"}"#.utf8))
            #expect(await HTTPAPI(node: node).respond(to: request).status == 201)
        }
        let context = TraceContext(traceparent: Self.parent, tracestate: "a=1")
        #expect(node.calls.withLock { $0.traces } == [context, nil, nil])
    }

    private final class Sink: SpanSink {
        let spans = Lock<[WorkflowSpan]>([])
        func record(_ span: WorkflowSpan) { spans.withLock { $0.append(span) } }
    }

    private static let child = Workflow("child", version: 1) {
        (_: Int, context: WorkflowContext) async throws -> String in
        try await context.step("c") { $0.trace?.traceparent ?? "" }
    }

    private static func traced(_ seen: Lock<[TraceContext?]>) -> Workflow<Int, [String]> {
        Workflow("traced", version: 1) { (_: Int, context: WorkflowContext) async throws -> [String] in
            let own = try await context.step("s", retry: RetryPolicy(attempts: 3)) { step in
                seen.withLock { $0.append(step.trace) }
                try await step.clock.sleep(for: .milliseconds(100))
                if step.attempt == 1 { throw Broken() }
                return step.trace?.traceparent ?? ""
            }
            let child = try await context.child(Self.child, input: 1).result()
            if context.executionNumber == 1 { try await context.continueAsNew(0) }
            return [context.trace?.traceparent ?? "", own, child]
        }
    }
    private struct Broken: Error {}

    @Test(
        "steps, children and later executions stay in the trace of the start, whenever owners crash",
        arguments: Moment.allCases)
    func failover(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            let sink = Sink()
            let seen = Lock<[TraceContext?]>([])
            let traced = Self.traced(seen)
            let configure: @Sendable (inout NodeConfiguration) -> Void = { configuration in
                snapshotOften(&configuration)
                configuration.spans = sink
            }
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [traced, Self.child], configure: configure
            ) { simulation in
                let context = try #require(TraceContext(traceparent: Self.parent, tracestate: "a=1"))
                _ = try await simulation.ask { try await $0.start(traced, id: "t", input: 0, trace: context).started }
                if moment != .before {
                    await simulation.advance(
                        by: simulation.world.random(
                            in: moment == .during ? .zero ... .milliseconds(400) : .seconds(1) ... .seconds(2)))
                }
                let owner = try await simulation.owner(of: "t")
                if let owner { simulation.crash(owner, dropUnsynced: true) }
                let texts = try await simulation.result(of: "t", as: [String].self)
                let places = texts.compactMap { TraceContext(traceparent: $0) }
                #expect(places.count == 3 && Set(places.map(\.spanID)).count == 3, "seed \(seed): \(texts)")
                #expect(places.allSatisfy { $0.traceID == context.traceID })
                #expect(seen.withLock { $0.allSatisfy { $0?.traceID == context.traceID && $0?.tracestate == "a=1" } })
                // Each attempt is a span of its own, also of an attempt that another owner makes again.
                #expect(seen.withLock { Set($0.map { $0?.spanID }).count == $0.count })
                #expect(try await simulation.ask { try await $0.describe("t").trace } == context)

                let spans = sink.spans.withLock { $0 }
                #expect(spans.allSatisfy { $0.context.traceID == context.traceID && $0.endedAt >= $0.startedAt })
                let end = try #require(spans.last { $0.kind == .workflow && $0.name == "traced" })
                #expect(end.parentID == context.spanID && end.attempt == 2 && end.context.traceparent == texts[0])
                let step = try #require(spans.first { $0.kind == .step && $0.context.traceparent == texts[1] })
                #expect(
                    step.name == "s" && step.attempt == 2 && step.parentID == end.context.spanID && step.failure == nil)
                #expect(spans.contains { $0.name == "s" && $0.attempt == 1 && $0.failure?.type == "Broken" })
                let below = try #require(spans.last { $0.kind == .workflow && $0.name == "child" })
                #expect(below.parentID == end.context.spanID)
                if let owner { simulation.restart(owner) }
                try await simulation.untilConverged()
            }
        }
    }

    @Test("without a trace there is none, and one that nobody records is passed on but not told")
    func unsampled() async throws {
        let sink = Sink()
        let configure: @Sendable (inout NodeConfiguration) -> Void = { $0.spans = sink }
        try await withSimulation(seed: 1, nodes: 1, workflows: [Self.child], configure: configure) { simulation in
            #expect(try await simulation.submit(Self.child, id: "a", input: 0).result() == "")
            let quiet = try #require(TraceContext(traceparent: String(Self.parent.dropLast()) + "0"))
            let run = try await simulation.node(1).start(Self.child, id: "b", input: 0, trace: quiet)
            #expect(try await run.result().hasPrefix("00-\(quiet.traceID)-"))
            #expect(sink.spans.withLock { $0.isEmpty })
        }
    }
}
