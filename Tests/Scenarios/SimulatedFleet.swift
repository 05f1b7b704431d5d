package import FlotillaActors
package import FlotillaIO
package import FlotillaRaft
package import FlotillaSimulation

/// Nodes of one simulated world that keep a group, or several, without the runtime above it. The first founds them; the
/// others are wanted as members. Touched on the simulation's thread only.
package final class SimulatedFleet: @unchecked Sendable {
    package static let group = GroupID(7)
    package let world: SimulationWorld
    package let nodes: [NodeID]
    /// What the first node founds; `group` alone unless a test asks for more.
    package var groups = [SimulatedFleet.group]
    package var settings = GroupSettings()
    package var observer: (any GroupObserver)?
    /// Makes the logger of a node.
    package var logger: (NodeID) -> FlotillaLogger = { _ in .silent }
    package private(set) var cores: [NodeID: NodeCore] = [:]
    private let makeMachine: @Sendable (NodeID) -> sending any StateMachine

    package init(
        _ world: SimulationWorld, nodes count: Int,
        machine makeMachine: @escaping @Sendable (NodeID) -> sending any StateMachine
    ) {
        self.world = world
        nodes = (1...UInt64(count)).map(NodeID.init)
        self.makeMachine = makeMachine
    }

    /// Small, so that scenarios see segments change and come into use again.
    private static let logSegmentSizeLimit: UInt64 = 256 << 10

    /// Every other node keeps nearly all commands in files of their own.
    private static func payloadFileLimit(of node: NodeID) -> Int {
        node.rawValue.isMultiple(of: 2) ? 32 : DiskLogStore.defaultPayloadFileLimit
    }

    package func address(_ node: NodeID) -> String { "sim-\(node.rawValue):7000" }

    package func startAll() async throws {
        for node in nodes { try await start(node) }
    }

    /// Starts a node on the disk that its previous life left; the first node founds the groups.
    package func start(_ node: NodeID) async throws {
        let process = world.start(node)
        do {
            try await start(node, in: process)
        } catch {
            process.end(.killed)
            throw error
        }
    }

    private func start(_ node: NodeID, in process: SimulatedProcess) async throws {
        let loop = process.loop
        let logWorker = process.makeWorker()
        let store = DiskLogStore(
            directory: "/data", fileSystem: process.fileSystem, segmentSizeLimit: Self.logSegmentSizeLimit,
            payloadFileLimit: Self.payloadFileLimit(of: node))
        var recovered = try await call(logWorker, loop) { try store.open() }
        let bulkWorker = process.makeWorker()
        let snapshotStore = SnapshotStore(
            directory: "/data/snapshots", files: process.fileSystem,
            executor: WorkerExecutor(bulkWorker, loop: loop), options: settings.snapshotFiles)
        let snapshots = try await snapshotStore.open(for: recovered)
        let identity =
            recovered.identity ?? NodeIdentity(cluster: 1, node: node, instance: node.rawValue + 100)
        if recovered.identity == nil {
            let founding = node == nodes[0] ? found(node, in: &recovered) : LogBatch()
            try await call(logWorker, loop) {
                try store.persistIdentity(identity)
                if !founding.isEmpty { try store.write(founding) }
            }
        }
        var registry = StateMachineRegistry()
        registry.register(.benchmark) { [makeMachine] _ in makeMachine(node) }
        var parts = NodeCore.Parts(
            identity: identity, boot: recovered.bootCounter, address: address(node), loop: loop,
            network: process.network, store: store, logWorker: logWorker, readWorker: bulkWorker,
            snapshots: snapshotStore,
            settings: settings, registry: registry, featureLevel: FeatureLevel(), capabilities: [],
            seed: world.nextSeed(), logger: logger(node))
        parts.observer = observer
        let core = NodeCore(parts)
        do {
            _ = try await core.start(listen: address(node))
            try await core.host(recovered, snapshots: snapshots)
        } catch {
            await core.stop()
            throw error
        }
        core.setMembers(
            Dictionary(uniqueKeysWithValues: nodes.map { ($0, (instance: $0.rawValue + 100, address: address($0))) }))
        core.setDesired(Dictionary(uniqueKeysWithValues: groups.map { ($0, DesiredMembers(nodes)) }))
        cores[node] = core
    }

    private func found(_ node: NodeID, in recovered: inout RecoveredLog) -> LogBatch {
        var batch = LogBatch()
        for group in groups {
            let foundation = GroupFoundation(group: group, incarnation: 1, kind: .benchmark, voters: [node])
            let replica = foundation.replica(on: node)!
            batch.writes.append(.init(founding: foundation, replica: replica))
            recovered.groups.append(foundation.log(of: replica))
        }
        return batch
    }

    /// Ends a node the hard way.
    package func crash(_ node: NodeID, _ end: SimulatedProcess.End) async {
        world.process(of: node)?.end(end)
        if let core = cores.removeValue(forKey: node) { await core.stop() }
    }

    /// Stops every node that runs, as a clean shutdown does.
    package func stopAll() async {
        for node in nodes {
            guard let core = cores.removeValue(forKey: node) else { continue }
            await core.stop()
            world.process(of: node)?.end(.killed)
        }
    }

    package func group(_ node: NodeID) async throws -> RaftGroup { try await cores[node]!.hosted.group(Self.group) }

    /// Waits, in virtual time, until `condition` holds on the reports of all running nodes.
    package func wait(
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
                let states = reports.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
                throw ScenarioFailure("no \(what) within \(limit):\n" + states.joined(separator: "\n"))
            }
            try await world.sleep(for: .milliseconds(50))
        }
    }

    package func waitForVoters(_ count: Int) async throws {
        try await wait("group of \(count) voters") { reports in
            reports.count == cores.count
                && reports.values.allSatisfy {
                    $0.voters.count == count && $0.outgoingVoters.isEmpty && $0.leader != nil
                }
        }
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

extension SimulatedFleet: FaultTarget {
    package func isRunning(_ node: NodeID) -> Bool {
        cores[node] != nil && world.process(of: node) != nil
    }

    package func revive(_ node: NodeID) async {
        // A power failure of the disk's own making has ended its process, and nothing else.
        if let core = cores.removeValue(forKey: node) { await core.stop() }
        // What makes it fail is a fault that goes on; whoever looks after the node tries again.
        try? await start(node)
    }

    package func transferLeadership(from node: NodeID) {
        guard let core = cores[node] else { return }
        core.loop.execute { core.handOverNow() }
    }
}
