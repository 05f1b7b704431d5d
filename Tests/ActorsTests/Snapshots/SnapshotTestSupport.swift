import FlotillaIO
import FlotillaRaft

@testable import FlotillaActors

/// Runs blocking work where it is asked for.
private struct InlineWorker: Worker {
    func submit(
        _ work: @escaping @Sendable () -> Void, then completion: @escaping @Sendable () -> Void, on loop: any Loop
    ) {
        work()
        completion()
    }
    func shutdown() async {}
}

/// A clock that stands still, and nothing else of a loop.
private final class StoppedLoop: Loop {
    var now: MonotonicTime { MonotonicTime(nanoseconds: 0) }
    var wallNow: WallTime { WallTime(nanoseconds: 0) }
    func execute(_ work: @escaping @Sendable () -> Void) { work() }
    func schedule(at deadline: MonotonicTime, _ work: @escaping @Sendable () -> Void) -> TimerToken { TimerToken(0) }
    func cancel(_ timer: TimerToken) {}
    func preconditionOnLoop() {}
    func enqueue(_ job: consuming ExecutorJob) { preconditionFailure("nothing is to run here") }
}

/// A store on some files, called as if from its worker.
struct StoreUnderTest {
    static let directory = "/data/snapshots"
    let executor = WorkerExecutor(InlineWorker(), loop: StoppedLoop())
    let store: SnapshotStore

    init(_ files: any FileSystem, chunkBytes: Int = 16, isCompressed: Bool = false) {
        var options = SnapshotStore.Options()
        options.chunkBytes = chunkBytes
        options.isCompressed = isCompressed
        store = SnapshotStore(directory: Self.directory, files: files, executor: executor, options: options)
    }

    func callAsFunction<Value: Sendable>(
        _ body: @escaping @Sendable (isolated SnapshotStore) throws -> Value
    ) throws -> Value {
        let result = Lock<Result<Value, any Error>?>(nil)
        executor.run(
            { [store] in
                let outcome = Result { try store.assumeIsolated { try body($0) } }
                result.withLock { $0 = outcome }
            }, then: {}, on: StoppedLoop())
        return try result.withLock { $0! }.get()
    }
}

func sampleID(_ index: UInt64, group: UInt64 = 1, incarnation: UInt64 = 1, term: UInt64 = 1) -> SnapshotID {
    SnapshotID(group: GroupID(group), incarnation: incarnation, index: LogIndex(index), term: Term(term))
}

/// Bytes that tell where they are.
func sampleState(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) } }

/// What a log says that names these snapshots, one of each group.
func sampleLog(naming ids: [SnapshotID]) -> RecoveredLog {
    var log = RecoveredLog()
    log.groups = ids.map { id in
        RecoveredLog.Group(
            replica: sampleReplica(id.group.rawValue, incarnation: id.incarnation),
            snapshot: sampleSnapshot(id.index.rawValue, term: id.term.rawValue))
    }
    return log
}

extension SnapshotOffer {
    init(_ state: [UInt8], chunkBytes: Int = 16) {
        self.init(size: UInt64(state.count), checksum: CRC32C.checksum(state), chunkBytes: chunkBytes)
    }
}

extension ReceivedChunk {
    /// A chunk that came in one piece.
    init(_ piece: SnapshotPiece) {
        self.init(offset: piece.offset, pieces: [piece.bytes], checksum: piece.checksum)
    }
}

/// The chunks of a state as another member would send them, each in one piece.
func samplePieces(_ state: [UInt8], of id: SnapshotID, chunkBytes: Int = 16) -> [SnapshotPiece] {
    stride(from: 0, to: state.count, by: chunkBytes).map { start in
        let bytes = Array(state[start...].prefix(chunkBytes))
        return SnapshotPiece(
            offset: UInt64(start), bytes: bytes, checksum: id.checksum(ofChunk: start / chunkBytes, bytes),
            isFinal: start + chunkBytes >= state.count)
    }
}
