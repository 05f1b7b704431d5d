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
        let (key, run) = try #require(bench.machine.state.transfers.outgoing[id])
        return .transfer(
            .importRun(.init(source: Self.source, number: number, acknowledgedBelow: 1, key: key, run: run)))
    }

    private func export(_ id: String, run: UInt64 = 1, to group: GroupID = target) -> WorkflowOperation {
        .transfer(.exportRun(Bench.address(id, run: run), to: group))
    }

    private func completion(_ number: UInt64 = 1, accepted: Bool, leavesAddress: Bool = false) -> WorkflowOperation {
        .transfer(
            .completeExport(
                .init(target: Self.target, number: number, isAccepted: accepted, leavesAddress: leavesAddress)))
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
        try here.apply([completion(accepted: true, leavesAddress: true)])
        #expect(try here.apply([completion(accepted: true)]).result?.wasDone == true)
        #expect(try here.apply([Bench.start("a")]).refusal == .moved, "this is its home")
        let after = try #require(there.machine.run("a"))
        #expect(after.owner == NodeID(2) && after.epoch == before.epoch + 2 && after.status == .running)
        #expect(after.steps.sorted().map(\.value) == before.steps.sorted().map(\.value))
        #expect(after.timers.sorted().map(\.value) == before.timers.sorted().map(\.value))
        #expect(after.checkpoints["c"] == before.checkpoints["c"] && after.startedAt == before.startedAt)
        #expect(try there.apply([late], epoch: 1).refusal == .staleOwner)
        #expect(try there.apply([late], epoch: after.epoch).refusal == nil)
        #expect(here.machine.state.check() == nil && there.machine.state.check() == nil)
    }

    @Test("values of a checkpoint that come along are in the new group's history, and in the old one's no more")
    func history() throws {
        var (here, there) = (try group(Self.source, node: 1, run: "a"), try group(Self.target, node: 2))
        try here.apply([export("a")])
        guard case .transfer(.importRun(var transfer)) = try transfer(here) else { return }
        transfer.history = (0..<3 as Range<UInt64>).reversed().map {
            .init(name: "c", record: CheckpointRecord(sequence: $0, value: [UInt8($0)], recordedAt: 1_000))
        }
        there.machine.didApplyBatch()
        here.machine.didApplyBatch()
        try there.apply([.transfer(.importRun(transfer))])
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

    @Test("TT-05: a group seals its log only when nothing is left in it, and sends everybody elsewhere from then on")
    func seal() throws {
        var here = try group(Self.source, node: 1, run: "a")
        func seal(_ epoch: UInt64) -> WorkflowOperation { .transfer(.seal(epoch: epoch)) }
        #expect(try here.apply([seal(1)]).refusal == .notEmpty, "a run")
        try here.apply([export("a")])
        #expect(try here.apply([seal(1)]).refusal == .notEmpty, "a run on its way")
        try here.apply([completion(accepted: true, leavesAddress: true)])
        #expect(try here.apply([seal(1)]).refusal == .notEmpty, "an address")
        let runID = Bench.address("a").runID
        #expect(
            try here.apply([.transfer(.clearAddress(workflowID: "a", RunID(high: 1, low: 1)))]).result?.wasDone == true)
        try here.apply([.transfer(.clearAddress(workflowID: "a", runID))])
        #expect(here.machine.state.transfers.sealEpoch == nil)
        #expect(try here.apply([seal(2)]).result == OperationResult())
        #expect(try here.apply([seal(1)]).result?.wasDone == true)
        #expect(here.machine.state.transfers.sealEpoch == 2)
        #expect(try here.apply([Bench.start("b")]).refusal == .sealed)
        var other = try group(Self.target, node: 2, run: "c")
        try other.apply([.transfer(.exportRun(Bench.address("c"), to: Self.source))])
        #expect(try here.apply([transfer(other, to: Self.source)]).result?.turnedDown == .sealed)
        let address = Transfers.Address(runID: runID, group: Self.target, epoch: 1)
        #expect(try here.apply([.transfer(.setAddress(workflowID: "d", address))]).refusal == .sealed)
    }

    @Test("a home reserves an id for one run, knows where that one was last, and forgets it when it comes home")
    func addresses() throws {
        var (home, other) = (try group(Self.target, node: 1), try group(Self.source, node: 2, run: "a"))
        let runID = Bench.address("a").runID
        func set(_ group: UInt64, _ epoch: UInt64, run: RunID = Bench.address("a").runID) -> WorkflowOperation {
            let address = Transfers.Address(runID: run, group: GroupID(group), epoch: epoch)
            return .transfer(.setAddress(workflowID: "a", address))
        }
        #expect(try home.apply([set(20, 0)]).result == OperationResult())
        #expect(try home.apply([set(20, 0)]).result?.wasDone == true)
        #expect(try home.apply([set(22, 0, run: RunID(high: 1, low: 1))]).refusal == .conflict)
        #expect(try home.apply([Bench.start("a")]).refusal == .moved)
        try home.apply([set(22, 5)])
        #expect(try home.apply([set(20, 4)]).result?.wasDone == true, "older news")
        #expect(home.machine.state.transfers.addresses[RunKey("default", "a")]?.group == GroupID(22))
        try other.apply([export("a")])
        #expect(try home.apply([transfer(other)]).result?.runID == runID)
        #expect(home.machine.state.transfers.addresses.count == 0)
        #expect(try home.apply([set(20, 9)]).result?.wasDone == true, "it is here")
    }

    @Test("whatever is repeated and however often groups restart from snapshots, every run is in exactly one place")
    func random() throws {
        for seed in Simulation.seeds(20) {
            var random = SeededGenerator(seed: seed)
            let ids = (0..<3 as Range<UInt64>).map { GroupID(20 + $0) }
            var groups = try ids.map { try group($0, node: $0.rawValue) }
            let names = (0..<6).map { "run\($0)" }
            for (position, name) in names.enumerated() { try groups[position % 3].apply([Bench.start(name)]) }
            var sent: [(Int, TransferOperation.Import)] = []
            for step in 0..<300 {
                let here = Int.random(in: 0..<3, using: &random)
                switch Int.random(in: 0..<8, using: &random) {
                case 0...2:
                    guard let name = names.randomElement(using: &random) else { continue }
                    let there = (here + Int.random(in: 1...2, using: &random)) % 3
                    try groups[here].apply([.transfer(.exportRun(Bench.address(name), to: ids[there]))])
                case 3, 4:
                    let waiting = groups[here].machine.state.transfers.outgoing.sorted { $0.key < $1.key }
                    guard let (id, (key, run)) = waiting.randomElement(using: &random),
                        let there = ids.firstIndex(of: id.target)
                    else { continue }
                    let transfer = TransferOperation.Import(
                        source: ids[here], number: id.number, acknowledgedBelow: 1, key: key, run: run)
                    sent.append((there, transfer))
                    let answer = try groups[there].apply([.transfer(.importRun(transfer))])
                    guard let result = answer.result, Bool.random(using: &random) else { continue }
                    let completion = TransferOperation.Completion(
                        target: id.target, number: id.number, isAccepted: result.turnedDown == nil, leavesAddress: false
                    )
                    try groups[here].apply([.transfer(.completeExport(completion))])
                case 5, 6:
                    guard let (there, transfer) = sent.randomElement(using: &random) else { continue }
                    try groups[there].apply([.transfer(.importRun(transfer))])
                default:
                    let bytes = groups[here].machine.snapshotView().serialize()
                    let restored = WorkflowStateMachine(of: ids[here])
                    try restored.restore(bytes, formatVersion: WorkflowStateMachine.formatVersion)
                    #expect(restored.stateHash == groups[here].machine.stateHash, "seed \(seed), step \(step)")
                    groups[here] = Bench(machine: restored)
                }
                try expectOnePlaceEach(names, groups.map(\.machine.state), ids, "seed \(seed), step \(step)")
            }
        }
    }

    /// A run is in one group, or frozen in one while the other has not taken it.
    private func expectOnePlaceEach(
        _ names: [String], _ states: [WorkflowState], _ ids: [GroupID], _ place: String
    ) throws {
        for name in names {
            let key = RunKey("default", name)
            let running = states.filter { $0.runs[key] != nil }.count
            let frozen = states.indices.filter { position in
                guard let id = states[position].transfers.frozen[key], let target = ids.firstIndex(of: id.target) else {
                    return false
                }
                let inbox = states[target].transfers.inboxes[ids[position]] ?? Transfers.Inbox()
                return id.number >= inbox.next || inbox.turnedDown[id.number] != nil
            }.count
            #expect(running + frozen == 1, "\(place): \(name) runs in \(running) groups, \(frozen) are to hand it over")
        }
        for state in states { #expect(state.check() == nil, "\(place)") }
    }

    @Test("every operation of a transfer comes out of its encoding as it went in, and a newer one stops the group")
    func encoding() throws {
        var here = try group(Self.source, node: 1, run: "a")
        try here.apply([export("a")])
        guard case .transfer(.importRun(var transfer)) = try transfer(here) else { return }
        transfer.history = [.init(name: "c", record: CheckpointRecord(sequence: 1, value: [1], recordedAt: -1))]
        let address = Transfers.Address(runID: RunID(high: 1, low: 2), group: Self.target, epoch: 3)
        let operations: [WorkflowOperation] = [
            .transfer(.seal(epoch: 3)), export("a"), .transfer(.importRun(transfer)), completion(7, accepted: true),
            completion(accepted: false, leavesAddress: true), .transfer(.setAddress(workflowID: "a", address)),
            .transfer(.clearAddress(workflowID: "a", RunID(high: 1, low: 2))),
        ]
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
