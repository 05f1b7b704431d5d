import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import FlotillaActors

/// A state machine that remembers, in order, every number that was proposed.
final class Journal: StateMachine {
    static let formatVersion: UInt32 = 1
    private(set) var numbers: [UInt64] = []
    /// Makes a snapshot large without a log that is.
    private var ballast = 0
    func grow(_ bytes: Int) { ballast = bytes }

    struct View: SnapshotView {
        var numbers: [UInt64]
        var ballast = 0
        func serialize() -> [UInt8] {
            var writer = ProtobufWriter()
            writer.packed(1, numbers)
            if ballast > 0 { writer.bytes(2, Array(repeating: 7, count: ballast)) }
            return writer.bytes
        }
    }

    func apply(_ command: Command, at index: LogIndex, time: Int64) throws(ApplyError) -> Answer {
        for operation in command.operations {
            guard operation.type == 1 else { throw ApplyError(.unknownCommand, "journal operation \(operation.type)") }
        }
        for operation in command.operations {
            numbers.append(operation.body.reduce(0) { $0 << 8 | UInt64($1) })
        }
        return Answer(body: withUnsafeBytes(of: UInt64(numbers.count).bigEndian) { Array($0) })
    }

    func didApplyBatch() {}
    func snapshotView() -> any SnapshotView { View(numbers: numbers, ballast: ballast) }

    func restore(_ bytes: [UInt8], formatVersion: UInt32) throws(ApplyError) {
        do throws(WireError) {
            var reader = ProtobufReader(bytes)
            numbers = []
            while let field = try reader.next() {
                if field == 1 { try reader.packed(into: &numbers) } else { ballast = try reader.bytes().count }
            }
        } catch {
            throw ApplyError(.unknownFormat, error.description)
        }
    }

    static func operation(_ number: UInt64) -> Operation {
        Operation(type: 1, version: 1, body: withUnsafeBytes(of: number.bigEndian) { Array($0) })
    }
}

/// Nodes of one simulated world that keep one journal group. The first founds it; the others are wanted as members.
/// Touched on the simulation's thread only.
final class SimulatedFleet: @unchecked Sendable {
    static let group = GroupID(7)
    let world: SimulationWorld
    let nodes: [NodeID]
    /// What the first node founds; `group` alone unless a test asks for more.
    var groups = [SimulatedFleet.group]
    var settings = GroupSettings()
    private(set) var cores: [NodeID: NodeCore] = [:]
    private var stores: [NodeID: DiskLogStore] = [:]

    init(_ world: SimulationWorld, nodes count: Int) {
        self.world = world
        nodes = (1...UInt64(count)).map(NodeID.init)
    }

    func address(_ node: NodeID) -> String { "sim-\(node.rawValue):7000" }

    func startAll() async throws {
        for node in nodes { try await start(node) }
    }

    /// Starts a node on the disk that its previous life left; the first node founds the group.
    func start(_ node: NodeID) async throws {
        let process = world.start(node)
        let loop = process.loop
        let logWorker = process.makeWorker()
        let store = DiskLogStore(directory: "/data", fileSystem: process.fileSystem)
        var recovered = try await call(logWorker, loop) { try store.open() }
        let snapshots = try await call(logWorker, loop) { [recovered] in
            try recovered.groups.reduce(into: [GroupID: [UInt8]]()) { loaded, group in
                guard let snapshot = group.snapshot else { return }
                loaded[group.replica.group] = try store.loadSnapshot(
                    of: group.replica.group, incarnation: group.replica.incarnation, at: snapshot.index,
                    term: snapshot.term)
            }
        }
        let identity =
            recovered.identity ?? NodeIdentity(cluster: 1, node: node, instance: node.rawValue + 100)
        if recovered.identity == nil {
            var batch = LogBatch()
            if node == nodes[0] {
                for group in groups {
                    let replica = ReplicaIdentity(
                        group: group, incarnation: 1, kind: .benchmark, replica: ReplicaID(1))
                    let entry = Entry(
                        index: LogIndex(1), term: Term(1), kind: .configuration,
                        payload: ConfigurationChange([.addVoter(node)]).encodedPayload())
                    let state = HardState(term: Term(1), commit: LogIndex(1))
                    batch.writes.append(
                        .init(group: group, incarnation: 1, created: replica, hardState: state, entries: [entry]))
                    recovered.groups.append(.init(replica: replica, hardState: state, entries: [entry]))
                }
            }
            let first = batch
            try await call(logWorker, loop) {
                try store.persistIdentity(identity)
                if !first.isEmpty { try store.write(first) }
            }
        }
        var registry = StateMachineRegistry()
        registry.register(.benchmark) { _ in Journal() }
        let core = NodeCore(
            .init(
                identity: identity, boot: recovered.bootCounter, address: address(node), loop: loop,
                network: process.network, store: store, logWorker: logWorker, bulkWorker: process.makeWorker(),
                settings: settings, registry: registry, featureLevel: FeatureLevel(), capabilities: [],
                seed: world.nextSeed(), logger: .silent))
        _ = try await core.start(listen: address(node))
        try await core.host(recovered, snapshots: snapshots)
        core.setMembers(
            Dictionary(uniqueKeysWithValues: nodes.map { ($0, (instance: $0.rawValue + 100, address: address($0))) }))
        cores[node] = core
        stores[node] = store
    }

    /// Ends a node the hard way.
    func crash(_ node: NodeID, _ end: SimulatedProcess.End) async {
        world.process(of: node)?.end(end)
        if let core = cores.removeValue(forKey: node) { await core.stop() }
        stores[node] = nil
    }

    /// Stops every node that runs, as a clean shutdown does.
    func stopAll() async {
        for node in nodes {
            guard let core = cores.removeValue(forKey: node) else { continue }
            await core.stop()
            world.process(of: node)?.end(.killed)
        }
    }

    func group(_ node: NodeID) async throws -> RaftGroup { try await cores[node]!.hosted.group(Self.group) }

    func numbers(_ node: NodeID) async throws -> [UInt64] {
        try await group(node).withState { ($0 as? Journal)?.numbers ?? [] }
    }

    /// Waits, in virtual time, until `condition` holds on the reports of all running nodes.
    func wait(
        _ what: String, limit: Duration = .seconds(60), _ condition: ([NodeID: GroupReport]) -> Bool
    ) async throws {
        let deadline = world.now.advanced(by: limit)
        while true {
            var reports: [NodeID: GroupReport] = [:]
            for (node, core) in cores.sorted(by: { $0.key < $1.key }) {
                guard let group = core.hosted[Self.group] else { continue }
                reports[node] = try await group.report()
            }
            if condition(reports) { return }
            guard world.now < deadline else {
                throw FleetError(message: "seed \(world.seed): no \(what) within \(limit): \(reports.values)")
            }
            try await world.sleep(for: .milliseconds(50))
        }
    }

    func waitForVoters(_ count: Int) async throws {
        try await wait("group of \(count) voters") { reports in
            reports.count == cores.count
                && reports.values.allSatisfy { $0.voters.count == count && $0.leader != nil }
        }
    }

    func isConnected(_ node: NodeID, to other: NodeID) async -> Bool {
        guard let core = cores[node] else { return false }
        return await core.onLoop { core.transport.assumeIsolated { $0.isConnected(to: other) } }
    }

    func transportMetrics(_ node: NodeID) async -> TransportMetrics {
        guard let core = cores[node] else { return TransportMetrics() }
        return await core.onLoop { core.transport.assumeIsolated { $0.metrics } }
    }

    private func call<Result: Sendable>(
        _ worker: any Worker, _ loop: any Loop, _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        let outcome = Lock<Swift.Result<Result, any Error>?>(nil)
        return try await withCheckedThrowingContinuation { continuation in
            worker.submit(
                {
                    let result = Swift.Result(catching: body)
                    outcome.withLock { $0 = result }
                },
                then: { continuation.resume(with: outcome.withLock { $0 }!) }, on: loop)
        }
    }
}

struct FleetError: Error, CustomStringConvertible {
    var message: String
    var description: String { message }
}
