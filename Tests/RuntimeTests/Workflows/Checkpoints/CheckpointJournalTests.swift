import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

/// A checkpoint store that is full, or fails.
@Suite struct CheckpointJournalTests {
    /// Fails as it is told to.
    private final class FaultyStore: CheckpointStore {
        let fault = Lock<LogError?>(nil)
        let attempts = Lock(0)
        private let kept = MemoryCheckpointStore()

        func apply(_ changes: [CheckpointChange]) throws(LogError) {
            attempts.withLock { $0 += 1 }
            if let error = fault.withLock({ $0 }) { throw error }
            kept.apply(changes)
        }
        func latest(of key: CheckpointKey) -> CheckpointRecord? { kept.latest(of: key) }
        func history(of key: CheckpointKey, from start: UInt64, limit: Int, bytesMax: Int) -> [CheckpointRecord] {
            kept.history(of: key, from: start, limit: limit, bytesMax: bytesMax)
        }
        func sync() throws(LogError) {}
        func close() {}
    }

    private let store = FaultyStore()
    private let lines = Lock<[String]>([])
    private let key = CheckpointKey(
        run: CheckpointRun(group: .underTest, run: RunKey("default", "a"), runID: RunID(high: 1, low: 2)),
        name: ByteText("progress"))

    private var journal: CheckpointJournal {
        let (store, lines) = (store, lines)
        let logger = FlotillaLogger { _, message, _ in lines.withLock { $0.append(message) } }
        return CheckpointJournal(worker: CallerWorker(), loop: CallerLoop(), logger: logger) { store }
    }

    private func change(_ sequence: UInt64, bytes: Int = 10) -> CheckpointChange {
        let value = [UInt8](repeating: 7, count: bytes)
        return .append(key, CheckpointRecord(sequence: sequence, value: value, recordedAt: 1))
    }

    private var sequences: [UInt64] {
        store.history(of: key, from: 0, limit: .max, bytesMax: .max).map(\.sequence)
    }

    @Test("a full disk keeps checkpoints waiting, in order; they are written once there is room, and it is said once")
    func diskFull() throws {
        let journal = journal
        journal.append([change(0)])
        #expect(sequences == [0] && journal.warning == nil)
        store.fault.withLock { $0 = LogError(.diskFull, "make room") }
        for sequence: UInt64 in 1..<20 { journal.append([change(sequence)]) }
        #expect(journal.warning?.contains("make room") == true)
        #expect(throws: LogError.self) { try journal.sync() }
        // Not with every command.
        #expect(store.attempts.withLock { $0 } < 5)
        journal.retry(now: MonotonicTime(nanoseconds: 10))
        let attempts = store.attempts.withLock { $0 }
        journal.retry(now: MonotonicTime(nanoseconds: 2_000_000_000))
        #expect(store.attempts.withLock { $0 } == attempts + 1)
        journal.retry(now: MonotonicTime(nanoseconds: 2_500_000_000))
        #expect(store.attempts.withLock { $0 } == attempts + 1, "not due yet")
        store.fault.withLock { $0 = nil }
        #expect(sequences == [0])
        journal.retry(now: MonotonicTime(nanoseconds: 4_000_000_000))
        #expect(sequences == Array(0..<20) && journal.warning == nil)
        journal.append([change(20)])
        try journal.sync()
        #expect(sequences == Array(0...20))
        #expect(
            lines.withLock { $0 } == [
                "checkpoints wait for room on the disk", "the disk of the history of checkpoints has room again",
            ])
    }

    @Test("while too much waits nothing more is applied, so that memory is bounded")
    func bounded() throws {
        let journal = journal
        let machine = WorkflowStateMachine(group: .underTest, checkpoints: journal)
        store.fault.withLock { $0 = LogError(.diskFull, "make room") }
        var sequence: UInt64 = 0
        while machine.isReadyToApply {
            try #require(sequence < 20)
            journal.append([change(sequence, bytes: 1 << 20)])
            sequence += 1
        }
        #expect(sequence == 8)
        store.fault.withLock { $0 = nil }
        journal.retry(now: MonotonicTime(nanoseconds: 2_000_000_000))
        #expect(machine.isReadyToApply && sequences == Array(0..<sequence))
    }

    @Test("a store that failed is said once, takes nothing more, and holds nothing in memory")
    func failed() throws {
        let journal = journal
        store.fault.withLock { $0 = LogError(.ioFailed, "broken") }
        for sequence: UInt64 in 0..<20 { journal.append([change(sequence, bytes: 1 << 20)]) }
        #expect(lines.withLock { $0.count } == 1)
        #expect(store.attempts.withLock { $0 } == 1)
        #expect(journal.hasRoom && journal.warning?.contains("restarted") == true)
        store.fault.withLock { $0 = nil }
        journal.retry(now: MonotonicTime(nanoseconds: 2_000_000_000))
        let error = try #require(throws: LogError.self) { try journal.sync() }
        #expect(error.code == .ioFailed && sequences.isEmpty)
    }

    @Test("what RocksDB says of a full disk is known for it")
    func rocksDBErrors() {
        #expect(RocksDBError(saying: "IO error: No space left on device: While appending to file: x").code == .diskFull)
        #expect(RocksDBError(saying: "IO error: While open a file: x: Permission denied").code == .ioFailed)
        #expect(RocksDBError(saying: "Corruption: block checksum mismatch").code == .damaged)
    }
}
