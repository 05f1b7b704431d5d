import FlotillaIO
import FlotillaRaft
import FlotillaScenarios
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

    /// - Parameter padding: so many bytes more than are needed.
    static func operation(_ number: UInt64, padding: Int = 0) -> Operation {
        let zeros = Array(repeating: UInt8(0), count: padding)
        return Operation(type: 1, version: 1, body: zeros + withUnsafeBytes(of: number.bigEndian) { Array($0) })
    }
}

extension SimulatedFleet {
    /// A fleet whose groups keep journals.
    convenience init(_ world: SimulationWorld, nodes count: Int) {
        self.init(world, nodes: count) { _ in Journal() }
    }

    func numbers(_ node: NodeID) async throws -> [UInt64] {
        try await group(node).withState { ($0 as? Journal)?.numbers ?? [] }
    }

    func isConnected(_ node: NodeID, to other: NodeID) async -> Bool {
        guard let core = cores[node] else { return false }
        return await core.onLoop { core.transport.assumeIsolated { $0.isConnected(to: other) } }
    }

    func transportMetrics(_ node: NodeID) async -> TransportMetrics {
        guard let core = cores[node] else { return TransportMetrics() }
        return await core.onLoop { core.transport.assumeIsolated { $0.metrics } }
    }
}

/// Runs `body` with a fresh fleet, for each of some seeds. FLOTILLA_SEED replays one.
func withFleets(
    nodes: Int, seeds: Int, groups: [GroupID] = [SimulatedFleet.group],
    _ body: @escaping @Sendable (SimulatedFleet) async throws -> Void
) async throws {
    for seed in Simulation.seeds(seeds) {
        _ = try await Simulation.run(seed: seed) { world in
            let fleet = SimulatedFleet(world, nodes: nodes)
            fleet.groups = groups
            try await fleet.startAll()
            do {
                try await body(fleet)
            } catch {
                await fleet.stopAll()
                throw error
            }
            await fleet.stopAll()
        }
    }
}
