import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Failed attempts at a step, in the state", .timeLimit(.minutes(5)))
struct StepAttemptsTests {
    private static let step = StepKey("s", 0)
    private static let failure = WorkflowFailure(type: "T", message: "m")

    private func bench() throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        return bench
    }

    private func fail(
        _ bench: inout Bench, attempt: UInt32, delay: Int64?, step: StepKey = step, epoch: UInt64 = 1
    ) throws -> WorkflowAnswer {
        let failed = StepFailure(
            failure: Self.failure, effort: StepEffort(attempt: attempt, duration: 30), delay: delay)
        return try bench.apply([.recordFailure(Bench.address("a"), step, failed)], epoch: epoch)
    }

    private func restored(_ bench: Bench) throws -> Bool {
        let other = WorkflowStateMachine()
        try other.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        return other.stateHash == bench.machine.stateHash
    }

    @Test("attempts count up, one that is recorded again changes nothing, and a result forgets them")
    func counting() throws {
        var bench = try bench()
        #expect(try fail(&bench, attempt: 1, delay: 50).result == OperationResult(deadline: 1050))
        bench.time = 1060
        let hash = bench.machine.stateHash
        #expect(try fail(&bench, attempt: 1, delay: 50).result == OperationResult(wasDone: true, deadline: 1050))
        #expect(bench.machine.stateHash == hash)
        #expect(try fail(&bench, attempt: 2, delay: 70).result?.deadline == 1130)
        let attempts = try #require(bench.machine.run("a")?.attempts[Self.step])
        #expect(attempts.startedAt == 970 && attempts.failedAt == 1060 && attempts.effort.attempt == 2)
        #expect(try restored(bench))
        let effort = StepEffort(attempt: 3, duration: 1)
        try bench.apply([.recordStep(Bench.address("a"), Self.step, value: [7], effort)], epoch: 1)
        #expect(bench.machine.run("a")?.attempts.count == 0)
        #expect(try fail(&bench, attempt: 4, delay: nil).result?.recordedValue == [7])
        #expect(try fail(&bench, attempt: 4, delay: nil, epoch: 2).refusal == .staleOwner)
    }

    @Test("progress is that of the last attempt, what comes late changes nothing, and a result forgets it")
    func progress() throws {
        var bench = try bench()
        let (run, step) = (Bench.address("a"), Self.step)
        func told() -> StepProgress? { bench.machine.run("a")?.progress[step] }
        try bench.apply([.recordProgress(run, step, attempt: 1, value: [1])], epoch: 1)
        #expect(told() == StepProgress(value: [1], attempt: 1, recordedAt: 1000, owner: NodeID(1), begunAt: 1000))
        var failed = StepFailure(failure: Self.failure, effort: StepEffort(attempt: 1, duration: 0), delay: 0)
        failed.progress = [2]
        try bench.apply([.recordFailure(run, step, failed)], epoch: 1)
        #expect(told()?.value == [2])
        let hash = bench.machine.stateHash
        #expect(try bench.apply([.recordProgress(run, step, attempt: 1, value: [9])], epoch: 1).result?.wasDone == true)
        #expect(bench.machine.stateHash == hash)
        try bench.apply([.recordProgress(run, step, attempt: 2, value: [3])], epoch: 1)
        #expect(told()?.value == [3] && told()?.attempt == 2)
        #expect(try restored(bench))
        #expect(try bench.apply([.recordProgress(run, step, attempt: 2, value: [4])], epoch: 2).refusal == .staleOwner)
        try bench.apply([.recordStep(run, step, value: [7])], epoch: 1)
        #expect(told() == nil)
        #expect(try bench.apply([.recordProgress(run, step, attempt: 3, value: [5])], epoch: 1).result?.wasDone == true)
        #expect(told() == nil)
    }

    @Test("a step that failed for good stays so, until its run is tried again: then it starts over, and no other does")
    func forGood() throws {
        var bench = try bench()
        let handled = StepKey("handled", 0)
        #expect(try fail(&bench, attempt: 1, delay: nil, step: handled).refusal == nil)
        bench.time = 2000
        #expect(try fail(&bench, attempt: 3, delay: nil).refusal == nil)
        #expect(try fail(&bench, attempt: 4, delay: 5).result?.wasDone == true)
        bench.time = 3000
        let late = StepKey("late", 0)
        #expect(try fail(&bench, attempt: 1, delay: nil, step: late).refusal == nil)
        #expect(try restored(bench))
        let message = try #require(bench.machine.run("a")?.attempts[Self.step]?.message(for: Self.step))
        let cause = WorkflowFailure(WorkflowError(.stepFailed, message))
        try bench.apply([.finishRun(Bench.address("a"), .failure(cause))], epoch: 1)
        try bench.apply([.controlRun(workflowID: "a", .retry, reason: "")])
        let run = try #require(bench.machine.run("a"))
        #expect(run.attempts[Self.step] == nil && run.attempts[handled] != nil && run.attempts[late] != nil)
        // A body that made something else of it: then it is the last.
        try bench.apply([.finishRun(Bench.address("a"), .failure(Self.failure))], epoch: 2)
        try bench.apply([.controlRun(workflowID: "a", .retry, reason: "")])
        let again = try #require(bench.machine.run("a"))
        #expect(again.attempts[handled] != nil && again.attempts[late] == nil)
    }

    @Test("pauses grow by their factor up to the longest, and chance only shortens them")
    func pauses() {
        var policy = RetryPolicy(attempts: nil)
        policy.delay = .seconds(1)
        policy.delayMax = .seconds(60)
        policy.jitter = 0.5
        #expect(
            (1...8).map { policy.pause(after: $0, chance: 0) } == [1, 2, 4, 8, 16, 32, 60, 60].map { .seconds($0) })
        #expect(policy.pause(after: 3, chance: 1) == .seconds(2))
        #expect(policy.pause(after: 3, chance: 0.5) == .seconds(3))
        #expect(policy.pause(after: 1_000_000, chance: 0) == .seconds(60))
        policy.delayMax = .seconds(Int64.max)
        #expect(policy.pause(after: 1_000_000, chance: 0) >= .seconds(8_000_000_000))
    }
}
