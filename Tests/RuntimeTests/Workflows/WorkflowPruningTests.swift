import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Removing what has ended", .timeLimit(.minutes(5)))
struct WorkflowPruningTests {
    /// Runs of which the even ones ended: run n at time 1000 + n.
    private func bench(count: Int = 10) throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        for number in 0..<count { try bench.apply([Bench.start("a\(number)", run: UInt64(number))]) }
        for number in stride(from: 0, to: count, by: 2) {
            bench.time = 1000 + Int64(number)
            let address = Bench.address("a\(number)", run: UInt64(number))
            try bench.apply([.recordStep(address, StepKey("s", 0), value: [1])], epoch: 1)
            try bench.apply([.setCheckpoint(address, StepKey("c", 0), value: [1])], epoch: 1)
            try bench.apply([.finishRun(address, .success([]))], epoch: 1)
        }
        return bench
    }

    private func left(_ bench: Bench) -> [String] {
        bench.machine.state.startOrder.elements.map(\.value.workflowID.text)
    }

    private func prune(
        _ bench: inout Bench, _ retention: WorkflowRetention, limit: UInt32 = 100
    ) throws -> OperationResult? {
        try bench.apply([.pruneFinished(keeping: retention, limit: limit)]).result
    }

    @Test("runs are removed once they ended so long ago by the group's time, and none that has not ended")
    func age() throws {
        var bench = try bench()
        let retention = WorkflowRetention(age: .nanoseconds(100), count: nil)
        bench.time = 1101
        #expect(try prune(&bench, retention) == OperationResult(prunedCount: 1))
        bench.time = 1104
        #expect(try prune(&bench, retention) == OperationResult(prunedCount: 2))
        #expect(left(bench) == ["a1", "a3", "a5", "a6", "a7", "a8", "a9"])
        bench.time = 1_000_000
        #expect(try prune(&bench, retention) == OperationResult(prunedCount: 2))
        #expect(left(bench) == ["a1", "a3", "a5", "a7", "a9"])
        #expect(bench.machine.state.check() == nil)
        #expect(try prune(&bench, .forever) == OperationResult())
    }

    @Test("where more have ended than are kept, those that ended first go; either reason is enough")
    func countAndBoth() throws {
        var bench = try bench()
        #expect(try prune(&bench, WorkflowRetention(age: nil, count: 3)) == OperationResult(prunedCount: 2))
        #expect(left(bench) == ["a1", "a3", "a4", "a5", "a6", "a7", "a8", "a9"])
        bench.time = 1106
        let both = WorkflowRetention(age: .nanoseconds(100), count: 2)
        #expect(try prune(&bench, both) == OperationResult(prunedCount: 2))
        #expect(left(bench) == ["a1", "a3", "a5", "a7", "a8", "a9"])
        #expect(try prune(&bench, WorkflowRetention(age: nil, count: 0)) == OperationResult(prunedCount: 1))
        #expect(bench.machine.count(of: .completed) == 0 && bench.machine.count(of: .running) == 5)
        #expect(bench.machine.state.check() == nil)
    }

    @Test("one command removes a portion, and says that there is more")
    func portions() throws {
        var bench = try bench()
        let nothing = WorkflowRetention(age: .zero, count: nil)
        #expect(try prune(&bench, nothing, limit: 2) == OperationResult(prunedCount: 2, hasMore: true))
        #expect(try prune(&bench, nothing, limit: 3) == OperationResult(prunedCount: 3))
        #expect(try prune(&bench, nothing, limit: 3) == OperationResult())
        #expect(bench.machine.state.check() == nil)
    }

    @Test("runs with many steps end their portion, so that a command holds up nobody for long")
    func heavy() throws {
        var bench = try bench()
        for number in [1, 3, 5] {
            let address = Bench.address("a\(number)", run: UInt64(number))
            let operations = (0..<12_000).map { WorkflowOperation.recordStep(address, StepKey("s", $0), value: []) }
            try bench.apply(operations + [.finishRun(address, .success([]))], epoch: 1)
        }
        _ = try prune(&bench, WorkflowRetention(age: nil, count: 3))
        #expect(
            try prune(&bench, WorkflowRetention(age: nil, count: 0)) == OperationResult(prunedCount: 2, hasMore: true))
    }

    @Test("by hand one run is removed, with its checkpoints; one that has not ended is refused, and an unknown one")
    func byHand() throws {
        var bench = try bench()
        bench.machine.didApplyBatch()
        #expect(try bench.apply([.pruneRun(workflowID: "a4")]).result == OperationResult(prunedCount: 1))
        #expect(try bench.apply([.pruneRun(workflowID: "a4")]).refusal == .noSuchRun)
        #expect(try bench.apply([.pruneRun(workflowID: "a5")]).refusal == .wrongState)
        bench.machine.didApplyBatch()
        var kept: [UInt64] = []
        try bench.machine.checkpoints.withStore { store throws(LogError) in
            for number: UInt64 in 0..<10 {
                let run = CheckpointRun(
                    group: .underTest, run: RunKey("default", "a\(number)"), runID: RunID(high: 7, low: number))
                if try store.latest(of: CheckpointKey(run: run, name: "c")) != nil { kept.append(number) }
            }
        }
        #expect(kept == [0, 2, 6, 8])
        #expect(bench.machine.state.check() == nil)
    }

    @Test("an id whose run was removed starts another run, behind all others")
    func reuse() throws {
        var bench = try bench()
        #expect(try bench.apply([Bench.start("a2", run: 77, input: "2")]).refusal == .conflict)
        try bench.apply([.pruneRun(workflowID: "a2")])
        #expect(try bench.apply([Bench.start("a2", run: 77, input: "2")]).result?.wasDone == false)
        #expect(left(bench).last == "a2" && bench.machine.run("a2")?.steps.count == 0)
        let late = WorkflowOperation.recordStep(Bench.address("a2", run: 2), StepKey("s", 1), value: [])
        #expect(try bench.apply([late], epoch: 1).refusal == .noSuchRun)
        #expect(bench.machine.state.check() == nil)
    }

    @Test("the snapshot after it is smaller and restores to the same order, also where the last run is gone")
    func snapshots() throws {
        var bench = try bench(count: 101)
        let before = bench.machine.snapshotView().serialize()
        _ = try prune(&bench, WorkflowRetention(age: nil, count: 0), limit: 1000)
        let bytes = bench.machine.snapshotView().serialize()
        #expect(bytes.count < before.count * 2 / 3)
        let restored = WorkflowStateMachine()
        try restored.restore(bytes, formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.stateHash == bench.machine.stateHash)
        #expect(restored.state.check() == nil)
        // The next run has the same number on both.
        let machines = [bench.machine, restored]
        let request = RequestID(
            client: .init(replica: ReplicaID(1), boot: 1), sequence: 9_999, acknowledgedBelow: 0)
        let command = Command(
            kind: .workflow, request: request, timestamp: 9_999, operations: [Bench.start("new", run: 99).encoded])
        for machine in machines { _ = try machine.apply(command, at: LogIndex(9_999), time: 9_999) }
        #expect(machines.map { $0.run("new")?.sequence } == [102, 102])
        #expect(machines[0].stateHash == machines[1].stateHash)
    }

    @Test("a member that gets a snapshot drops the checkpoints of the runs that were removed before it")
    func lateMember() throws {
        var bench = try bench()
        let late = WorkflowStateMachine()
        try late.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        let run = CheckpointRun(group: .underTest, run: RunKey("default", "a4"), runID: RunID(high: 7, low: 4))
        let key = CheckpointKey(run: run, name: "c")
        late.checkpoints.append([.append(key, CheckpointRecord(sequence: 0, value: [1], recordedAt: 1004))])
        try bench.apply([.pruneRun(workflowID: "a4")])
        try late.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        late.didApplyBatch()
        let record = try late.checkpoints.withStore { store throws(LogError) in try store.latest(of: key) }
        #expect(record == nil)
    }

    private static let quick = Workflow("quick", version: 1) {
        (input: Int, _: WorkflowContext) async throws -> Int in input
    }

    @Test("a list that began before runs were removed goes on behind where it was, on any node, and misses none")
    func listing() async throws {
        try await withCluster { cluster in
            let first = try cluster.start(1, [Self.quick])
            let second = try cluster.start(2, [Self.quick])
            try await first.until { $0.executors.count == 2 }
            for number in 0..<40 { _ = try await first.engine.start(Self.quick, id: "q\(number)", input: 1).result() }
            var page = try await first.engine.list(limit: 10)
            var seen = page.runs.map(\.workflowID)
            // Also the run at which the page ended.
            for number in 5..<15 { try await second.engine.prune("q\(number)") }
            while let next = page.next {
                page = try await second.engine.list(after: next, limit: 10)
                seen += page.runs.map(\.workflowID)
            }
            #expect(seen == (0..<10).map { "q\($0)" } + (15..<40).map { "q\($0)" })
            let result = try await first.engine.pruneFinished(
                keeping: WorkflowRetention(age: nil, count: 4), limit: 7)
            #expect(result.count == 7 && result.hasMore)
            let rest = try await first.engine.pruneFinished(keeping: WorkflowRetention(age: nil, count: 4))
            #expect(rest.count == 19 && !rest.hasMore)
            #expect(try await second.engine.list().runs.map(\.workflowID) == ["q36", "q37", "q38", "q39"])
        }
    }

    @Test("whoever waits for a run that ends and is removed at once is told so")
    func waiters() async throws {
        try await withCluster { cluster in
            let gate = Gate()
            let waiting = Workflow("waiting", version: 1) { (_: Int, _: WorkflowContext) async throws -> Int in
                await gate.wait()
                return 1
            }
            let node = try cluster.start(1, [waiting])
            try await node.until { !$0.executors.isEmpty }
            let run = try await node.engine.start(waiting, id: "a", input: 0)
            let result = Task { try await run.result() }
            while node.engine.waiterCount == 0 { await Task.yield() }
            let early = await #expect(throws: WorkflowError.self) { try await node.engine.prune("a") }
            #expect(early?.code == .wrongState)
            let info = try await node.engine.describe("a")
            let address = RunAddress(workflowID: "a", runID: info.info.runID)
            // Both in one command, so that no observer sees the end.
            _ = try await node.propose(
                [
                    WorkflowOperation.finishRun(address, .success([])).encoded,
                    WorkflowOperation.pruneRun(workflowID: "a").encoded,
                ], ownerEpoch: info.epoch)
            let error = await #expect(throws: WorkflowError.self) { try await result.value }
            #expect(error?.code == .notFound)
            let gone = await #expect(throws: WorkflowError.self) { try await node.engine.prune("a") }
            #expect(gone?.code == .notFound)
            gate.open()
        }
    }
}
