import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Runs that begin with what another one has recorded.
@Suite struct ForkTests {
    enum Moment: CaseIterable, Sendable { case before, during, after }

    private static func fork(_ step: StepKey, as id: String, run: UInt64, of source: String = "a") -> WorkflowOperation
    {
        guard case .startRun(let start) = Bench.start(id, run: run, input: "") else { preconditionFailure("no start") }
        return .fork(ForkRun(origin: .init(source: Bench.address(source), step: step), start: start))
    }

    @Test("a fork has what was recorded before the step, and nothing of that step or what came with or behind it")
    func state() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a", input: "\"x\"")])
        let run = Bench.address("a")
        func record(_ name: String, at time: Int64) throws {
            bench.time = time
            try bench.apply([.recordStep(run, StepKey(name, 0), value: [UInt8(name.utf8.count)])], epoch: 1)
        }
        try record("one", at: 2_000)
        try record(ChildKey.start("open"), at: 2_100)
        try record(ChildKey.start("met"), at: 2_200)
        try record(ChildKey.end(of: StepKey(ChildKey.start("met"), 0)).name.text, at: 2_300)
        try bench.apply([.startTimer(run, StepKey("t", 0), .after(0))], epoch: 1)
        try bench.apply([.setCheckpoint(run, StepKey("c", 0), value: [9])], epoch: 1)
        for number in 1...2 as ClosedRange<UInt64> {
            let sending = MessageOperation.Sending(
                workflowID: "a", box: Mailbox(.signal, "s"), value: [UInt8(number)], sender: "ann", number: number)
            try bench.apply([.message(.send(sending))])
        }
        let ask = StepKey(Mailbox(.signal, "s").text.text, 0)
        try bench.apply([.message(.take(run, ask: ask, isDue: false))], epoch: 1)
        try record("two", at: 3_000)
        try bench.apply([.fireTimer(run, StepKey("t", 0))], epoch: 1)
        try record("three", at: 3_000)
        try record("four", at: 4_000)
        try bench.apply([.finishRun(run, .success([]))], epoch: 1)

        let operation = Self.fork(StepKey("two", 0), as: "b", run: 2)
        #expect(try WorkflowOperation(operation.encoded) == operation)
        #expect(try bench.apply([operation]).result?.wasDone == false)
        let fork = try #require(bench.machine.run("b"))
        #expect(fork.input == Array("\"x\"".utf8) && fork.status == .running && fork.epoch == 1)
        let kept = ["one", ChildKey.start("met"), ChildKey.end(of: StepKey(ChildKey.start("met"), 0)).name.text]
        #expect(Set(fork.steps.members.map(\.key.name.text)) == Set(kept))
        #expect(fork.timers[StepKey("t", 0)]?.hasFired == false && fork.checkpoints.count == 0)
        #expect(fork.messages?.receipt(of: ask) == .message(0, .value([1]), sender: "ann"))
        #expect(fork.messages?.waitingCount == 0 && fork.messages?.next(in: Mailbox(.signal, "s")) == nil)
        #expect(bench.machine.state.check() == nil)
        // The same again finds it; its source has not changed.
        #expect(try bench.apply([operation]).result?.wasDone == true)
        #expect(bench.machine.run("a")?.status == .completed && bench.machine.run("a")?.steps.count == 7)

        #expect(try bench.apply([Self.fork(StepKey("five", 0), as: "c", run: 3)]).refusal == .noSuchStep)
        #expect(try bench.apply([Self.fork(StepKey("one", 0), as: "b", run: 3)]).refusal == .conflict)
        #expect(try bench.apply([Self.fork(StepKey("one", 0), as: "c", run: 3, of: "z")]).refusal == .noSuchRun)
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash)
    }

    @Test("a run that had heard by then that it is to end is not forked; from an earlier step it is, and goes on")
    func cancelled() throws {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        let run = Bench.address("a")
        for (time, step) in [
            (2_000, StepKey("one", 0)), (3_000, RunExecution.cancellationStep), (4_000, StepKey("undo", 0)),
        ] {
            bench.time = Int64(time)
            try bench.apply([.recordStep(run, step, value: [1])], epoch: 1)
        }
        #expect(try bench.apply([Self.fork(StepKey("undo", 0), as: "b", run: 2)]).refusal == .wrongState)
        #expect(try bench.apply([Self.fork(StepKey("one", 0), as: "b", run: 2)]).refusal == nil)
        #expect(bench.machine.run("b")?.steps.count == 0 && bench.machine.run("b")?.cancellation == nil)
    }

    @Test("over HTTP a fork names the step, or a later use of its name")
    func overHTTP() async throws {
        let node = FakeNode()
        for (body, status) in [
            (#"{"from":"s"}"#, 201), (#"{"from":"s#2","id":"b"}"#, 201), (#"{"from":"s#x"}"#, 201), (#"{}"#, 400),
            (##"{"from":"#1"}"##, 400), (#"{"from":"s","to":"b"}"#, 400),
        ] {
            let request = HTTPRequest(
                method: "POST", path: "/v1/workflows/a/fork", segments: ["v1", "workflows", "a", "fork"],
                body: Array(body.utf8))
            #expect(await HTTPAPI(node: node).respond(to: request).status == status, "\(body)")
        }
        #expect(node.calls.withLock { $0.forks } == ["a s 0 -", "a s 2 b", "a s#x 0 -"])
    }

    /// What the steps return says whether the code was mended by then.
    private static func chain(_ log: Lock<[String]>, _ isMended: Lock<Bool>) -> Workflow<Int, [Int]> {
        Workflow("chain", version: 1) { (start: Int, context: WorkflowContext) async throws -> [Int] in
            var values: [Int] = []
            for number in 1...4 {
                let value = try await context.step("s\(number)") { step in
                    log.withLock { $0.append("\(context.workflowID) s\(number)") }
                    try await step.clock.sleep(for: .milliseconds(50))
                    return start + number + (isMended.withLock { $0 } ? 100 : 0)
                }
                values.append(value)
                try await context.checkpoint("last", value)
                try await context.sleep(for: .milliseconds(100))
            }
            return values
        }
    }

    @Test(
        "a fork does the step and what follows again, and nothing before, whenever owners crash",
        arguments: Moment.allCases)
    func crashes(moment: Moment) async throws {
        for seed in Simulation.seeds(3) {
            let (log, isMended) = (Lock<[String]>([]), Lock(false))
            let chain = Self.chain(log, isMended)
            try await withSimulation(
                seed: seed, nodes: 3, workflows: [chain], configure: snapshotOften
            ) { simulation in
                #expect(try await simulation.submit(chain, id: "a", input: 0).result() == [1, 2, 3, 4])
                isMended.withLock { $0 = true }
                let owner = Int(try await simulation.ask { try await $0.describe("a").info.owner?.rawValue } ?? 1)
                if moment == .before { simulation.crash(owner, dropUnsynced: true) }
                async let forked = simulation.ask { try await $0.fork("a", from: "s3", id: "b") }
                if moment == .during {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(30)))
                    simulation.crash(owner, dropUnsynced: true)
                }
                #expect(try await forked.workflowID == "b")
                if moment == .after {
                    await simulation.advance(by: simulation.world.random(in: .zero ... .milliseconds(200)))
                    simulation.crash(try await simulation.owner(of: "b") ?? owner, dropUnsynced: true)
                }
                #expect(try await simulation.result(of: "b", as: [Int].self) == [1, 2, 103, 104], "seed \(seed)")
                #expect(log.withLock { Set($0.filter { $0.hasPrefix("b") }) } == ["b s3", "b s4"])
                let checkpoints = try await simulation.ask { try await $0.checkpoints("last", of: "b") }
                #expect(
                    checkpoints.checkpoints.map { String(decoding: $0.value, as: UTF8.self) } == [
                        "1", "2", "103", "104",
                    ])
                let history = try await simulation.ask { try await $0.wholeHistory(of: "b") }
                try await replay(history: history, against: chain)
                #expect(try await simulation.ask { try await $0.describe("b").forkedFrom } == "a at s3#0")
                // The source is as it was.
                #expect(try await simulation.result(of: "a", as: [Int].self) == [1, 2, 3, 4])
                for number in 1...3 where !simulation.runningNodes.contains(number) { simulation.restart(number) }
                try await simulation.untilConverged()
            }
        }
    }
}
