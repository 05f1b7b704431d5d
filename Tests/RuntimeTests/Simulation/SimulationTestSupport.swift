import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

@testable import Flotilla

/// An actor that lives on a simulated loop, as the library's own do.
actor Pinned {
    let loop: SimulatedLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var log: [String] = []

    init(_ loop: SimulatedLoop) { self.loop = loop }

    func note(_ text: String) { log.append(text) }

    func ask(_ other: Pinned, _ text: String) async {
        await other.note(text)
        log.append("asked " + text)
    }
}

actor Collector<Element: Sendable> {
    private(set) var items: [Element] = []
    func add(_ item: Element) { items.append(item) }
}

/// What a scenario writes down from callbacks that are not on one actor. One thread runs them all.
final class Notes: @unchecked Sendable {
    // Unchecked: each instance belongs to one simulation and is touched on its thread only.
    var lines: [String] = []
    func add(_ line: String) { lines.append(line) }
}

/// Writes down what a connection reports.
final class RecordingDelegate: FrameConnectionDelegate, @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only.
    var opened = 0
    /// How many frames had come before the connection was open.
    var openedAfter: Int?
    var received: [[UInt8]] = []
    var writable = 0
    var closed: [NetworkError?] = []
    var connection: (any FrameConnection)?

    func connectionDidOpen(_ connection: any FrameConnection) {
        opened += 1
        openedAfter = received.count
    }
    func connection(_ connection: any FrameConnection, didReceive payload: [UInt8]) {
        received.append(payload)
    }
    func connectionIsWritable(_ connection: any FrameConnection) { writable += 1 }
    func connectionDidClose(_ connection: any FrameConnection, error: NetworkError?) {
        closed.append(error)
    }
}

/// The error a simulation ends with; nil if it reached its end.
func failure<Value: Sendable>(
    of run: () async throws -> SimulationResult<Value>
) async -> SimulationError? {
    do {
        _ = try await run()
        return nil
    } catch {
        return error as? SimulationError
    }
}

extension SimulatedLoop {
    /// Runs `work` on the loop and waits until it has.
    func perform<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            execute { continuation.resume(returning: work()) }
        }
    }
}

/// Runs a scenario on whole nodes for each of some seeds, with snapshots often enough to matter.
func withSimulations(
    seeds count: Int, nodes: Int = 3, workflows: [any RegisterableWorkflow],
    _ body: @escaping @Sendable (SimulatedCluster) async throws -> Void
) async throws {
    for seed in Simulation.seeds(count) {
        try await withSimulation(
            seed: seed, nodes: nodes, workflows: workflows, configure: snapshotOften, body)
    }
}

@Sendable func snapshotOften(_ configuration: inout NodeConfiguration) {
    configuration.groups.snapshotThreshold = 200
}

extension SimulatedCluster {
    /// Begins to move all runs and ids of the first cluster to a new one.
    func migrate(to members: [UInt64]) async throws {
        let services = try await node(1).running()
        try await services.manage([.beginMigration])
        let id = try await node(1).createCluster(on: members.map { NodeID($0) })
        let target = try await node(1).running().cluster(named: id)
        let version = services.machines.management.withLock { $0.slots.version }
        try await services.manage([
            .moveSlots(SlotMove(version: version, slots: Array(0..<SlotMap.count), home: target.group))
        ])
    }

    func untilFirstClusterIsSealed() async throws {
        try await wait(until: "the first cluster is sealed", within: .seconds(60)) {
            let view = try await node(1).running().machines.management.withLock { $0 }
            if case .sealed = view.clusters[ExecutionCluster.common]?.phase { return true }
            return false
        }
    }
}
