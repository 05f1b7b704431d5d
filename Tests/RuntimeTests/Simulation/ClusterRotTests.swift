import FlotillaIO
import FlotillaSimulation
import Foundation
import Testing

@testable import Flotilla

/// One byte of one node's log rots while all nodes are down, each byte in its turn. FLOTILLA_FLIPS=all for every byte;
/// without it one in so many.
@Suite struct ClusterRotTests {
    private static let isComplete = ProcessInfo.processInfo.environment["FLOTILLA_FLIPS"] == "all"
    /// Odd, so that each bit has its turn and headers, heads and entries have theirs.
    private static let stride = isComplete ? 1 : 29
    /// Positions of one simulation, so that no history becomes too long.
    private static let positionsPerHistory = 100

    private static let counting = Workflow("counting", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 1...count { _ = try await context.step("step \(number)") { _ in "result \(number)" } }
        return count
    }

    private struct Place: Sendable {
        var path: String
        var offset: Int
    }

    private struct Tally: Sendable, CustomStringConvertible {
        var positions = 0
        var total = 0
        var refused = 0
        var repaired = 0
        var unchanged = 0
        var description: String {
            "\(positions) of \(total) positions: \(repaired) made whole by the peers, \(refused) refused by name, "
                + "\(unchanged) without effect"
        }

        static func += (tally: inout Tally, part: Tally) {
            tally.positions += part.positions
            tally.total = part.total
            tally.refused += part.refused
            tally.repaired += part.repaired
            tally.unchanged += part.unchanged
        }
    }

    @Test(
        "RM-12: a byte of a closed log flipped, on one of three nodes: its peers make it whole, or it is refused by name"
    )
    func closedLog() async throws {
        var tally = Tally()
        repeat {
            let done = tally.positions
            let part = try await withSimulation(
                seed: Simulation.seeds(1)[0], workflows: [Self.counting],
                limits: SimulationLimits(virtualTime: .seconds(36_000), steps: 500_000_000)
            ) { simulation in try await Self.sweep(simulation, skipping: done) }
            tally += part.value
        } while tally.positions < tally.total
        print("rot of a closed log, three nodes: \(tally)")
        #expect(tally.positions == tally.repaired + tally.refused + tally.unchanged)
        #expect(tally.repaired > 0 && tally.refused > 0)
    }

    private static func sweep(_ simulation: SimulatedCluster, skipping done: Int) async throws -> Tally {
        #expect(try await simulation.submit(counting, id: "a", input: 5).result() == 5)
        try await simulation.untilConverged()
        for number in simulation.nodes.reversed() { await simulation.stop(number) }
        let copies = try simulation.nodes.map { try simulation.disk($0).copy() }
        let places = try places(on: simulation.disk(3))
        var tally = Tally()
        tally.total = places.count
        for place in places.dropFirst(done).prefix(positionsPerHistory) {
            for (number, copy) in zip(simulation.nodes, copies) { try simulation.disk(number).replace(with: copy) }
            let bit = UInt8(place.offset % 8)
            #expect(try simulation.disk(3).flipBit(bit, at: place.offset, of: place.path))
            for number in simulation.nodes { simulation.restart(number) }
            try await judge(place, simulation, &tally)
            for number in simulation.runningNodes { simulation.crash(number) }
        }
        return tally
    }

    /// All bytes of all segments that hold something, and some of the zeros behind.
    private static func places(on disk: SimulatedDisk) throws -> [Place] {
        var places: [Place] = []
        for path in disk.files where path.hasSuffix(".seg") {
            let bytes = try #require(disk.contents(of: path))
            let end = min(bytes.count, (bytes.lastIndex { $0 != 0 } ?? 0) + 64)
            places += (0..<end).map { Place(path: path, offset: $0) }
        }
        return Swift.stride(from: 0, to: places.count, by: stride).map { places[$0] }
    }

    private static func judge(_ place: Place, _ simulation: SimulatedCluster, _ tally: inout Tally) async throws {
        let note: Comment = "\(place.path) byte \(place.offset)"
        tally.positions += 1
        try await simulation.wait(until: "node 3 is back or has refused its log") {
            guard simulation.runningNodes.contains(3) else { return true }
            return await (try? simulation.node(3).status())?.ready ?? false
        }
        guard simulation.runningNodes.contains(3) else {
            tally.refused += 1
            let message = "\(try #require(simulation.takeFailure(of: 3), note))"
            #expect(message.contains(".seg"), "\(place): \(message)")
            #expect(
                message.contains("byte") && message.contains("remove this node")
                    || message.contains("run the version of Flotilla"), "\(place): \(message)")
            return
        }
        let isDamaged = try await simulation.node(3).status().warnings.contains { $0.contains("holds damaged entries") }
        tally.repaired += isDamaged ? 1 : 0
        tally.unchanged += isDamaged ? 0 : 1
        // Node 3 counts again, and all three have made the same of it.
        try await simulation.untilConverged()
        #expect(try await simulation.node(3).result(of: "a", as: Int.self) == 5, note)
        try await simulation.wait(until: "node 3 recovers") {
            try await !simulation.node(3).status().warnings.contains { $0.contains("recovers from damage") }
        }
    }
}
