import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// A node with groups, in memory and without a network. Messages are put on its loop as if they had just been read from a
/// peer's frame: what is left is finding the group, its step, and the scheduler's pass.
final class RoutingNode: Sendable {
    private static let node = NodeID(1)
    private static let peer = NodeID(2)

    private let core: NodeCore
    private let loop: EventLoop
    private let workers: [ThreadWorker]
    private let store: MemoryLogStore
    private let scratch: Scratch
    private let groups: [GroupFoundation]

    init(groups count: Int) async throws {
        groups = (0..<UInt64(count)).map { number in
            GroupFoundation(
                group: GroupID(100 + number), incarnation: 1, kind: .benchmark,
                voters: [Self.node, Self.peer, NodeID(3)])
        }
        scratch = try Scratch("flotilla-routing")
        loop = EventLoop(name: "routing")
        try loop.start()
        workers = [try ThreadWorker(name: "log"), try ThreadWorker(name: "bulk")]
        store = MemoryLogStore()
        var recovered = try store.open()
        let identity = NodeIdentity(cluster: 1, node: Self.node, instance: 1)
        try store.persistIdentity(identity)
        var batch = LogBatch()
        for group in groups {
            guard let replica = group.replica(on: Self.node) else { continue }
            batch.writes.append(LogBatch.Write(founding: group, replica: replica))
            recovered.groups.append(group.log(of: replica))
        }
        try store.write(batch)
        let snapshots = SnapshotStore(
            directory: scratch.path, files: PosixFileSystem(), executor: WorkerExecutor(workers[1], loop: loop))
        var registry = StateMachineRegistry()
        registry.register(.benchmark) { _ in Ballast(Ballast.View(blocks: [])) }
        core = NodeCore(
            NodeCore.Parts(
                identity: identity, boot: 1, address: "", loop: loop, network: TCPNetwork(), store: store,
                logWorker: workers[0], readWorker: workers[1], snapshots: snapshots, settings: GroupSettings(),
                registry: registry, featureLevel: FeatureLevel(), capabilities: [], seed: 1, logger: .silent))
        // It is not started: without ticks nobody campaigns, and nothing else happens.
        try await core.host(recovered, snapshots: [:])
        for group in groups {
            while try await core.hosted.group(group.group).report().appliedIndex < LogIndex(1) {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
    }

    /// Has so many messages taken, of each group in turn, each with the pass that it asks for. They ask for nothing
    /// themselves.
    func take(_ count: Int) async {
        await withCheckedContinuation { continuation in
            loop.execute { [self] in take(0, of: count) { continuation.resume() } }
        }
    }

    private func take(_ number: Int, of count: Int, then finish: @escaping @Sendable () -> Void) {
        guard number < count else { return finish() }
        let group = groups[number % groups.count]
        let message = Message(
            from: ReplicaID(2), to: ReplicaID(1), term: Term(1), body: .heartbeatResponse(.init(readRound: 0)))
        core.receive(message, of: group.group, incarnation: group.incarnation, kind: group.kind, from: Self.peer)
        // Behind the pass, which was put there first.
        loop.execute { [self] in take(number + 1, of: count, then: finish) }
    }

    func stop() async {
        await core.stop()
        for worker in workers { await worker.shutdown() }
        try? store.close()
        await loop.shutdown()
        scratch.remove()
    }
}
