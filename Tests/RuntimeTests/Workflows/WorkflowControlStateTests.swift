import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("What is asked of a run from outside, in the state", .timeLimit(.minutes(5)))
struct WorkflowControlStateTests {
    private static let step = StepKey("s", 0)

    private func bench(_ status: WorkflowStatus) throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        try bench.apply([.recordStep(Bench.address("a"), Self.step, value: [1])], epoch: 1)
        switch status {
        case .running: break
        case .parked: try bench.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        case .completed: try bench.apply([.finishRun(Bench.address("a"), .success([]))], epoch: 1)
        case .failed:
            let failure = WorkflowFailure(type: "T", message: "m")
            try bench.apply([.finishRun(Bench.address("a"), .failure(failure))], epoch: 1)
        case .terminated: try control(&bench, .terminate)
        case .cancelled:
            try control(&bench, .cancel)
            try bench.apply([.finishRun(Bench.address("a"), .cancelled)], epoch: 1)
        case .paused: try control(&bench, .pause)
        case .continued: preconditionFailure("only former executions are, under ids of their own")
        }
        #expect(bench.machine.run("a")?.status == status)
        return bench
    }

    @discardableResult
    private func control(_ bench: inout Bench, _ action: WorkflowAction) throws -> WorkflowAnswer {
        try bench.apply([.controlRun(workflowID: "a", action, reason: "why")])
    }

    /// What a status becomes by an action; nil where it is refused.
    private func expected(_ action: WorkflowAction, _ status: WorkflowStatus) -> WorkflowStatus? {
        switch action {
        case .cancel: status.isFinished && status != .cancelled ? nil : status
        case .terminate: status.isFinished && status != .terminated ? nil : .terminated
        case .pause: status.isFinished ? nil : .paused
        case .resume: status == .paused ? .running : status.isFinished ? nil : status
        case .retry: status == .failed ? .running : nil
        }
    }

    @Test(
        "each action has its statuses, twice is as once, and what is refused changes nothing",
        arguments: WorkflowAction.allCases, WorkflowStatus.allCases.filter { $0 != .continued })
    func table(action: WorkflowAction, status: WorkflowStatus) throws {
        var bench = try bench(status)
        let hash = bench.machine.stateHash
        let answer = try control(&bench, action)
        let expected = expected(action, status)
        #expect(answer.refusal == (expected == nil ? .wrongState : nil))
        #expect(bench.machine.run("a")?.status == expected ?? status)
        #expect(bench.machine.run("a")?.steps[Self.step]?.value == [1])
        if expected == nil { #expect(bench.machine.stateHash == hash) }
        if expected != nil, action != .retry { #expect(try control(&bench, action).result?.wasDone == true) }
        #expect(bench.machine.state.check() == nil)
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash && restored.state.check() == nil)
        #expect(
            try bench.apply([.controlRun(workflowID: "b", action, reason: "")]).refusal == .noSuchRun)
    }

    @Test("RM-05: whatever the owner proposes after a termination or a pause is refused, and changes nothing")
    func lateProposals() throws {
        for (status, refusal) in [(WorkflowStatus.terminated, WorkflowRefusal.runEnded), (.paused, .staleOwner)] {
            var bench = try bench(status)
            let hash = bench.machine.stateHash
            let address = Bench.address("a")
            let operations: [WorkflowOperation] = [
                .setCheckpoint(address, StepKey("c", 0), value: [1]), .recordStep(address, StepKey("s", 1), value: [1]),
                .startTimer(address, Self.step, .after(5)), .finishRun(address, .success([])),
                .finishRun(address, .cancelled),
            ]
            for operation in operations { #expect(try bench.apply([operation], epoch: 1).refusal == refusal) }
            #expect(bench.machine.stateHash == hash)
        }
    }

    @Test("a run that nobody asked to end does not end as cancelled")
    func uninvited() throws {
        var bench = try bench(.running)
        #expect(try bench.apply([.finishRun(Bench.address("a"), .cancelled)], epoch: 1).refusal == .wrongState)
        #expect(bench.machine.run("a")?.status == .running)
    }

    @Test("a run that goes on again has a higher fencing token, and one that no node can run is parked")
    func tokens() throws {
        var paused = try bench(.paused)
        try control(&paused, .resume)
        #expect(paused.machine.run("a")?.epoch == 2)
        var failed = try bench(.failed)
        try failed.apply([.loseExecutor(node: NodeID(1), registration: 1)])
        try control(&failed, .retry)
        let run = try #require(failed.machine.run("a"))
        #expect(run.status == .parked && run.failure == nil && run.finishedAt == nil)
        try failed.apply([Bench.register(2)])
        #expect(failed.machine.run("a")?.owner == NodeID(2) && failed.machine.run("a")?.epoch == 2)
        // A paused run is nobody's: it stays so when its node is lost, and when others come.
        try control(&failed, .pause)
        try failed.apply([.loseExecutor(node: NodeID(2), registration: 1)])
        try failed.apply([Bench.register(3)])
        #expect(failed.machine.run("a")?.status == .paused)
        #expect(failed.machine.state.check() == nil)
    }
}
