import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

@Suite("Runs that move between groups", .timeLimit(.minutes(5)))
struct TransferTests {
    private static let (source, target) = (GroupID(20), GroupID(21))

    /// A group with an executor, and one run with a step, a timer and three values of a checkpoint.
    private func group(_ id: GroupID, node: UInt64, run: String? = nil) throws -> Bench {
        var bench = Bench(machine: WorkflowStateMachine(of: id))
        try bench.apply([Bench.register(node)])
        guard let run else { return bench }
        try bench.apply([Bench.start(run)])
        let address = Bench.address(run)
        try bench.apply([.recordStep(address, StepKey("s", 0), value: [1])], epoch: 1)
        try bench.apply([.startTimer(address, StepKey("t", 0), .at(5_000))], epoch: 1)
        for value in 0..<3 as Range<UInt64> {
            try bench.apply([.setCheckpoint(address, StepKey("c", value), value: [UInt8(value)])], epoch: 1)
        }
        return bench
    }

    private func transfer(_ bench: Bench, _ number: UInt64 = 1, to group: GroupID = target) throws -> WorkflowOperation
    {
        let id = Transfers.ID(target: group, number: number)
        let moving = try #require(bench.machine.state.transfers.outgoing[id])
        let parts = TransferredRun(key: moving.key, run: moving.run)
            .parts(from: Self.source, number: number, acknowledgedBelow: 1)
        return .transfer(.importRun(try #require(parts.first)))
    }

    private func export(_ id: String, run: UInt64 = 1, to group: GroupID = target) -> WorkflowOperation {
        .transfer(.exportRun(Bench.address(id, run: run), to: group))
    }

    private func completion(_ number: UInt64 = 1, accepted: Bool, isKnown: Bool = true) -> WorkflowOperation {
        .transfer(
            .completeExport(
                .init(target: Self.target, number: number, isAccepted: accepted, isKnownAtHome: isKnown)))
    }

    @Test("TT-05: a seal is something to report, although it changes no run")
    func reportedSeal() throws {
        let reports = Lock(0)
        let machine = WorkflowStateMachine { _ in reports.withLock { $0 += 1 } }
        machine.roleDidChange(isLeader: true)
        var bench = Bench(machine: machine)
        let before = reports.withLock { $0 }
        try bench.apply([.transfer(.seal(epoch: 1))])
        machine.didApplyBatch()
        #expect(machine.state.transfers.sealEpoch == 1 && reports.withLock { $0 } > before)
    }

    @Test("a run moves with all that it recorded, is frozen on its way, and goes on under a higher epoch")
    func move() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        let before = try #require(here.machine.run("a"))
        #expect(try here.apply([export("a", run: 9)]).refusal == .noSuchRun)
        #expect(try here.apply([export("a", to: Self.source)]).refusal == .conflict)
        #expect(try here.apply([export("a")]).result?.sequence == 1)
        #expect(try here.apply([export("a")]).result == OperationResult(wasDone: true, sequence: 1))
        #expect(here.machine.run("a") == nil && here.machine.count(of: .running) == 0)
        let late = WorkflowOperation.recordStep(Bench.address("a"), StepKey("late", 0), value: [1])
        #expect(try here.apply([late], epoch: 1).refusal == .noSuchRun, "its owner has lost it")
        #expect(try here.apply([Bench.start("a")]).refusal == .moved)
        #expect(try there.apply([transfer(here)]).result?.runID == before.runID)
        #expect(try here.apply([completion(accepted: true, isKnown: false)]).refusal == .notHome)
        #expect(try here.apply([completion(accepted: true)]).result == OperationResult())
        #expect(try here.apply([completion(accepted: true)]).result?.wasDone == true)
        let after = try #require(there.machine.run("a"))
        #expect(after.owner == NodeID(2) && after.epoch == before.epoch + 2 && after.status == .running)
        #expect(after.steps.sorted().map(\.value) == before.steps.sorted().map(\.value))
        #expect(after.timers.sorted().map(\.value) == before.timers.sorted().map(\.value))
        #expect(after.checkpoints["c"]?.value == before.checkpoints["c"]?.value && after.startedAt == before.startedAt)
        #expect(after.checkpoints["c"]?.first == 2, "no value before the last has come along")
        #expect(try there.apply([late], epoch: 1).refusal == .staleOwner)
        #expect(try there.apply([late], epoch: after.epoch).refusal == nil)
        #expect(here.machine.state.check() == nil && there.machine.state.check() == nil)
    }

    @Test("a group that is founded anew repeats no number that the lost ones may have used, for transfers or owners")
    func nextIncarnation() throws {
        var (lost, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        // The survivor has not heard of the transfer that the majority made and finished before it was lost.
        var here = try group(Self.source, node: 1, run: "a")
        try here.apply([Bench.start("b", run: 2)])
        try lost.apply([export("a")])
        #expect(try there.apply([transfer(lost)]).result?.runID != nil)
        let epoch = try #require(here.machine.run("b")).epoch
        for _ in 1...2 { here.machine.beginIncarnation(2) }
        #expect(try #require(here.machine.run("b")).epoch > epoch + 1_000_000)
        let number = try #require(try here.apply([export("b", run: 2)]).result?.sequence)
        #expect(number > 1)
        let restored = try WorkflowSnapshot.state(
            from: here.machine.snapshotView().serialize(), formatVersion: WorkflowSnapshot.formatVersion)
        #expect(restored.transfers.outgoingBase == number - 1)
        #expect(
            try there.apply([transfer(here, number)]).result?.runID == RunID(high: 7, low: 2),
            "it is not taken for the transfer that was lost")
        #expect(try there.apply([transfer(here, number)]).result?.wasDone == true)
        #expect(there.machine.run("b") != nil)
        // And the one behind it is the next one.
        try here.apply([Bench.start("c", run: 3)])
        #expect(try here.apply([export("c", run: 3)]).result?.sequence == number + 1)
        #expect(try there.apply([transfer(here, number + 1)]).result?.runID == RunID(high: 7, low: 3))
        #expect(here.machine.state.check() == nil && there.machine.state.check() == nil)
    }

    @Test("a run that comes back to a later incarnation has an owner epoch that none had in the one before")
    func returnToNextIncarnation() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try there.apply([Bench.start("a", run: 9)])
        try here.apply([export("a")])
        #expect(try there.apply([transfer(here)]).result?.turnedDown != nil)
        // The majority that was lost may have given it to an owner again before.
        here.machine.beginIncarnation(2)
        try here.apply([
            .transfer(
                .completeExport(
                    TransferOperation.Completion(target: Self.target, number: 1, isAccepted: false)))
        ])
        #expect(try #require(here.machine.run("a")).epoch > here.machine.state.transfers.outgoingBase)
    }

    @Test("values of a checkpoint that come along are in the new group's history, and in the old one's no more")
    func history() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try here.apply([export("a")])
        let moving = try #require(here.machine.state.transfers.frozenRun(RunKey("default", "a")))
        let history = [1, 0, 2].map { (sequence: UInt64) in
            TransferredRun.Record(
                name: "c", record: CheckpointRecord(sequence: sequence, value: [UInt8(sequence)], recordedAt: 1_000))
        }
        let whole = TransferredRun(key: RunKey("default", "a"), run: moving, history: history)
        there.machine.didApplyBatch()
        here.machine.didApplyBatch()
        for part in whole.parts(from: Self.source, number: 1, acknowledgedBelow: 1) {
            try there.apply([.transfer(.importRun(part))])
        }
        #expect(there.machine.run("a")?.checkpoints["c"]?.first == 0)
        let run = RunKey("default", "a")
        func key(_ group: GroupID) -> CheckpointKey {
            CheckpointKey(run: CheckpointRun(group: group, run: run, runID: Bench.address("a").runID), name: "c")
        }
        let appended = there.machine.state.changes.checkpoints.compactMap { change in
            if case .append(key(Self.target), let record) = change { record } else { nil }
        }
        #expect(appended.map(\.sequence) == [0, 1, 2] && appended.map(\.value) == [[0], [1], [2]])
        try here.apply([completion(accepted: true)])
        #expect(here.machine.state.changes.checkpoints == [.remove(key(Self.source).run)])
    }

    @Test("a transfer counts once, whenever it comes again: also when its run has ended and gone")
    func once() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try here.apply([Bench.start("b", run: 2)])
        try here.apply([export("a")])
        try here.apply([export("b", run: 2)])
        let (first, second) = (try transfer(here), try transfer(here, 2))
        #expect(try there.apply([second]).refusal == .transferOutOfOrder)
        try there.apply([first])
        #expect(try there.apply([first]).result == OperationResult(wasDone: true))
        let epoch = try #require(there.machine.run("a")?.epoch)
        try there.apply([.finishRun(Bench.address("a"), .success([]))], epoch: epoch)
        try there.apply([.pruneRun(workflowID: "a")])
        #expect(try there.apply([first]).result?.wasDone == true)
        #expect(there.machine.run("a") == nil)
        #expect(try there.apply([second]).refusal == nil)
        #expect(there.machine.run("b")?.status == .running)
    }

    @Test("a run whose id is taken there is turned down, for good, and goes on where it was, under a new owner epoch")
    func turnedDown() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try there.apply([Bench.start("a", run: 5)])
        try here.apply([export("a")])
        let transfer = try transfer(here)
        #expect(try there.apply([transfer]).result?.turnedDown == .conflict)
        try there.apply([.finishRun(Bench.address("a", run: 5), .success([]))], epoch: 1)
        try there.apply([.pruneRun(workflowID: "a")])
        #expect(try there.apply([transfer]).result == OperationResult(wasDone: true, turnedDown: .conflict))
        #expect(there.machine.run("a") == nil)
        try here.apply([completion(accepted: false)])
        #expect(here.machine.run("a")?.status == .running && here.machine.run("a")?.epoch == 3)
        #expect(here.machine.state.check() == nil)
        try here.apply([export("a")])
        guard case .transfer(.importRun(var again)) = try self.transfer(here, 2) else { return }
        again.acknowledgedBelow = 2
        #expect(try there.apply([.transfer(.importRun(again))]).refusal == nil)
        #expect(there.machine.state.transfers.inboxes[Self.source]?.turnedDown.isEmpty == true)
    }

    @Test("a run that is larger than a command comes in parts, and parts that come late, twice or mixed do no harm")
    func parts() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try here.apply(
            [.recordStep(Bench.address("a"), StepKey("s", 1), value: Array(repeating: 7, count: 5_000))], epoch: 1)
        try here.apply([export("a")])
        let key = RunKey("default", "a")
        let whole = TransferredRun(key: key, run: try #require(here.machine.state.transfers.frozenRun(key)))
        let parts = whole.parts(from: Self.source, number: 1, acknowledgedBelow: 1, partBytes: 2_000)
        let others = whole.parts(from: Self.source, number: 1, acknowledgedBelow: 1, partBytes: 3_000)
        func send(_ part: TransferOperation.ImportPart) throws -> WorkflowAnswer {
            try there.apply([.transfer(.importRun(part))])
        }
        #expect(parts.count == 3 && parts.dropLast().allSatisfy { !$0.isLast })
        #expect(try send(parts[1]).refusal == .transferOutOfOrder)
        #expect(try send(parts[0]).result == OperationResult())
        #expect(try send(parts[2]).refusal == .transferOutOfOrder)
        #expect(try send(parts[1]).result == OperationResult())
        #expect(try send(parts[1]).result == OperationResult(wasDone: true))
        var bent = parts[2]
        bent.bytes[0] ^= 1
        #expect(try send(bent).refusal == .transferOutOfOrder)
        #expect(try send(others[0]).result == OperationResult(), "another leader begins anew")
        #expect(try send(parts[2]).refusal == .transferOutOfOrder)
        let restored = WorkflowStateMachine(of: Self.target)
        try restored.restore(
            there.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        there.machine = restored
        #expect(try send(others[1]).result?.runID == Bench.address("a").runID)
        #expect(there.machine.run("a")?.steps.count == 2)
        #expect(there.machine.state.transfers.inboxes[Self.source]?.staged == [])
        #expect(try send(parts[0]).result == OperationResult(wasDone: true))
        let alone: [WorkflowOperation] = [.transfer(.importRun(parts[0])), .transfer(.importRun(parts[1]))]
        #expect(try there.apply(alone).refusal == .wrongState)
    }

    @Test("every operation of a transfer comes out of its encoding as it went in, and a newer one stops the group")
    func encoding() throws {
        var here = try group(Self.source, node: 1, run: "a")
        try here.apply([export("a")])
        let part = try transfer(here)
        let (address, run) = (
            Transfers.Address(runID: RunID(high: 1, low: 2), group: Self.target, epoch: 3), RunID(high: 1, low: 2)
        )
        let entry = TransferOperation.HandoverEntry(key: RunKey("other", "a"), address: address)
        let transfers: [TransferOperation] = [
            .seal(epoch: 3), .listExport(Transfers.ID(target: Self.target, number: 4)),
            .setAddress(workflowID: "a", address, isFirst: true), .clearAddress(workflowID: "a", run),
            .confirmRelease(workflowID: "a", run), .openSlots([0, 1, 2, 7, 4_095], epoch: 2),
            .closeSlots([5], epoch: 2, home: Self.target, instead: nil),
            .closeSlots([5], epoch: 2, home: Self.target, instead: GroupID(0)), .releaseSlots([], epoch: 9),
            .handOver(epoch: 4, [entry]),
            .reserveRun(.init(workflowID: "a", runID: run, group: Self.target)),
            .reserveRun(
                .init(
                    workflowID: "a", runID: run, group: Self.target,
                    replacing: .init(runID: run, group: Self.source, isLost: true))),
        ]
        var operations = transfers.map(WorkflowOperation.transfer)
        operations += [export("a"), part, completion(7, accepted: true), completion(accepted: false, isKnown: false)]
        for placement in [WorkflowOperation.StartRun.Placement.alone, .atHome, .reserved(epoch: 7), .generated] {
            guard case .startRun(var start) = Bench.start("a") else { return }
            (start.placement, start.admitBelow) = (placement, 20)
            operations.append(.startRun(start))
        }
        for operation in operations { #expect(try WorkflowOperation(operation.encoded) == operation) }
        var more = ProtobufWriter()
        more.varint(99, 1)
        for operation in operations {
            var encoded = operation.encoded
            encoded.body += more.bytes
            let error = #expect(throws: ApplyError.self) { try WorkflowOperation(encoded) }
            #expect(error?.code == .unknownField)
        }
        let newer = Operation(type: 32, version: 2, body: [])
        #expect(#expect(throws: ApplyError.self) { try WorkflowOperation(newer) }?.code == .unknownVersion)
    }
}
