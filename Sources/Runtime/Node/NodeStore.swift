import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// A node's log store, opened, with what it held.
struct NodeStore: Sendable {
    let store: any LogStore
    let recovered: RecoveredLog
    let snapshots: [GroupID: [UInt8]]
    /// Tells one boot of this node from the next, and rises.
    let boot: UInt64

    static func open(_ configuration: NodeConfiguration, _ environment: NodeEnvironment) async throws -> NodeStore {
        let store: any LogStore
        if let directory = configuration.dataDirectory {
            store = DiskLogStore(
                directory: directory, fileSystem: environment.fileSystem,
                segmentSizeLimit: environment.logSegmentSizeLimit)
        } else {
            store = MemoryLogStore()
            configuration.logger.warning("this node keeps its data in memory: what it holds is lost when it ends")
        }
        do {
            return try await environment.logWorker.call(on: environment.loop) {
                let recovered = try store.open()
                var snapshots: [GroupID: [UInt8]] = [:]
                for group in recovered.groups {
                    guard let snapshot = group.snapshot else { continue }
                    snapshots[group.replica.group] = try store.loadSnapshot(
                        of: group.replica.group, incarnation: group.replica.incarnation, at: snapshot.index,
                        term: snapshot.term)
                }
                return NodeStore(
                    store: store, recovered: recovered, snapshots: snapshots, boot: recovered.bootCounter)
            }
        } catch let error as LogError {
            throw NodeError(.dataUnusable, error.description)
        }
    }

    /// Records who this node is; for a founder, also the first entry of each group.
    func found(_ identity: NodeIdentity, groups: [ReplicaIdentity], _ environment: NodeEnvironment) async throws
        -> RecoveredLog
    {
        let change = ConfigurationChange([.addVoter(identity.node)])
        var batch = LogBatch()
        var recovered = recovered
        // What a founding that was interrupted has left is written again as it stands.
        recovered.groups = []
        for group in groups {
            let entry = Entry(
                index: LogIndex(1), term: Term(1), kind: .configuration, payload: change.encodedPayload())
            let state = HardState(term: Term(1), vote: nil, commit: LogIndex(1))
            batch.writes.append(
                LogBatch.Write(
                    group: group.group, incarnation: group.incarnation, created: group, hardState: state,
                    entries: [entry]))
            recovered.groups.append(RecoveredLog.Group(replica: group, hardState: state, entries: [entry]))
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
    }
}
