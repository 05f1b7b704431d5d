import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("What is asked of a run from outside, and its body", .timeLimit(.minutes(5)))
struct WorkflowControlTests {
    /// Undoes its steps when it is to end.
    private static func saga(_ ledger: Ledger) -> Workflow<Int, Int> {
        Workflow("saga", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("charge") { ledger.append("charge", $0) }
            do {
                try await context.sleep(for: .seconds(1_000), name: "wait")
                try await context.step("ship") { ledger.append("ship", $0) }
            } catch let error as WorkflowError where error.code == .cancelled {
                try await context.sleep(for: .zero, name: "cool down")
                try await context.step("refund") { ledger.append("refund", $0) }
                throw error
            }
            return 1
        }
    }

    private func withTwo(
        _ workflow: some RegisterableWorkflow, _ body: (TestCluster, TestNode, TestNode) async throws -> Void
    ) async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [workflow])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [workflow])
            try await first.until { $0.executors.count == 2 }
            try await body(cluster, first, second)
        }
    }

    @Test("a run that is cancelled in its sleep cleans up with recorded steps, and ends as cancelled with the reason")
    func cancel() async throws {
        let ledger = Ledger()
        try await withTwo(Self.saga(ledger)) { cluster, first, second in
            let run = try await second.engine.start(Self.saga(ledger), id: "a", input: 0)
            try await first.until { $0.run("a")?.timers.count == 1 }
            let info = try await second.engine.control("a", .cancel, reason: "sold out")
            #expect(info.reason == "sold out" && info.cancelRequestedAt != nil)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.code == .cancelled && error?.message.contains("sold out") == true)
            #expect(ledger.effects.map(\.name) == ["charge", "refund"])
            let description = try await first.engine.describe("a")
            #expect(description.info.status == .cancelled && description.info.finishedAt != nil)
            #expect(description.steps.map(\.name).sorted() == ["$cancelled", "charge", "refund"])
            // What was recorded says where it was heard: a replay hears it there.
            let history = try await first.engine.wholeHistory(of: "a")
            #expect(try await HistoryReplay(history, against: Self.saga(Ledger()).definition).difference() == nil)
        }
    }

    enum Moment: CaseIterable { case beforeTheRecord, afterTheRecord, atTheCleanUp }

    @Test(
        "the owner dies as its body hears of the cancellation: the next one's hears of it at the same place",
        arguments: Moment.allCases)
    func cancelAndTakeover(moment: Moment) async throws {
        let ledger = Ledger()
        try await withTwo(Self.saga(ledger)) { cluster, first, second in
            let run = try await second.engine.start(Self.saga(ledger), id: "a", input: 0)
            try await first.until { $0.run("a")?.timers.count == 1 }
            cluster.setFault { node, operation in
                guard node == first.node, case .recordStep(_, let step, _, _, _) = operation else { return nil }
                guard step.name.text == (moment == .atTheCleanUp ? "refund" : "$cancelled") else { return nil }
                return moment == .beforeTheRecord ? .dieBefore : .dieAfter
            }
            _ = try await second.engine.control("a", .cancel)
            try await first.died.wait()
            try await cluster.lose(first, noticedBy: second)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.code == .cancelled)
            #expect(ledger.effects.map(\.name) == ["charge", "refund"])
            #expect(try await second.engine.describe("a").info.owner == second.node)
        }
    }

    @Test("a cancellation is heard by the next step, before its body runs, and once; a body may go on")
    func cancelAtStep() async throws {
        let (gate, ledger, hasBegun) = (Gate(), Ledger(), Promise<Void>())
        let workflow = Workflow("stubborn", version: 1) { (_: Int, context: WorkflowContext) async throws -> [Bool] in
            let hurries = try await context.step("slow") { step in
                hasBegun.fulfill(())
                await gate.wait()
                return step.isCancelled
            }
            let first: Void? = try? await context.step("first") { ledger.append("first", $0) }
            try await context.step("second") { ledger.append("second", $0) }
            return [hurries, first == nil, try await context.isCancelled(), context.isTerminated]
        }
        try await withTwo(workflow) { cluster, first, second in
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            try await hasBegun.wait()
            try await second.engine.control("a", .cancel)
            try await first.until { $0.run("a")?.cancellation != nil }
            gate.open()
            #expect(try await run.result() == [true, true, true, false])
            #expect(ledger.effects.map(\.name) == ["second"])
        }
    }

    @Test("a look sees the cancellation when it is asked for, and after a takeover the same looks see the same")
    func looks() async throws {
        let (seen, gate, hasBegun) = (Lock<[[Bool]]>([]), Gate(), Promise<Void>())
        let workflow = Workflow("looking", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            var looks = [try await context.isCancelled()]
            try await context.step("before") { _ in }
            looks.append(try await context.isCancelled())
            try await context.step("asked") { _ in
                hasBegun.fulfill(())
                await gate.wait()
            }
            looks.append(try await context.isCancelled())
            looks.append(try await context.isCancelled())
            seen.withLock { [looks] in $0.append(looks) }
            try await context.sleep(for: .seconds(100))
            return 1
        }
        try await withTwo(workflow) { cluster, first, second in
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            try await hasBegun.wait()
            try await second.engine.control("a", .cancel)
            try await first.until { $0.run("a")?.cancellation != nil }
            gate.open()
            try await second.until { $0.run("a")?.timers.count == 1 }
            first.die()
            try await cluster.lose(first, noticedBy: second)
            cluster.clock.advance(by: .seconds(101))
            #expect(try await run.result() == 1)
            #expect(seen.withLock { $0 } == Array(repeating: [false, false, true, true], count: 2))
        }
    }

    @Test("RM-04: a terminated run's body sees it at its next look, and its task is cancelled")
    func terminate() async throws {
        let (gate, saw, hasBegun) = (Gate(), Promise<[Bool]>(), Promise<Void>())
        let workflow = Workflow("deaf", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try? await context.step("deaf") { _ in
                hasBegun.fulfill(())
                await withTaskCancellationHandler {
                    await gate.wait()
                } onCancel: {
                    gate.open()
                }
            }
            saw.fulfill([context.isTerminated, Task.isCancelled])
            return 1
        }
        try await withTwo(workflow) { cluster, first, second in
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            try await hasBegun.wait()
            let info = try await second.engine.control("a", .terminate, reason: "out of hand")
            #expect(info.status == .terminated && info.reason == "out of hand")
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.code == .terminated && error?.message.contains("out of hand") == true)
            #expect(try await saw.wait() == [true, true])
            #expect(try await first.engine.describe("a").steps.isEmpty)
        }
    }

    @Test("RM-06: a checkpoint that is on its way when its run is terminated does not count")
    func pendingCheckpoint() async throws {
        let saw = Promise<Bool>()
        let workflow = Workflow("counting", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            var number = 0
            do {
                while true {
                    try await context.checkpoint("n", number)
                    number += 1
                }
            } catch {
                saw.fulfill(context.isTerminated)
                throw error
            }
        }
        try await withTwo(workflow) { cluster, first, second in
            _ = try await second.engine.start(workflow, id: "a", input: 0)
            try await second.until { ($0.run("a")?.checkpoints["n"]?.count ?? 0) > 20 }
            try await second.engine.control("a", .terminate)
            let count = try await second.engine.describe("a").checkpoints.map(\.count)
            #expect(try await saw.wait())
            for node in [first, second] {
                #expect(try await node.engine.describe("a").checkpoints.map(\.count) == count)
                #expect(try await node.engine.checkpoints("n", of: "a", limit: 1_000).next == nil)
            }
        }
    }

    @Test("a paused run records nothing and starts no step until it is resumed; the step that was under way runs again")
    func pause() async throws {
        let (gate, ledger, hasBegun) = (Gate(), Ledger(), Promise<Void>())
        let workflow = Workflow("pausing", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("one") { ledger.append("one", $0) }
            try await context.step("two") { step in
                ledger.append("two", step)
                hasBegun.fulfill(())
                if !step.mayBeRepetition { await gate.wait() }
            }
            try await context.step("three") { ledger.append("three", $0) }
            return 3
        }
        try await withTwo(workflow) { cluster, first, second in
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            try await hasBegun.wait()
            #expect(try await second.engine.control("a", .pause, reason: "audit").status == .paused)
            #expect(try await first.engine.describe("a").info.reason == "audit")
            gate.open()
            while !first.engine.state.withLock({ $0.running.isEmpty }) { await Task.yield() }
            #expect(ledger.effects.map(\.name) == ["one", "two"])
            #expect(try await first.engine.describe("a").steps.map(\.name) == ["one"])
            try await first.engine.control("a", .resume)
            #expect(try await run.result() == 3)
            #expect(ledger.effects.map(\.name) == ["one", "two", "two", "three"])
            let twos = ledger.effects.filter { $0.name == "two" }
            #expect(Set(twos.map(\.key)).count == 1 && twos[0].token < twos[1].token)
        }
    }

    @Test("a failed run that is tried again goes on at the step that failed; those before it do not run again")
    func retry() async throws {
        struct Flaky: Error {}
        let (isMended, ledger) = (Lock(false), Ledger())
        let workflow = Workflow("flaky", version: 1) { (_: Int, context: WorkflowContext) async throws -> Int in
            try await context.step("good") { ledger.append("good", $0) }
            try await context.step("bad") { step in
                ledger.append("bad", step)
                if !isMended.withLock({ $0 }) { throw Flaky() }
            }
            return 2
        }
        try await withTwo(workflow) { cluster, first, second in
            let run = try await second.engine.start(workflow, id: "a", input: 0)
            let error = await #expect(throws: WorkflowError.self) { try await run.result() }
            #expect(error?.failure?.type == "Flaky")
            let early = await #expect(throws: WorkflowError.self) { try await first.engine.control("a", .resume) }
            #expect(early?.code == .wrongState)
            isMended.withLock { $0 = true }
            try await second.engine.control("a", .retry)
            #expect(try await run.result() == 2)
            #expect(ledger.effects.map(\.name) == ["good", "bad", "bad"])
            let description = try await first.engine.describe("a")
            #expect(description.info.status == .completed && description.failure == nil)
        }
    }

    @Test("an unknown run and a reason that is too long are errors with names")
    func errors() async throws {
        try await withTwo(Self.saga(Ledger())) { cluster, first, second in
            let missing = await #expect(throws: WorkflowError.self) { try await first.engine.control("a", .cancel) }
            #expect(missing?.code == .notFound)
            let reason = String(repeating: "x", count: WorkflowLimits.reasonBytesMax + 1)
            let long = await #expect(throws: WorkflowError.self) {
                try await first.engine.control("a", .cancel, reason: reason)
            }
            #expect(long?.code == .invalidInput)
        }
    }
}
