import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation
import Testing

@testable import Flotilla

/// When an owner crashes, beside what a test is about.
enum CrashMoment: CaseIterable, Sendable { case before, during, after }

/// Cuts the power of a run's owner where the run's own code says that it has come to a place: what is to be in the
/// middle of something then is, with every seed.
final class Saboteur: @unchecked Sendable {
    // Unchecked: each belongs to one simulation and is touched on its thread only.
    private let place: String
    private let delay: ClosedRange<Duration>
    private var blow: (() -> Void)?
    private var victim: Int?

    /// - Parameter delay: from the place on. With the shortest, zero, not even the next write comes to its end.
    init(at place: String, after delay: ClosedRange<Duration> = .zero ... .zero) {
        self.place = place
        self.delay = delay
    }

    /// Called by the code of workflows, each time that it comes by.
    func pass(_ place: String) {
        guard place == self.place, let blow else { return }
        self.blow = nil
        blow()
    }

    /// From now on the owner of a run is the victim. The run must not have come to the place.
    func aim(at id: String, _ simulation: SimulatedCluster) async throws {
        aim(at: try #require(try await simulation.owner(of: id)), simulation)
    }

    /// From now on a node is the victim.
    func aim(at node: Int, _ simulation: SimulatedCluster) {
        blow = { [self] in
            simulation.world.after(simulation.world.random(in: delay)) { [self] in
                simulation.crash(node, dropUnsynced: true)
                victim = node
            }
        }
    }

    /// Waits until it has struck.
    /// - Returns: the victim.
    @discardableResult
    func strike(_ simulation: SimulatedCluster) async throws -> Int {
        try await simulation.wait(until: "the owner crashes at '\(place)'", within: .seconds(120)) { victim != nil }
        return try #require(victim)
    }

    /// Waits until it has struck, and starts the node again some time later.
    func repair(_ simulation: SimulatedCluster) async throws {
        let victim = try await strike(simulation)
        await simulation.advance(by: simulation.world.random(in: .milliseconds(100) ... .seconds(4)))
        simulation.restart(victim)
    }
}

extension SimulatedCluster {
    /// Who leads the group that runs workflows, as far as some node knows.
    func workflowLeader() async throws -> Int? {
        guard let number = runningNodes.first else { return nil }
        let status = try await node(number).status()
        return status.groups.first { $0.group == NodeStart.executionGroup.group.rawValue }?.leader.map { Int($0) }
    }

    /// Runs `work` while a node crashes before, in it or behind, and starts that again some time later.
    /// - Parameter during: how long after the beginning of the work.
    func crash(
        _ victim: Int, _ moment: CrashMoment, during: ClosedRange<Duration> = .zero ... .milliseconds(12),
        _ work: @escaping @Sendable () async throws -> Void
    ) async throws {
        switch moment {
        case .before:
            crash(victim, dropUnsynced: true)
            try await work()
        case .during:
            async let done: Void = work()
            await advance(by: world.random(in: during))
            crash(victim, dropUnsynced: true)
            try await done
        case .after:
            try await work()
            await advance(by: world.random(in: .zero ... .milliseconds(300)))
            crash(victim, dropUnsynced: true)
        }
        await advance(by: world.random(in: .milliseconds(100) ... .seconds(4)))
        restart(victim)
    }
}
