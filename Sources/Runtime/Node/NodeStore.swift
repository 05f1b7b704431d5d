import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// A node's log store, opened, with what it held.
struct NodeStore: Sendable {
    let store: any LogStore
    let snapshotStore: SnapshotStore
    let checkpoints: CheckpointJournal
    let recovered: RecoveredLog
    /// The state that each group starts from.
    let snapshots: [GroupID: [UInt8]]
    /// Tells one boot of this node from the next, and rises.
    let boot: UInt64
    /// Where other nodes may be. Only hints: whoever answers must say the right hello. Without them a cluster that was
    /// stopped as a whole would not find itself again.
    let addressHints: [NodeID: String]

    static func open(_ configuration: NodeConfiguration, _ environment: NodeEnvironment) async throws -> NodeStore {
        let store: any LogStore
        let place: (directory: String, files: any FileSystem)
        if let directory = configuration.dataDirectory {
            let found = DataDirectory.format(of: directory, files: environment.fileSystem)
            let format = configuration.storage ?? found ?? .log
            guard format != .rocksDB || environment.fileSystem is PosixFileSystem else {
                throw NodeError(
                    .invalidConfiguration, "RocksDB cannot be simulated: it reaches the machine's own disk by itself")
            }
            store = format.store(
                in: directory, files: environment.fileSystem, segmentSizeLimit: environment.logSegmentSizeLimit,
                payloadFileLimit: configuration.payloadFileLimit)
            place = (DataDirectory.snapshotDirectory(of: directory), environment.fileSystem)
        } else {
            store = MemoryLogStore()
            place = ("snapshots", MemoryFileSystem())
            configuration.logger.warning("this node keeps its data in memory: what it holds is lost when it ends")
        }
        let snapshotStore = SnapshotStore(
            directory: place.directory, files: place.files,
            executor: WorkerExecutor(environment.bulkWorker, loop: environment.loop),
            options: configuration.groups.snapshotFiles)
        do {
            let (recovered, hints) = try await environment.logWorker.call(on: environment.loop) {
                let recovered = try store.open()
                return (recovered, try addressHints(in: recovered, store))
            }
            let snapshots = try await snapshotStore.open(for: recovered)
            return NodeStore(
                store: store, snapshotStore: snapshotStore, checkpoints: checkpoints(configuration, environment),
                recovered: recovered, snapshots: snapshots,
                boot: recovered.bootCounter, addressHints: hints)
        } catch let error as LogError {
            throw NodeError(.dataUnusable, error.description)
        }
    }

    /// Where the management log, committed or not, says that nodes are.
    private static func addressHints(
        in recovered: RecoveredLog, _ store: any LogStore
    ) throws(LogError) -> [NodeID: String] {
        var hints: [NodeID: String] = [:]
        for group in recovered.groups where group.replica.kind == .management {
            var next = group.outline.base.index.next
            while next <= group.outline.last {
                let page = try store.read(
                    group.replica.group, incarnation: group.replica.incarnation, from: next, bytesMax: 1 << 20)
                guard let last = page.last else { break }
                next = last.index.next
                for entry in page where entry.kind == .command {
                    for node in registeredNodes(in: entry) { hints[node.node] = node.address }
                }
            }
        }
        return hints
    }

    private static func registeredNodes(in entry: Entry) -> [ManagementStateMachine.Node] {
        guard let command = try? Command(decoding: entry.payload) else { return [] }
        return command.operations.compactMap { operation in
            guard case .registerNode(let node)? = try? ManagementOperation(operation) else { return nil }
            return node
        }
    }

    private static func checkpoints(
        _ configuration: NodeConfiguration, _ environment: NodeEnvironment
    ) -> CheckpointJournal {
        let (directory, files) = (configuration.dataDirectory, environment.fileSystem)
        return CheckpointJournal(
            worker: environment.bulkWorker, loop: environment.loop, logger: configuration.logger
        ) { () throws(LogError) -> any CheckpointStore in
            guard let directory else { return MemoryCheckpointStore() }
            // RocksDB reaches the machine's own disk by itself, which a simulated node must not.
            guard files is PosixFileSystem else {
                return try MemoryCheckpointStore(directory: directory, files: files)
            }
            return try RocksDBCheckpointStore(directory: directory)
        }
    }

    /// Records who this node is; for a founder, also the first entry of each group.
    func found(_ identity: NodeIdentity, groups: [ReplicaIdentity], _ environment: NodeEnvironment) async throws
        -> RecoveredLog
    {
        var batch = LogBatch()
        var recovered = recovered
        // What a founding that was interrupted has left is written again as it stands.
        recovered.groups = []
        for group in groups {
            let foundation = GroupFoundation(
                group: group.group, incarnation: group.incarnation, kind: group.kind, voters: [identity.node])
            batch.writes.append(LogBatch.Write(founding: foundation, replica: group))
            recovered.groups.append(foundation.log(of: group))
        }
        // The groups first: a node that has an identity has its groups as well.
        let first = batch
        try await environment.logWorker.call(on: environment.loop) { try store.write(first) }
        try await persist(identity, environment)
        recovered.identity = identity
        return recovered
    }

    func persist(_ identity: NodeIdentity, _ environment: NodeEnvironment) async throws {
        try await environment.logWorker.call(on: environment.loop) { try store.persistIdentity(identity) }
    }

    func close(_ environment: NodeEnvironment) async {
        // A store that failed cannot leave the marker of a clean end; the next start verifies it.
        _ = try? await environment.logWorker.call(on: environment.loop) { try store.close() }
        try? await environment.bulkWorker.call(on: environment.loop) { checkpoints.close() }
    }
}
