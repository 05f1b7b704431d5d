import FlotillaIO
import FlotillaSimulation
import Testing

@testable import Flotilla

/// Disks that are full or rot, under whole nodes.
@Suite struct ClusterDiskTests {
    /// Each step's result is a large part of what a log grows by at a time.
    private static let writing = Workflow("writing", version: 1) {
        (count: Int, context: WorkflowContext) async throws -> Int in
        for number in 1...count {
            _ = try await context.step("step \(number)") { _ in String(repeating: "x", count: 8_000) }
        }
        return count
    }

    private static func isFull(_ node: Node) async throws -> Bool {
        try await node.status().warnings.contains { $0.contains("No space left") }
    }

    @Test("a full disk is named and refuses what is new; its node reads on, and goes on by itself when there is room")
    func fullDisk() async throws {
        try await withSimulations(seeds: 2, workflows: [Self.writing]) { simulation in
            for number in simulation.nodes { try simulation.disk(number).capacity = 0 }
            let run = try await simulation.submit(Self.writing, id: "a", input: 12)
            try await simulation.wait(until: "every disk is full") {
                for number in simulation.nodes where try await !Self.isFull(simulation.node(number)) { return false }
                return true
            }
            let error = await #expect(throws: WorkflowError.self) {
                _ = try await simulation.node(2).start(Self.writing, id: "b", input: 1)
            }
            #expect(error?.code == .diskFull, "\(error!)")
            _ = try await simulation.node(2).describe("a")
            for number in simulation.nodes { try simulation.disk(number).capacity = nil }
            #expect(try await run.result() == 12)
            for number in simulation.nodes { #expect(try await !Self.isFull(simulation.node(number))) }
            #expect(try await simulation.submit(Self.writing, id: "b", input: 1).result() == 1)
        }
    }

    /// What the flips of one sweep came to.
    private struct Tally: CustomStringConvertible {
        var positions = 0
        var refused = 0
        var recovering = 0
        var unchanged = 0
        var description: String {
            "\(positions) of \(positions) positions: \(refused) refused, \(recovering) recovering, "
                + "\(unchanged) without effect"
        }
    }

    @Test(
        "RM-12: a bit of a node's log rots while it is down: it says what to do, or its peers make it whole",
        arguments: [true, false])
    func rot(isClosed: Bool) async throws {
        let tally = Lock(Tally())
        try await withSimulations(seeds: 4, workflows: [Self.writing]) { simulation in
            #expect(try await simulation.submit(Self.writing, id: "a", input: 3).result() == 3)
            let disk = try simulation.disk(3)
            for _ in 0..<8 {
                try await simulation.untilFormed()
                if isClosed { await simulation.stop(3) } else { simulation.crash(3) }
                let segments = disk.files.filter { $0.hasSuffix(".seg") }
                let path = segments[Int(simulation.world.random(below: UInt64(segments.count)))]
                let bytes = try #require(disk.contents(of: path))
                let end = try #require(bytes.lastIndex { $0 != 0 }) + 1
                // Near the end twice as often: there damage can be a write that was never completed.
                let first = simulation.world.random(below: 2) == 0 ? max(0, end - 300) : 0
                let offset = first + Int(simulation.world.random(below: UInt64(end - first)))
                let bit = UInt8(simulation.world.random(below: 8))
                #expect(disk.flipBit(bit, at: offset, of: path))
                simulation.restart(3)
                let isBack = try await Self.isBack(simulation)
                tally.withLock {
                    $0.positions += 1
                    switch isBack {
                    case nil: $0.refused += 1
                    case true?: $0.recovering += 1
                    case false?: $0.unchanged += 1
                    }
                }
                guard isBack == nil else { continue }
                let failure = try #require(simulation.takeFailure(of: 3))
                let message = "\(failure)"
                #expect(message.contains(path.split(separator: "/").last!) || message.contains(".seg"), "\(message)")
                #expect(
                    message.contains("byte") && message.contains("remove this node")
                        || message.contains("run the version of Flotilla"), "\(message)")
                #expect(disk.flipBit(bit, at: offset, of: path))
                simulation.restart(3)
            }
            try await simulation.untilFormed()
            try await simulation.untilConverged()
            #expect(try await simulation.node(3).result(of: "a", as: Int.self) == 3)
        }
        let result = tally.withLock { $0 }
        print("rot in whole nodes, closed \(isClosed): \(result)")
        #expect(result.refused > 0)
    }

    /// Waits until node 3 has decided what to make of its log.
    /// - Returns: nil if it refused it, else whether it was recovering at first.
    private static func isBack(_ simulation: SimulatedCluster) async throws -> Bool? {
        var wasRecovering = false
        var isRefused = false
        try await simulation.wait(until: "node 3 is back or has refused its log") {
            guard simulation.runningNodes.contains(3) else {
                isRefused = true
                return true
            }
            guard let status = try? await simulation.node(3).status() else { return false }
            let signs = ["recovers from damage", "holds damaged entries"]
            if status.warnings.contains(where: { line in signs.contains { line.contains($0) } }) {
                wasRecovering = true
            }
            return status.ready
        }
        return isRefused ? nil : wasRecovering
    }
}
