import FlotillaActors
import FlotillaRaft
import Testing

@testable import Flotilla

/// How a member that lags gets the history that belongs to a snapshot.
@Suite struct CheckpointCompanionTests {
    /// A replica: applies commands, keeps their history, takes over snapshots.
    private struct Replica {
        var bench = Bench()
        let journal: CheckpointJournal
        let companion: CheckpointCompanion

        init() {
            journal = bench.machine.checkpoints
            companion = CheckpointCompanion(group: .underTest, journal: journal)
        }

        func question(for state: [UInt8]) throws -> [UInt8]? {
            try companion.question(for: state, formatVersion: WorkflowStateMachine.formatVersion)
        }

        func history(_ id: String, _ name: String) throws -> [CheckpointRecord] {
            let run = try #require(bench.machine.run(id))
            let owner = CheckpointRun(group: .underTest, run: RunKey("default", id), runID: run.runID)
            return try journal.withStore { store throws(LogError) in
                try store.history(
                    of: CheckpointKey(run: owner, name: ByteText(name)), from: 0, limit: .max, bytesMax: .max)
            }
        }
    }

    /// - Parameter bytes: the size of each value.
    private func fill(_ replica: inout Replica, keys: Int, records: Int, bytes: Int = 3) throws {
        try replica.bench.apply([Bench.register(1)])
        for id in ["a", "b"] {
            try replica.bench.apply([Bench.start(id, run: id == "a" ? 1 : 2)])
            let address = Bench.address(id, run: id == "a" ? 1 : 2)
            for number in 0..<records {
                for key in 0..<keys {
                    let value = Array(repeating: UInt8(truncatingIfNeeded: number), count: bytes)
                    let answer = try replica.bench.apply(
                        [.setCheckpoint(address, StepKey("k\(key)", UInt64(number)), value: value)], epoch: 1)
                    #expect(answer.refusal == nil)
                }
            }
        }
        replica.bench.machine.didApplyBatch()
    }

    @Test(
        "RM-20: a member without any of it asks until it has all, in answers of bounded size",
        arguments: [(3, 100, 3), (1, 12, 300 << 10), (400, 2, 10), (2, 3, 2 << 20)])
    func complete(keys: Int, records: Int, bytes: Int) throws {
        var source = Replica()
        try fill(&source, keys: keys, records: records, bytes: bytes)
        let state = source.bench.machine.snapshotView().serialize()
        let target = Replica()
        var answers = 0
        while let question = try target.question(for: state) {
            let answer = try source.companion.answer(to: question)
            #expect(answer.count <= (1 << 20) + bytes + 64 * keys * 2 * records)
            // An answer that is lost is asked for again.
            if answers % 3 == 1 { #expect(try target.question(for: state) == question) }
            try target.companion.take(answer)
            answers += 1
            try #require(answers < 1_000)
        }
        try target.bench.machine.restore(state, formatVersion: WorkflowStateMachine.formatVersion)
        for id in ["a", "b"] {
            for key in 0..<keys {
                #expect(try target.history(id, "k\(key)") == source.history(id, "k\(key)"))
                #expect(try target.history(id, "k\(key)").count == records)
            }
        }
        #expect(state.count < 4096 + keys * 2 * (bytes + 64), "the history is in the snapshot")
    }

    @Test("a member that has a part asks for the rest only, also after it was interrupted")
    func rest() throws {
        var source = Replica()
        try fill(&source, keys: 1, records: 50)
        var target = Replica()
        try fill(&target, keys: 1, records: 30)
        let state = source.bench.machine.snapshotView().serialize()
        let question = try #require(try target.question(for: state))
        let answer = try source.companion.answer(to: question)
        #expect(answer.count < 2 * 25 * 80, "\(answer.count) bytes for 2 x 20 records")
        try target.companion.take(answer)
        // After a restart nothing is remembered, and found again.
        let restarted = CheckpointCompanion(group: .underTest, journal: target.journal)
        #expect(try restarted.question(for: state, formatVersion: WorkflowStateMachine.formatVersion) == nil)
    }

    @Test("records that the source does not have any more end the question for them")
    func gone() throws {
        var source = Replica()
        try fill(&source, keys: 2, records: 5)
        let state = source.bench.machine.snapshotView().serialize()
        let gone = CheckpointRun(group: .underTest, run: RunKey("default", "a"), runID: RunID(high: 7, low: 1))
        let pruned = CheckpointKey(
            run: CheckpointRun(group: .underTest, run: RunKey("default", "b"), runID: RunID(high: 7, low: 2)),
            name: "k0")
        source.journal.append([.remove(gone), .prune(pruned, before: 3)])
        let target = Replica()
        let question = try #require(try target.question(for: state))
        try target.companion.take(try source.companion.answer(to: question))
        #expect(try target.question(for: state) == nil)
        try target.bench.machine.restore(state, formatVersion: WorkflowStateMachine.formatVersion)
        #expect(try target.history("a", "k0").isEmpty)
        #expect(try target.history("b", "k0").map(\.sequence) == [3, 4])
        #expect(try target.history("b", "k1").count == 5)
    }

    @Test("a checkpoint that would leave a gap is refused, and one that is recorded again changes nothing")
    func order() throws {
        var replica = Replica()
        try fill(&replica, keys: 1, records: 2)
        func set(_ occurrence: UInt64) throws -> WorkflowAnswer {
            try replica.bench.apply(
                [.setCheckpoint(Bench.address("a"), StepKey("k0", occurrence), value: [9])], epoch: 1)
        }
        #expect(try set(3).refusal == .checkpointOutOfOrder)
        #expect(try set(1).result?.wasDone == true)
        #expect(try set(2).result?.wasDone == false)
        replica.bench.machine.didApplyBatch()
        #expect(try replica.history("a", "k0").map(\.value) == [[0, 0, 0], [1, 1, 1], [9]])
    }
}
