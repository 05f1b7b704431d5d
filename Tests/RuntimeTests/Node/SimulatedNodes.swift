import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Glibc
import Testing

@testable import Flotilla

/// Whole nodes in one simulated world: the same node, groups, log and workflow engine that run in production.
/// Touched on the simulation's thread only.
final class SimulatedNodes: @unchecked Sendable {
    let world: SimulationWorld
    let ids: [UInt64]
    /// What each node can run; changed before a restart it is an upgrade.
    var workflows: [UInt64: [any RegisterableWorkflow]]
    /// Entries between two snapshots of a group, for nodes that start from now on.
    var snapshotThreshold = 200
    private(set) var nodes: [UInt64: Node] = [:]
    private var stops: [UInt64: Completion] = [:]
    private var failures: [UInt64: any Error] = [:]
    private var group: TaskGroupHandle

    typealias Completion = Promise<Void>

    /// Starts node runs in the scope of `run`.
    struct TaskGroupHandle {
        var start: (@escaping @Sendable () async -> Void) -> Void
    }

    /// FLOTILLA_LOG=debug prints what the nodes say, to understand a seed.
    private static let logLevel: FlotillaLogger.Level? = getenv("FLOTILLA_LOG").flatMap { text in
        let name = String(cString: text)
        return FlotillaLogger.Level.allCases.first { "\($0)" == name }
    }

    private init(
        _ world: SimulationWorld, _ count: Int, _ workflows: [any RegisterableWorkflow], _ group: TaskGroupHandle
    ) {
        self.world = world
        ids = Array(1...UInt64(count))
        self.workflows = Dictionary(uniqueKeysWithValues: ids.map { ($0, workflows) })
        self.group = group
    }

    /// Runs `body` with `count` nodes that have formed a cluster, for each seed.
    static func run(
        _ count: Int, seeds: Int, workflows: [any RegisterableWorkflow],
        _ body: @escaping @Sendable (SimulatedNodes) async throws -> Void
    ) async throws {
        for seed in Simulation.seeds(seeds) {
            _ = try await Simulation.run(seed: seed) { world in try await inWorld(world, count, workflows, body) }
        }
    }

    static func inWorld(
        _ world: SimulationWorld, _ count: Int, _ workflows: [any RegisterableWorkflow], untilFormed: Bool = true,
        _ body: @escaping @Sendable (SimulatedNodes) async throws -> Void
    ) async throws {
        let starts = AsyncStream<@Sendable () async -> Void>.makeStream(bufferingPolicy: .bufferingNewest(1_000))
        try await withThrowingTaskGroup(of: Void.self) { scope in
            scope.addTask {
                await withDiscardingTaskGroup { group in
                    for await start in starts.stream { group.addTask { await start() } }
                }
            }
            let nodes = SimulatedNodes(world, count, workflows, TaskGroupHandle { starts.continuation.yield($0) })
            var failure: (any Error)?
            do {
                for id in nodes.ids { nodes.start(id) }
                if untilFormed { try await nodes.untilFormed() }
                try await body(nodes)
            } catch {
                failure = error
            }
            nodes.stopAll()
            starts.continuation.finish()
            try await scope.waitForAll()
            #expect(nodes.failures.isEmpty, "seed \(world.seed): \(nodes.failures)")
            if let failure { throw failure }
        }
    }

    func node(_ id: UInt64) -> Node { nodes[id]! }

    /// Starts a node on the disk that its previous life left.
    func start(_ id: UInt64) {
        let process = world.start(NodeID(id))
        var configuration = NodeConfiguration(
            id: id, listen: "sim-\(id):7000", data: .directory("/data"), join: id == 1 ? [] : ["sim-1:7000"])
        configuration.groups.snapshotThreshold = snapshotThreshold
        let seed = world.nextSeed()
        let random = Lock(SeededGenerator(seed: world.nextSeed()))
        let environment = NodeEnvironment(
            loop: process.loop, network: process.network, fileSystem: process.fileSystem,
            logWorker: process.makeWorker(), bulkWorker: process.makeWorker(), seed: seed,
            random: { random.withLock { $0.next() } }, shutdown: {})
        if let level = SimulatedNodes.logLevel {
            let world = world
            configuration.logger = FlotillaLogger(level: level) { level, message, metadata in
                let text = metadata.map { "\($0)=\($1)" }.joined(separator: " ")
                print("\(world.now.nanoseconds / 1_000_000) ms, node \(id): \(message) \(text)")
            }
        }
        let node = Node(configuration, workflows: workflows[id]!, environment: environment)
        let stop = Completion()
        nodes[id] = node
        stops[id] = stop
        group.start { [self] in
            await withDiscardingTaskGroup { group in
                group.addTask { [self] in
                    var failedByFault = false
                    do {
                        try await node.run()
                    } catch {
                        // A disk that a test made fail at the start; whoever looks after a node starts it again.
                        failedByFault = process.isAlive && "\(error)".contains("Input/output error")
                        if process.isAlive, !failedByFault { failures[id] = error }
                    }
                    process.end(.killed)
                    if failedByFault, nodes[id] === node {
                        stop.fulfill(())
                        start(id)
                    }
                }
                try? await stop.wait()
                group.cancelAll()
            }
        }
    }

    /// Ends a node's process as kill -9 or a power failure does.
    func crash(_ id: UInt64, _ end: SimulatedProcess.End = .killed) {
        world.process(of: NodeID(id))?.end(end)
        stops.removeValue(forKey: id)?.fulfill(())
        nodes[id] = nil
    }

    /// Stops a node as SIGTERM does.
    func stop(_ id: UInt64) async {
        let process = world.process(of: NodeID(id))
        stops.removeValue(forKey: id)?.fulfill(())
        nodes[id] = nil
        while process?.isAlive == true { try? await world.sleep(for: .milliseconds(10)) }
    }

    func stopAll() {
        for id in ids where stops[id] != nil { crash(id) }
    }

    func untilFormed() async throws {
        let votersWanted = ids.count.isMultiple(of: 2) ? ids.count - 1 : ids.count
        try await wait("cluster of \(votersWanted) voters") { nodes in
            for (_, node) in nodes.sorted(by: { $0.key < $1.key }) {
                let status = try await node.status()
                guard status.ready, status.groups.allSatisfy({ $0.voters.count == votersWanted }) else { return false }
            }
            return nodes.count == ids.count
        }
    }

    func wait(
        _ what: String, limit: Duration = .seconds(60), _ condition: ([UInt64: Node]) async throws -> Bool
    ) async throws {
        let deadline = world.now.advanced(by: limit)
        while try await !condition(nodes) {
            guard world.now < deadline else {
                throw NodeError(.stopped, "seed \(world.seed): no \(what) within \(limit): \(await states())")
            }
            try await world.sleep(for: .milliseconds(50))
        }
    }

    /// What each node says of itself, for a failure's message.
    private func states() async -> String {
        var lines: [String] = []
        for (id, node) in nodes.sorted(by: { $0.key < $1.key }) {
            do {
                let status = try await node.status()
                let groups = status.groups.map { group in
                    "\(group.kind) replica \(group.replica) \(group.role) term \(group.term) leader "
                        + "\(group.leader ?? 0) applied \(group.appliedIndex) of \(group.commitIndex) of "
                        + "\(group.lastIndex), voters \(group.voters), learners \(group.learners), quiet \(group.quiet)"
                }
                lines.append("node \(id), ready \(status.ready): \(groups) \(status.warnings)")
            } catch {
                lines.append("node \(id): \(error)")
            }
        }
        return lines.joined(separator: "\n")
    }

    /// The node that owns a run.
    func owner(of id: String) async throws -> UInt64? {
        let (_, node) = nodes.sorted { $0.key < $1.key }[0]
        return try await node.describe(id).info.owner?.rawValue
    }
}
