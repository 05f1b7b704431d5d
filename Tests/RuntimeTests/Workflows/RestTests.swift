import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Runs that only wait", .timeLimit(.minutes(5)))
struct RestTests {
    static let limits: WorkflowLimits = {
        var limits = WorkflowLimits()
        limits.restsAfter = .seconds(10)
        return limits
    }()

    /// What a body came to, in its order.
    final class Diary: Sendable {
        private let entries = Lock<[String]>([])
        func add(_ entry: String) { entries.withLock { $0.append(entry) } }
        func count(of entry: String) -> Int { entries.withLock { $0.count { $0 == entry } } }
    }

    static func nap(_ diary: Diary) -> Workflow<Int, String> {
        Workflow("nap", version: 1) { (hours: Int, context: WorkflowContext) async throws -> String in
            diary.add("body")
            try await context.step("before") { _ in diary.add("before") }
            try await context.sleep(for: .seconds(hours * 3_600))
            try await context.step("after") { _ in diary.add("after") }
            return "done"
        }
    }

    @Test("a run that only sleeps leaves memory, and is replayed when its time comes; no step runs twice")
    func sleeps() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let workflow = Self.nap(diary)
            let node = try await cluster.begin(workflow, input: 5)
            try await node.untilResting(1, cluster.clock)
            #expect(!node.engine.state.withLock { $0.bell.hasTask })
            #expect(diary.count(of: "body") == 1)
            cluster.clock.advance(by: .seconds(5 * 3_600))
            #expect(try await node.engine.result(of: "a", as: String.self) == "done")
            #expect(diary.count(of: "body") == 2)
            #expect(diary.count(of: "before") == 1)
            #expect(diary.count(of: "after") == 1)
            #expect(node.restingCount == 0)
        }
    }

    @Test("runs that rest wake one after the other, each at its time")
    func manySleep() async throws {
        try await withCluster { cluster in
            let workflow = Self.nap(Diary())
            let node = try cluster.start(1, [workflow], limits: Self.limits)
            try await node.until { !$0.executors.isEmpty }
            for hours in [3, 1, 2] { _ = try await node.engine.start(workflow, id: "\(hours)", input: hours) }
            try await node.untilResting(3, cluster.clock)
            for hours in 1...3 {
                cluster.clock.advance(by: .seconds(3_600))
                #expect(try await node.engine.result(of: "\(hours)", as: String.self) == "done")
                #expect(node.restingCount == 3 - hours)
            }
        }
    }

    @Test("thousands of runs that only wait are put to rest, and wake, some at a time")
    func thousands() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let workflow = Self.nap(diary)
            let node = try await cluster.begin(workflow, input: 1)
            let count = 1_200
            for number in 1..<count { _ = try await node.engine.start(workflow, id: "\(number)", input: 1) }
            try await node.untilResting(count, cluster.clock)
            #expect(diary.count(of: "body") == count)
            cluster.clock.advance(by: .seconds(3_600))
            try await node.until { $0.executors.allSatisfy { $0.ownedRuns == 0 } }
            #expect(diary.count(of: "body") == 2 * count)
            #expect(diary.count(of: "after") == count)
        }
    }

    static let inbox = Workflow("inbox", version: 1) { (_: Int, context: WorkflowContext) async throws -> [Int] in
        let sum = context.variable(0)
        context.answer(WorkflowQuery<Int, Int>("sum")) { sum.value + $0 }
        var numbers: [Int] = []
        for try await number in context.signals(WorkflowSignal<Int>("number")) {
            numbers.append(number)
            sum.update { $0 += number }
            if number == 0 { break }
        }
        return numbers
    }

    @Test("a signal wakes a run that rests, and it has what it received before")
    func signals() async throws {
        try await withCluster { cluster in
            let node = try await cluster.begin(Self.inbox, input: 0)
            for (number, order) in [(7, 1), (5, 2), (0, 3)] as [(Int, UInt64)] {
                try await node.untilResting(1, cluster.clock)
                let sum = try await node.engine.query("a", name: "sum", input: Array("0".utf8))
                #expect(String(decoding: sum, as: UTF8.self) == [7: "0", 5: "7", 0: "12"][number])
                #expect(node.restingCount == 1)
                try await node.engine.signal(
                    "a", name: "number", value: Array("\(number)".utf8), from: ("s", order))
            }
            #expect(try await node.engine.result(of: "a", as: [Int].self) == [7, 5, 0])
        }
    }

    @Test("a wait without a limit is recorded before its run rests, so that every node can tell of it")
    func announced() async throws {
        try await withCluster { cluster in
            var limits = Self.limits
            limits.restsAfter = .zero
            let node = try await cluster.begin(Self.inbox, input: 0, limits: limits)
            try await node.untilResting(1, cluster.clock)
            #expect(try await node.withMachine { $0.run("a")?.messages?.asks.count } == 1)
        }
    }

    @Test("a run that rests hears that it is to end")
    func cancel() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let workflow = Workflow("careful", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                do {
                    try await context.sleep(for: .seconds(86_400))
                } catch let error as WorkflowError where error.code == .cancelled {
                    try await context.step("tidy") { _ in diary.add("tidy") }
                    throw error
                }
                return 1
            }
            let node = try await cluster.begin(workflow, input: 0)
            try await node.untilResting(1, cluster.clock)
            try await node.engine.control("a", .cancel)
            #expect(try await node.engine.outcome(of: "a", timeout: nil) == .cancelled(reason: ""))
            #expect(diary.count(of: "tidy") == 1)
            #expect(node.restingCount == 0)
        }
    }

    @Test("a run that rests and is terminated is forgotten")
    func terminate() async throws {
        try await withCluster { cluster in
            let node = try await cluster.begin(Self.nap(Diary()), input: 9)
            try await node.untilResting(1, cluster.clock)
            try await node.engine.control("a", .terminate)
            _ = try await node.engine.outcome(of: "a", timeout: nil)
            #expect(node.restingCount == 0)
        }
    }

    @Test("a step that is tried again much later rests meanwhile, and goes on with its count")
    func retries() async throws {
        try await withCluster { cluster in
            let attempts = Lock<[Int]>([])
            let workflow = Workflow("stubborn", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                var policy = RetryPolicy(attempts: 3)
                (policy.delay, policy.delayMax, policy.jitter) = (.seconds(3_600), .seconds(3_600), 0)
                return try await context.step("try", retry: policy) { step -> Int in
                    attempts.withLock { $0.append(step.attempt) }
                    guard step.attempt == 2 else { throw WorkflowError(.unavailable, "not yet") }
                    return step.attempt
                }
            }
            let node = try await cluster.begin(workflow, input: 0)
            try await node.untilResting(1, cluster.clock)
            cluster.clock.advance(by: .seconds(3_600))
            #expect(try await node.engine.result(of: "a", as: Int.self) == 2)
            #expect(attempts.withLock { $0 } == [1, 2])
        }
    }

    @Test("a run does not rest while one of its branches runs a step")
    func branches() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let mayEnd = Promise<Void>()
            let workflow = Workflow("both", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                diary.add("body")
                async let slept: Void = context.sleep(for: .seconds(86_400))
                try await context.step("long") { _ in
                    diary.add("long")
                    try await mayEnd.wait()
                }
                try await slept
                return 1
            }
            let node = try await cluster.begin(workflow, input: 0)
            try await node.until { $0.run("a")?.timers.count == 1 }
            for _ in 0..<20 {
                cluster.clock.advance(by: .seconds(10))
                try await node.turns()
            }
            #expect(node.restingCount == 0)
            #expect(diary.count(of: "long") == 1)
            mayEnd.fulfill(())
            try await node.untilResting(1, cluster.clock)
            cluster.clock.advance(by: .seconds(86_400))
            #expect(try await node.engine.result(of: "a", as: Int.self) == 1)
            #expect(diary.count(of: "long") == 1)
            #expect(diary.count(of: "body") == 2)
        }
    }

    @Test("what happens to a run while its body is on its way out wakes it at once")
    func race() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let mayLeave = Promise<Void>()
            let workflow = Workflow("slow", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                do {
                    return try await context.receive(WorkflowSignal<Int>("number"))
                } catch {
                    // It takes its time.
                    diary.add("stopped")
                    await Task { try? await mayLeave.wait() }.value
                    throw error
                }
            }
            let node = try await cluster.begin(workflow, input: 0)
            while diary.count(of: "stopped") == 0 {
                cluster.clock.advance(by: .seconds(5))
                try await node.turns()
            }
            try await node.engine.signal("a", name: "number", value: Array("3".utf8), from: ("s", 1))
            mayLeave.fulfill(())
            #expect(try await node.engine.result(of: "a", as: Int.self) == 3)
        }
    }

    @Test("a body with a branch that does not wait is replayed at once, and rests later and later")
    func disturbed() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let mayGoOn = Promise<Void>()
            let workflow = Workflow("busy", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                diary.add("body")
                async let slept: Void = context.sleep(for: .seconds(86_400))
                // Work outside of a step, which does not notice that it is cancelled.
                if diary.count(of: "body") == 1 { await Task { try? await mayGoOn.wait() }.value }
                try await context.step("then") { _ in diary.add("then") }
                try await slept
                return 1
            }
            let node = try await cluster.begin(workflow, input: 0)
            let key = RunKey("default", "a")
            while node.engine.state.withLock({ $0.running[key]?.rest }) == nil {
                cluster.clock.advance(by: .seconds(5))
                try await node.turns()
            }
            mayGoOn.fulfill(())
            try await node.until { $0.run("a")?.steps.count == 1 }
            #expect(diary.count(of: "body") == 2)
            #expect(diary.count(of: "then") == 1)
            #expect(node.engine.state.withLock { $0.running[key]?.restlessness } == 1)
            try await node.untilResting(1, cluster.clock)
            cluster.clock.advance(by: .seconds(86_400))
            #expect(try await node.engine.result(of: "a", as: Int.self) == 1)
        }
    }

    @Test("a body that was put to rest and does not end is named, once")
    func unresponsive() async throws {
        try await withCluster { cluster in
            let mayEnd = Promise<Void>()
            let workflow = Workflow("deaf", version: 1) {
                (_: Int, context: WorkflowContext) async throws -> Int in
                async let slept: Void = context.sleep(for: .seconds(86_400))
                await Task { try? await mayEnd.wait() }.value
                try await slept
                return 1
            }
            let node = try await cluster.begin(workflow, input: 0)
            while node.engine.state.withLock({ $0.unresponsive.isEmpty }) {
                cluster.clock.advance(by: .seconds(5))
                try await node.turns()
            }
            #expect(node.engine.state.withLock { $0.running[RunKey("default", "a")]?.rest?.isNamed } == true)
            mayEnd.fulfill(())
            try await node.untilResting(1, cluster.clock)
            #expect(node.engine.state.withLock { $0.unresponsive.isEmpty })
        }
    }

    @Test("a run that rests goes on elsewhere when its owner is lost")
    func takeover() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let workflow = Self.nap(diary)
            let first = try cluster.start(1, [workflow], limits: Self.limits)
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow], limits: Self.limits)
            try await first.until { $0.executors.count == 2 }
            _ = try await second.engine.start(workflow, id: "a", input: 5)
            try await first.untilResting(1, cluster.clock)
            try await cluster.lose(first, noticedBy: second)
            try await second.untilResting(1, cluster.clock)
            #expect(first.restingCount == 0)
            cluster.clock.advance(by: .seconds(5 * 3_600))
            #expect(try await second.engine.result(of: "a", as: String.self) == "done")
            #expect(diary.count(of: "before") == 1)
            #expect(diary.count(of: "after") == 1)
        }
    }

    @Test("what a snapshot brought to a run that rests is not missed")
    func restored() async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [Self.inbox], limits: Self.limits)
            try await first.until { !$0.executors.isEmpty }
            _ = try await first.engine.start(Self.inbox, id: "a", input: 0)
            try await first.untilResting(1, cluster.clock)
            let second = try cluster.start(2, [], limits: Self.limits)
            cluster.cutOff(first)
            try await second.engine.signal("a", name: "number", value: Array("0".utf8), from: ("s", 1))
            try await cluster.reconnectBySnapshot(first, from: second)
            #expect(try await first.engine.result(of: "a", as: [Int].self) == [0])
        }
    }

    @Test("an engine that ends leaves no timer of runs that rest")
    func ends() async throws {
        try await withCluster { cluster in
            let node = try await cluster.begin(Self.nap(Diary()), input: 5)
            try await node.untilResting(1, cluster.clock)
            let before = try await node.withMachine { [loop = node.loop] _ in loop.timerCount }
            node.engine.end()
            await node.engineEnded()
            let after = try await node.withMachine { [loop = node.loop] _ in loop.timerCount }
            #expect(before == 1)
            #expect(after == 0)
        }
    }

    @Test("without a limit all runs stay in memory")
    func never() async throws {
        try await withCluster { cluster in
            let diary = Diary()
            let workflow = Self.nap(diary)
            var limits = Self.limits
            limits.restsAfter = nil
            let node = try await cluster.begin(workflow, input: 5, limits: limits)
            try await node.until { $0.run("a")?.timers.count == 1 }
            for _ in 0..<20 {
                cluster.clock.advance(by: .seconds(100))
                try await node.turns()
            }
            #expect(node.engine.state.withLock { $0.running.count } == 1)
            cluster.clock.advance(by: .seconds(5 * 3_600))
            #expect(try await node.engine.result(of: "a", as: String.self) == "done")
            #expect(diary.count(of: "body") == 1)
        }
    }
}

extension TestCluster {
    /// A node whose run "a" has begun.
    fileprivate func begin<Output>(
        _ workflow: Workflow<Int, Output>, input: Int, limits: WorkflowLimits = RestTests.limits
    ) async throws -> TestNode {
        let node = try start(1, [workflow], limits: limits)
        try await node.until { !$0.executors.isEmpty }
        _ = try await node.engine.start(workflow, id: "a", input: input)
        return node
    }
}

extension TestNode {
    fileprivate var restingCount: Int { engine.state.withLock { $0.resting.count } }

    /// Lets the loop and the tasks do what they can do now.
    fileprivate func turns() async throws {
        for _ in 0..<20 {
            _ = try await withMachine { _ in }
            await Task.yield()
        }
    }

    /// Sets the clock forward until so many runs rest and none is in memory.
    fileprivate func untilResting(_ count: Int, _ clock: TestClock) async throws {
        while engine.state.withLock({ $0.resting.count != count || !$0.running.isEmpty }) {
            clock.advance(by: .seconds(1))
            try await turns()
        }
        // The task that had nothing left to do has gone.
        while engine.state.withLock({ $0.bell.hasTask }) { await Task.yield() }
    }
}
