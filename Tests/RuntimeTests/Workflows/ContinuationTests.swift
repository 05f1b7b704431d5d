import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Runs that go on as new executions", .timeLimit(.minutes(5)))
struct ContinuationTests {
    // MARK: In the state

    private static let box = Mailbox(.signal, "s")
    private static let updates = Mailbox(.update, "u")

    private static func sending(
        _ value: String, from sender: String, _ number: UInt64 = 1, box: Mailbox = box
    ) -> WorkflowOperation {
        .message(
            .send(
                .init(workflowID: "a", runID: nil, box: box, value: Array(value.utf8), sender: sender, number: number)))
    }

    private static func take(_ ask: UInt64, _ box: Mailbox = box) -> WorkflowOperation {
        .message(.take(Bench.address("a"), ask: StepKey(box.text.text, ask), isDue: false))
    }

    private static func continuing(
        _ input: String, former: UInt64 = 50, _ type: WorkflowType = Bench.type
    ) -> WorkflowOperation {
        .composition(
            .continueRun(
                .init(
                    run: Bench.address("a"), type: type, input: Array(input.utf8),
                    formerID: RunID(high: 7, low: former))))
    }

    @Test(
        "those who send once are remembered for a day, and the latest 20,000 of them; who numbers its messages always is"
    )
    func senders() throws {
        let time: Int64 = 2 * RunMessages.memory
        var messages = RunMessages()
        func add(_ name: String, _ box: Mailbox, sentAt: Int64) {
            messages.senders.insert(
                RunMessages.Sender(number: 1, message: nil, sentAt: sentAt), for: box.sender(name))
        }
        add("desk", Self.box, sentAt: 1)
        add("old", Self.updates, sentAt: time - RunMessages.memory)
        for number in 0..<RunMessages.singleSendersMax {
            add("u-\(number)", Self.updates, sentAt: time - 50_000 + Int64(number))
        }
        let few = try #require(messages.continued(at: time))
        #expect(few.senders.count == RunMessages.singleSendersMax + 1)
        #expect(few.senders[Self.updates.sender("old")] == nil)
        add("~once", Self.box, sentAt: time)
        let many = try #require(messages.continued(at: time))
        #expect(many.senders.count == RunMessages.singleSendersMax + 1)
        #expect(many.senders[Self.updates.sender("u-0")] == nil && many.senders[Self.updates.sender("u-1")] != nil)
        #expect(many.senders[Self.box.sender("~once")] != nil && many.senders[Self.box.sender("desk")] != nil)
    }

    private func bench() throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a", input: "1")])
        return bench
    }

    private func expectRestored(_ bench: Bench) throws {
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash)
        #expect(bench.machine.state.check() == nil && restored.state.check() == nil)
    }

    @Test("the next execution begins with nothing recorded, the former one is kept, and its owner is a stale one")
    func state() throws {
        var bench = try bench()
        let step = WorkflowOperation.recordStep(Bench.address("a"), StepKey("s", 0), value: [1])
        try bench.apply([step], epoch: 1)
        try bench.apply(
            [.composition(.setAttributes(Bench.address("a"), StepKey("$attributes", 0), ["k": "v"]))], epoch: 1)
        #expect(try bench.apply([Self.continuing("2")], epoch: 0).refusal == .staleOwner)
        #expect(
            try bench.apply([Self.continuing("2", WorkflowType("w", version: 9))], epoch: 1).refusal == .unknownWorkflow
        )
        #expect(try bench.apply([Self.continuing("2")], epoch: 1).result?.runID == Bench.address("a").runID)
        let run = try #require(bench.machine.run("a"))
        #expect(run.execution == 2 && run.epoch == 2 && run.steps.count == 0 && run.input == Array("2".utf8))
        #expect(run.status == .running && run.attributes.texts == ["k": "v"])
        let former = try #require(bench.machine.run("a~1"))
        #expect(former.status == .continued && former.execution == 1 && former.steps.count == 2)
        #expect(former.runID == RunID(high: 7, low: 50) && former.input == Array("1".utf8))
        for late in [step, Self.continuing("3", former: 51), .finishRun(Bench.address("a"), .success([]))] {
            #expect(try bench.apply([late], epoch: 1).refusal == .staleOwner)
        }
        try expectRestored(bench)

        // The start that made it finds it, also behind several executions; another one does not.
        try bench.apply([Self.continuing("3", former: 51)], epoch: 2)
        #expect(try bench.apply([Bench.start("a", run: 9, input: "1")]).result?.runID == Bench.address("a").runID)
        #expect(try bench.apply([Bench.start("a", run: 9, input: "3")]).refusal == .conflict)
        #expect(bench.machine.run("a~2")?.input == Array("2".utf8))

        try bench.apply([.finishRun(Bench.address("a"), .success([]))], epoch: 3)
        #expect(try bench.apply([.pruneRun(workflowID: "a~1")]).refusal == nil)
        #expect(bench.machine.run("a~1") == nil && bench.machine.run("a~2") != nil)
        try bench.apply([.pruneFinished(keeping: WorkflowRetention(count: 0), limit: 9)])
        #expect(bench.machine.state.runs.count == 0)
        try expectRestored(bench)
    }

    @Test("what was not received or answered carries over once, in order, and repetitions stay such")
    func messages() throws {
        var bench = try bench()
        for number in 1...3 as ClosedRange<UInt64> { try bench.apply([Self.sending("\(number)", from: "x", number)]) }
        try bench.apply([Self.sending("9", from: "~once")])
        try bench.apply([Self.take(0)], epoch: 1)
        for id in ["answered", "received", "waiting"] {
            try bench.apply([Self.sending("1", from: id, box: Self.updates)])
        }
        for ask in 0...1 as ClosedRange<UInt64> { try bench.apply([Self.take(ask, Self.updates)], epoch: 1) }
        let reply = WorkflowOperation.message(
            .reply(Bench.address("a"), StepKey(Self.updates.text.text, 0), .value([5])))
        try bench.apply([reply], epoch: 1)
        try bench.apply([Self.continuing("2")], epoch: 1)
        try expectRestored(bench)

        for (sender, number) in [("x", 1), ("x", 2), ("x", 3), ("~once", 1)] as [(String, UInt64)] {
            let value = sender == "x" ? "\(number)" : "9"
            #expect(try bench.apply([Self.sending(value, from: sender, number)]).result?.wasDone == true)
        }
        var received: [String] = []
        for ask in 0...3 as ClosedRange<UInt64> {
            guard
                case .message(_, .value(let value), _)? = try bench.apply([Self.take(ask)], epoch: 2).result?.messages?
                    .receipt
            else { break }
            received.append(String(decoding: value, as: UTF8.self))
        }
        #expect(received == ["2", "3", "9"])
        var updates: [String] = []
        for ask in 0...2 as ClosedRange<UInt64> {
            guard
                case .message(_, _, let id)? = try bench.apply([Self.take(ask, Self.updates)], epoch: 2).result?
                    .messages?.receipt
            else { break }
            updates.append(id)
        }
        #expect(updates == ["received", "waiting"])
        #expect(try bench.apply([Self.sending("1", from: "answered", box: Self.updates)]).result?.wasDone == true)
        let answer = bench.machine.run("a")?.messages?.answers[Self.updates.sender("answered")]
        #expect(answer?.content == .value([5]))
        #expect(try bench.apply([Self.sending("4", from: "x", 4)]).result?.wasDone == false)
        try expectRestored(bench)

        // Those who send once are forgotten in the end, whoever numbers its messages never is.
        bench.time += RunMessages.memory
        try bench.apply([Self.continuing("3", former: 51)], epoch: 2)
        let senders = bench.machine.run("a")?.messages?.senders.sorted().map(\.key.text)
        #expect(senders == ["signal/x", "update/received", "update/waiting"], "the two were not answered")
        #expect(bench.machine.run("a")?.messages?.answers.count == 0)
    }

    @Test("a cancellation that was not heard reaches the next execution, one that was does not")
    func cancellation() throws {
        for isHeard in [false, true] {
            var bench = try bench()
            try bench.apply([.controlRun(workflowID: "a", .cancel, reason: "why")])
            if isHeard {
                try bench.apply(
                    [.recordStep(Bench.address("a"), RunExecution.cancellationStep, value: [1])], epoch: 1)
            }
            try bench.apply([Self.continuing("2")], epoch: 1)
            #expect(bench.machine.run("a")?.cancellation?.reason == (isHeard ? nil : "why"))
        }
    }

    @Test("a continuation comes out of its encoding as it went in, and ids of former executions are nobody's choice")
    func encoding() throws {
        for operation in [Self.continuing(""), Self.continuing("[1]", WorkflowType("x", version: 7))] {
            #expect(try WorkflowOperation(operation.encoded) == operation)
        }
        #expect(Self.continuing("2").encoded.type == 72)
        for bad in ["a~1", "~1", "a~b~22"] { #expect(throws: WorkflowError.self) { try WorkflowLimits.checkID(bad) } }
        for good in ["a~", "a1", "~z.1", "a~1b"] { #expect(throws: Never.self) { try WorkflowLimits.checkID(good) } }
    }

    // MARK: On engines

    enum Moment: CaseIterable { case beforeContinuation, afterContinuation, beforeEnd }

    /// Counts to six in three executions.
    private static let counting = Workflow<Int, [String]>("counting", version: 1) { start, context in
        var keys: [String] = []
        for number in start..<start + 2 {
            try await context.checkpoint("count", number)
            keys.append(try await context.step("count") { $0.idempotencyKey })
        }
        guard start < 4 else { return keys }
        try await context.continueAsNew(start + 2)
    }

    @Test(
        "a run counts on in new executions, whenever its owner dies, and the former ones can be read",
        arguments: Moment.allCases)
    func owners(moment: Moment) async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [Self.counting])
            try await first.until { !$0.executors.isEmpty }
            let second = try cluster.start(2, [Self.counting])
            try await first.until { $0.executors.count == 2 }
            cluster.setFault { node, operation in
                guard node == first.node else { return nil }
                switch (operation, moment) {
                case (.composition(.continueRun), .beforeContinuation): return .dieBefore
                case (.composition(.continueRun), .afterContinuation): return .dieAfter
                case (.finishRun, .beforeEnd): return .dieBefore
                default: return nil
                }
            }
            // Until the first node has died, whichever of the two had the run by then.
            var ids: [String] = []
            while first.died.value == nil {
                ids.append("a\(ids.count)")
                _ = try await second.engine.start(Self.counting, id: ids.last ?? "", input: 0)
                let last = ids.last ?? ""
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await first.died.wait() }
                    group.addTask { try await second.until { $0.run(last)?.status.isFinished ?? false } }
                    try await group.next()
                    group.cancelAll()
                }
            }
            try await cluster.lose(first, noticedBy: second)
            for id in ids {
                let keys = try await second.engine.result(of: id, as: [String].self)
                let info = try await second.engine.describe(id).info
                #expect(info.execution == 3 && keys == ["\(info.runID).3/count/0", "\(info.runID).3/count/1"])
                for (execution, numbers) in [(1, ["0", "1"]), (2, ["2", "3"])] {
                    let former = "\(id)~\(execution)"
                    #expect(try await second.engine.describe(former).info.status == .continued)
                    let page = try await second.engine.checkpoints("count", of: former)
                    #expect(page.checkpoints.map { String(decoding: $0.value, as: UTF8.self) } == numbers)
                    try await replay(history: try await second.engine.wholeHistory(of: former), against: Self.counting)
                }
                let last = try await second.engine.checkpoints("count", of: id)
                #expect(last.checkpoints.map { String(decoding: $0.value, as: UTF8.self) } == ["4", "5"])
            }
            #expect(try await second.engine.count().byStatus == [.completed: ids.count, .continued: 2 * ids.count])
            let error = await #expect(throws: WorkflowError.self) {
                try await second.engine.result(of: "\(ids[0])~1", as: Int.self)
            }
            #expect(error?.code == .wrongState)
        }
    }

    @Test("code that does not continue any more where the history did is told from code that does")
    func replays() async throws {
        try await withCluster { cluster in
            let node = try cluster.start(1, [Self.counting])
            try await node.until { !$0.executors.isEmpty }
            _ = try await node.engine.start(Self.counting, id: "a", input: 0)
            _ = try await node.engine.result(of: "a", as: [String].self)
            let history = try await node.engine.wholeHistory(of: "a~1")
            let changed = Workflow<Int, [String]>("counting", version: 1) { start, context in
                for number in start..<start + 2 {
                    try await context.checkpoint("count", number)
                    _ = try await context.step("count") { $0.idempotencyKey }
                }
                return []
            }
            await #expect(throws: (any Error).self) { try await replay(history: history, against: changed) }
        }
    }
}
