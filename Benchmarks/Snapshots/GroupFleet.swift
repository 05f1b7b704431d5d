import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// Nodes in this process, each with its loop, workers, disk directory and real connections, that keep one group.
final class GroupFleet {
    static let group = GroupID(1)

    private struct Member {
        var core: NodeCore
        var loop: EventLoop
        var lag: LoopLag
        var workers: [ThreadWorker]
        var store: DiskLogStore
        var address: String
    }

    private let directory: String
    private let settings: GroupSettings
    private let state: Ballast.View
    private var members: [NodeID: Member] = [:]
    /// What holds up those who read chunks.
    let gate = Gate()
    private static let chunkReadMin = 16 << 10

    /// - Parameter state: what every replica starts with.
    init(directory: String, settings: GroupSettings, state: [UInt8]) {
        self.directory = directory
        self.settings = settings
        self.state = Ballast.decode(state, formatVersion: Ballast.formatVersion)
    }

    func group(_ node: UInt64) async throws -> RaftGroup {
        guard let member = members[NodeID(node)] else { throw BenchError("node \(node) was not started") }
        return try await member.core.hosted.group(Self.group)
    }

    /// Nil before a leader has made a replica there.
    func report(_ node: UInt64) async throws -> GroupReport? {
        try await members[NodeID(node)]?.core.hosted[Self.group]?.report()
    }

    /// The first node founds the group. All that run are its members then.
    func start(_ numbers: ClosedRange<UInt64>) async throws {
        for number in numbers { try await start(NodeID(number)) }
        let known = members.mapValues { (instance: UInt64(1), address: $0.address) }
        for member in members.values {
            member.core.setMembers(known)
            member.core.setDesired([Self.group: DesiredMembers(Array(known.keys))])
        }
    }

    private func start(_ node: NodeID) async throws {
        let loop = EventLoop(name: "bench-\(node.rawValue)")
        try loop.start()
        let workers = [try ThreadWorker(name: "log-\(node.rawValue)"), try ThreadWorker(name: "bulk-\(node.rawValue)")]
        let path = "\(directory)/\(node.rawValue)"
        let store = DiskLogStore(directory: path, fileSystem: PosixFileSystem())
        var recovered = try store.open()
        try store.persistIdentity(NodeIdentity(cluster: 1, node: node, instance: 1))
        if members.isEmpty {
            let replica = ReplicaIdentity(
                group: Self.group, incarnation: 1, kind: .benchmark, replica: ReplicaID(1))
            let entry = Entry(
                index: LogIndex(1), term: Term(1), kind: .configuration,
                payload: ConfigurationChange([.addVoter(node)]).encodedPayload())
            let founding = RecoveredLog.Group(
                replica: replica, hardState: HardState(term: Term(1), vote: nil, commit: LogIndex(1)),
                outline: LogOutline(entries: [entry]))
            var batch = LogBatch()
            batch.writes.append(
                .init(
                    group: Self.group, incarnation: 1, created: replica, hardState: founding.hardState,
                    entries: [entry]))
            try store.write(batch)
            recovered.groups = [founding]
        }
        let files = CountingFileSystem { [gate] count in if count >= Self.chunkReadMin { gate.pass() } }
        let snapshots = SnapshotStore(
            directory: path + "/snapshots", files: files,
            executor: WorkerExecutor(workers[1], loop: loop), options: settings.snapshotFiles)
        let states = try await snapshots.open(for: recovered)
        var registry = StateMachineRegistry()
        registry.register(.benchmark) { [state] _ in Ballast(state) }
        let core = NodeCore(
            NodeCore.Parts(
                identity: NodeIdentity(cluster: 1, node: node, instance: 1), boot: 1, address: "127.0.0.1:0",
                loop: loop, network: TCPNetwork(), store: store, logWorker: workers[0],
                readWorker: workers[1], snapshots: snapshots,
                settings: settings, registry: registry, featureLevel: FeatureLevel(), capabilities: [],
                seed: node.rawValue, logger: .silent))
        let address = try await core.start(listen: "127.0.0.1:0")
        try await core.host(recovered, snapshots: states)
        members[node] = Member(
            core: core, loop: loop, lag: LoopLag(of: loop), workers: workers, store: store, address: address)
    }

    /// The longest that one of these loops was late since the last call, in milliseconds.
    func takeLongestLag(_ numbers: ClosedRange<UInt64>) -> Double {
        numbers.compactMap { members[NodeID($0)]?.lag.takeLongest().milliseconds }.max() ?? 0
    }

    func stop() async {
        gate.open()
        for (_, member) in members.sorted(by: { $0.key < $1.key }) {
            member.lag.stop()
            await member.core.stop()
            for worker in member.workers { await worker.shutdown() }
            try? member.store.close()
            await member.loop.shutdown()
        }
        members = [:]
    }

    /// Waits until `condition` holds of the nodes' reports.
    func wait(_ what: String, seconds: Int = 120, _ condition: () async throws -> Bool) async throws {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(seconds)
        while try await !condition() {
            guard clock.now < deadline else { throw BenchError("no \(what) within \(seconds) s") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}
