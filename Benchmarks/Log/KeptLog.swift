import FlotillaActors
import FlotillaIO
import FlotillaRaft
import Glibc

/// A replica of one group, alone, whose log is kept for members that lag: what it takes of memory while it grows, and
/// when it is open again.
struct KeptLog {
    /// Resident memory of this process, in bytes.
    struct Memory {
        var before = 0
        var written = 0
        var reopened = 0
    }

    private static let entryBytes = 4 << 10
    private static let entriesPerWrite = 256
    private static let group = GroupID(1)

    private let path: String
    private let bytes: Int

    /// - Parameter bytes: of payload.
    init(path: String, bytes: Int) {
        self.path = path
        self.bytes = bytes
    }

    private var founding: SnapshotMetadata {
        SnapshotMetadata(
            index: LogIndex(1), term: Term(1),
            configuration: Configuration(
                members: [.init(replica: ReplicaID(1), node: NodeID(1))], voters: [ReplicaID(1)], outgoingVoters: [],
                learners: [], nextLearners: [], leavesAutomatically: false, nextReplica: ReplicaID(2)))
    }

    /// - Returns: the memory, how long the log took to open, and to be applied from its file after that.
    func measure(_ progress: (Int) -> Void) throws -> (memory: Memory, opening: Duration, applying: Duration) {
        var memory = Memory()
        memory.before = Self.residentBytes()
        try write(&memory, progress)
        let store = DiskLogStore(directory: path, fileSystem: PosixFileSystem())
        let start = ContinuousClock.now
        let recovered = try store.open()
        let opened = ContinuousClock.now
        guard let group = recovered.groups.first else { throw BenchError("the group is gone") }
        var raft = Raft(
            ReplicaID(1), randomSeed: 1, RaftOptions.Shared(RaftOptions()),
            restored: RestoredReplica(
                hardState: group.hardState, snapshot: group.snapshot, outline: group.outline,
                recoveringUntil: group.recoveringUntil))
        try settle(&raft, store)
        guard raft.appliedIndex == group.hardState.commit, group.outline.count * Self.entryBytes >= bytes else {
            throw BenchError("\(raft.appliedIndex) of \(group.outline.last) entries are applied again")
        }
        let applied = ContinuousClock.now
        memory.reopened = Self.residentBytes()
        try store.close()
        return (memory, opened - start, applied - opened)
    }

    private func write(_ memory: inout Memory, _ progress: (Int) -> Void) throws {
        let store = DiskLogStore(directory: path, fileSystem: PosixFileSystem())
        _ = try store.open()
        try store.persistIdentity(NodeIdentity(cluster: 1, node: NodeID(1), instance: 1))
        let identity = ReplicaIdentity(group: Self.group, incarnation: 1, kind: .benchmark, replica: ReplicaID(1))
        let state = HardState(term: Term(1), vote: nil, commit: LogIndex(1))
        var batch = LogBatch()
        batch.writes = [
            .init(group: Self.group, incarnation: 1, created: identity, hardState: state, snapshot: founding)
        ]
        try store.write(batch)
        var raft = Raft(
            ReplicaID(1), randomSeed: 1, RaftOptions.Shared(RaftOptions()),
            restored: RestoredReplica(hardState: state, snapshot: founding))
        raft.campaign()
        try settle(&raft, store)
        var written = 0
        while written < bytes {
            let payloads = (0..<Self.entriesPerWrite).map { _ in [UInt8](repeating: 0x5A, count: Self.entryBytes) }
            guard case .appended = raft.propose(payloads) else { throw BenchError("a lone leader refuses a proposal") }
            try settle(&raft, store)
            written += Self.entriesPerWrite * Self.entryBytes
            progress(written)
        }
        memory.written = Self.residentBytes()
        try store.close()
    }

    /// Does what the core asks for, until it asks for nothing.
    private func settle(_ raft: inout Raft, _ store: DiskLogStore) throws {
        while raft.hasEffects {
            let effects = raft.takeEffects()
            if let persist = effects.persist {
                var batch = LogBatch()
                batch.writes = [
                    .init(group: Self.group, incarnation: 1, hardState: persist.hardState, entries: persist.entries)
                ]
                try store.write(batch)
                raft.persisted(persist.receipt)
            }
            if let last = effects.committed.last { raft.applied(through: last.index) }
            for read in effects.reads {
                let page = try store.read(Self.group, incarnation: 1, from: read.first, bytesMax: read.bytesMax)
                guard raft.readCompleted(read, entries: page) else {
                    throw BenchError("entry \(read.first) is not in the log")
                }
            }
        }
    }

    private static func residentBytes() -> Int {
        (ChildProcess.residentKilobytes(of: getpid()) ?? 0) << 10
    }
}
