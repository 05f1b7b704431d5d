import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Steps that leave the state for the history, as state machines do it.
@Suite struct StepArchiveTests {
    private static let address = Bench.address("a")
    private static let series = CheckpointKey(
        run: CheckpointRun(group: .underTest, run: RunKey("default", "a"), runID: address.runID), name: "$step/s")

    private static func record(_ occurrence: UInt64, keeping: UInt64, of name: String = "s") -> WorkflowOperation {
        .recordStep(
            address, StepKey(name, occurrence), value: [UInt8(truncatingIfNeeded: occurrence), 7],
            StepEffort(attempt: 2, duration: 9), keeping: keeping)
    }

    private func bench() throws -> Bench {
        var bench = Bench()
        try bench.apply([Bench.register(1)])
        try bench.apply([Bench.start("a")])
        return bench
    }

    private func history(_ bench: Bench, of key: CheckpointKey = series) throws -> [CheckpointRecord] {
        bench.machine.didApplyBatch()
        return try bench.machine.checkpoints.withStore { store throws(LogError) in
            try store.history(of: key, from: 0, limit: .max, bytesMax: .max)
        }
    }

    @Test(
        "of a step that comes again and again the latest results stay in the state, and the others are in the history")
    func leaves() throws {
        var bench = try bench()
        for occurrence in 0..<10 as Range<UInt64> {
            bench.time += 10
            #expect(try bench.apply([Self.record(occurrence, keeping: 3)], epoch: 1).result == OperationResult())
        }
        let run = try #require(bench.machine.run("a"))
        #expect(run.steps.sorted().map(\.key.occurrence) == [7, 8, 9] && run.stepCount == 10)
        let records = try history(bench)
        #expect(records.map(\.sequence) == Array(0..<7))
        #expect(records.map(\.recordedAt) == (1...7).map { 1_000 + 10 * Int64($0) })
        let second = try records[2].step
        #expect(second.value == [2, 7] && second.owner == NodeID(1) && second.epoch == 1)
        #expect(second.effort == StepEffort(attempt: 2, duration: 9))
        // Another name has its own.
        try bench.apply([Self.record(0, keeping: 3, of: "t")], epoch: 1)
        #expect(bench.machine.run("a")?.archivedStepCount == 7)
    }

    @Test("a step in the history is recorded already: nothing that is said of it again changes anything")
    func again() throws {
        var bench = try bench()
        for occurrence in 0..<5 as Range<UInt64> { try bench.apply([Self.record(occurrence, keeping: 2)], epoch: 1) }
        let hash = bench.machine.stateHash
        let failure = StepFailure(
            failure: WorkflowFailure(type: "x", message: ""), effort: StepEffort(), delay: nil)
        for operation: WorkflowOperation in [
            Self.record(1, keeping: 2), Self.record(1, keeping: 0), Self.record(4, keeping: 2),
            .recordFailure(Self.address, StepKey("s", 0), failure),
            .recordProgress(Self.address, StepKey("s", 2), attempt: 1, value: [1]),
        ] {
            #expect(try bench.apply([operation], epoch: 1).result?.wasDone == true)
            #expect(bench.machine.stateHash == hash)
        }
    }

    @Test("a step without a result leaves a gap; a result that comes for it later stays in the state")
    func gap() throws {
        var bench = try bench()
        for occurrence in [0, 1, 4, 5, 6, 7] as [UInt64] {
            bench.time += 10
            try bench.apply([Self.record(occurrence, keeping: 2)], epoch: 1)
        }
        #expect(try history(bench).map(\.sequence) == [0, 1, 4, 5])
        let archive = try #require(bench.machine.run("a")?.archives?["s"])
        #expect(archive.absent == [2..<4] && archive.count == 4 && archive.end == 6)
        #expect((0..<8).filter { archive.holds($0) } == [0, 1, 4, 5])
        #expect((0..<8).map { archive.first(from: $0) } == [0, 1, 4, 4, 4, 5, nil, nil])
        bench.time += 10
        #expect(try bench.apply([Self.record(3, keeping: 2)], epoch: 1).result == OperationResult())
        #expect(try bench.apply([Self.record(3, keeping: 2)], epoch: 1).result?.recordedValue == [3, 7])
        bench.time += 10
        try bench.apply([Self.record(8, keeping: 2)], epoch: 1)
        #expect(try history(bench).map(\.sequence) == [0, 1, 4, 5, 6], "the history is in the order of time")
        #expect(bench.machine.run("a")?.steps.sorted().map(\.key.occurrence) == [3, 7, 8])
    }

    @Test("occurrences without a result are looked at once, and what comes of them later stays in the state")
    func emptyBeginning() throws {
        var bench = try bench()
        try bench.apply([Self.record(1_000_000_000_000, keeping: 2)], epoch: 1)
        let archive = try #require(bench.machine.run("a")?.archives?["s"])
        #expect(archive.next == 999_999_999_999 && archive.end == 0 && archive.count == 0 && !archive.holds(5))
        try bench.apply([Self.record(5, keeping: 2)], epoch: 1)
        for occurrence in 1_000_000_000_001...1_000_000_000_004 as ClosedRange<UInt64> {
            try bench.apply([Self.record(occurrence, keeping: 2)], epoch: 1)
        }
        let run = try #require(bench.machine.run("a"))
        #expect(run.archives?["s"]?.absent == [0..<1_000_000_000_000] && run.archives?["s"]?.end == 1_000_000_000_003)
        #expect(run.steps.sorted().map(\.key.occurrence) == [5, 1_000_000_000_003, 1_000_000_000_004])
        #expect(try history(bench).map(\.sequence) == [1_000_000_000_000, 1_000_000_000_001, 1_000_000_000_002])
        #expect(try bench.apply([Self.record(5, keeping: 2)], epoch: 1).result?.recordedValue == [5, 7])
        #expect(try bench.apply([Self.record(1_000_000_000_001, keeping: 2)], epoch: 1).result?.wasDone == true)
        let restored = WorkflowStateMachine()
        try restored.restore(
            bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
        #expect(restored.run("a")?.archives?["s"] == run.archives?["s"])
    }

    @Test("whatever comes in whatever order, state and history have each step once, in the order of time there")
    func property() throws {
        for seed in Simulation.seeds(30) {
            var random = SeededGenerator(seed: seed)
            var (bench, model) = (try bench(), try bench())
            let restored = WorkflowStateMachine()
            var waiting = Array(0..<UInt64.random(in: 1...60, using: &random))
            while !waiting.isEmpty {
                // Mostly in order, as bodies do.
                let place = Int.random(in: 0..<min(waiting.count, Bool.random(using: &random) ? 1 : 9), using: &random)
                let occurrence = waiting.remove(at: place)
                if UInt64.random(in: 0..<8, using: &random) == 0 { continue }
                bench.time += Int64.random(in: 0...2, using: &random)
                model.time = bench.time
                let keeping = UInt64.random(in: 0...5, using: &random)
                for _ in 0..<Int.random(in: 1...2, using: &random) {
                    try bench.apply([Self.record(occurrence, keeping: keeping)], epoch: 1)
                }
                try model.apply([Self.record(occurrence, keeping: 0)], epoch: 1)
            }
            let run = try #require(bench.machine.run("a"))
            let records = try history(bench)
            #expect(records.map(\.recordedAt) == records.map(\.recordedAt).sorted(), "seed \(seed)")
            #expect(records.map(\.sequence) == (0..<60).filter { run.isArchived(StepKey("s", $0)) }, "seed \(seed)")
            var all: [StepKey: Run.Step] = [:]
            for (key, step) in run.steps.members { all[key] = step }
            for record in records {
                #expect(all.updateValue(try record.step, forKey: StepKey("s", record.sequence)) == nil, "seed \(seed)")
            }
            let expected = try #require(model.machine.run("a")).steps
            #expect(
                all == Dictionary(uniqueKeysWithValues: expected.members.map { ($0.key, $0.value) }), "seed \(seed)")
            #expect(run.stepCount == UInt64(expected.count), "seed \(seed)")
            try restored.restore(
                bench.machine.snapshotView().serialize(), formatVersion: WorkflowStateMachine.formatVersion)
            #expect(restored.stateHash == bench.machine.stateHash, "seed \(seed)")
            #expect(restored.run("a")?.archives?["s"] == run.archives?["s"], "seed \(seed)")
            // Page by page the history is the same as if all were in the state.
            for limit in [1, 3, 100] {
                #expect(try events(bench, limit: limit) == events(model, limit: limit), "seed \(seed)")
            }
        }
    }

    private func events(_ bench: Bench, limit: Int) throws -> [WorkflowEvent] {
        let run = try #require(bench.machine.run("a"))
        var (events, after): ([WorkflowEvent], EventPosition?) = ([], nil)
        repeat {
            let reader = HistoryReader(run: run, owner: Self.series.run, after: after, limit: limit)
            let page = try bench.machine.checkpoints.withStore { store throws(LogError) in
                try reader.page(store, withValues: true)
            }
            events += page.events
            after = page.next
        } while after != nil
        return events
    }

    @Test("the operation comes out of its encoding as it went in, and what no archive can be is refused")
    func coding() throws {
        let operation = Self.record(5, keeping: 256)
        #expect(try WorkflowOperation(operation.encoded) == operation)
        func read(_ body: (inout ProtobufWriter) -> Void) throws -> StepArchive {
            var writer = ProtobufWriter()
            writer.string(1, "s")
            writer.varint(2, 10)
            body(&writer)
            var reader = ProtobufReader(writer.bytes)
            return try StepArchive.read(from: &reader).1
        }
        #expect(try read { $0.packed(4, [2, 5, 7, 9]) }.count == 5)
        for ranges in [[2], [5, 2], [2, 2], [2, 5, 5, 6], [2, 5, 4, 6], [2, 11], [8, 10]] as [[UInt64]] {
            #expect(throws: WireError.self) { try read { $0.packed(4, ranges) } }
        }
        #expect(try read { $0.varint(5, 3) }.next == 13)
        #expect(throws: WireError.self) { try read { $0.varint(5, .max) } }
        #expect(throws: WireError.self) { try read { $0.varint(6, 1) } }
        #expect(throws: WireError.self) {
            try CheckpointRecord(sequence: 0, value: [0x38, 1], recordedAt: 0).step
        }
    }

    @Test("a run that is removed takes its steps in the history along, and one that goes on anew keeps them as before")
    func end() throws {
        var bench = try bench()
        for occurrence in 0..<5 as Range<UInt64> { try bench.apply([Self.record(occurrence, keeping: 2)], epoch: 1) }
        let next = CompositionOperation.Continuation(
            run: Self.address, type: Bench.type, input: [2], formerID: RunID(high: 8, low: 8), kept: [])
        #expect(try bench.apply([.composition(.continueRun(next))], epoch: 1).refusal == nil)
        let former = try #require(bench.machine.run("a~1"))
        #expect(former.stepCount == 5 && former.archivedStepCount == 3)
        #expect(former.checkpointRun(RunKey("default", "a~1"), in: .underTest) == Self.series.run)
        #expect(bench.machine.run("a")?.stepCount == 0)
        #expect(try history(bench).count == 3)
        try bench.apply([.pruneRun(workflowID: "a~1")])
        #expect(try history(bench).isEmpty)
    }

    @Test("a run that moves takes all of its steps along")
    func moves() throws {
        var here = Bench(machine: WorkflowStateMachine(of: GroupID(20)))
        var there = Bench(machine: WorkflowStateMachine(of: GroupID(21)))
        try there.apply([Bench.register(2)])
        try here.apply([Bench.register(1)])
        try here.apply([Bench.start("a")])
        for occurrence in 0..<9 as Range<UInt64> where occurrence != 3 {
            try here.apply([Self.record(occurrence, keeping: 2)], epoch: 1)
        }
        let run = try #require(here.machine.run("a"))
        try here.apply([.transfer(.exportRun(Self.address, to: GroupID(21)))])
        func key(_ group: UInt64) -> CheckpointKey {
            CheckpointKey(
                run: CheckpointRun(group: GroupID(group), run: RunKey("default", "a"), runID: Self.address.runID),
                name: "$step/s")
        }
        let records = try history(here, of: key(20))
        let moving = try #require(here.machine.state.transfers.frozenRun(RunKey("default", "a")))
        let whole = TransferredRun(
            key: RunKey("default", "a"), run: moving,
            history: records.map { TransferredRun.Record(name: "$step/s", record: $0) })
        for part in whole.parts(from: GroupID(20), number: 1, acknowledgedBelow: 1, partBytes: 50) {
            try there.apply([.transfer(.importRun(part))])
        }
        #expect(there.machine.run("a")?.archives?["s"] == run.archives?["s"])
        #expect(try history(there, of: key(21)) == records && records.count == 6)
        #expect(there.machine.run("a")?.steps.sorted().map(\.value) == run.steps.sorted().map(\.value))
        try here.apply([
            .transfer(
                .completeExport(
                    .init(target: GroupID(21), number: 1, isAccepted: true, isKnownAtHome: true)))
        ])
        #expect(try history(here, of: key(20)).isEmpty)
    }

    @Test("a member that lags gets the steps that belong to a snapshot, over gaps too, and asks for nothing twice")
    func companion() throws {
        var bench = try bench()
        for occurrence in 0..<40 as Range<UInt64> where occurrence % 7 != 3 {
            try bench.apply([Self.record(occurrence, keeping: 2)], epoch: 1)
        }
        bench.machine.didApplyBatch()
        let state = bench.machine.snapshotView().serialize()
        let source = CheckpointCompanion(group: .underTest, journal: bench.machine.checkpoints)
        let target = Bench()
        let companion = CheckpointCompanion(group: .underTest, journal: target.machine.checkpoints)
        func question() throws -> [UInt8]? {
            try companion.question(for: state, formatVersion: WorkflowStateMachine.formatVersion)
        }
        try companion.take(try source.answer(to: try #require(try question())))
        #expect(try question() == nil && question() == nil)
        #expect(try history(target) == history(bench))
    }
}
