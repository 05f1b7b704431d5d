import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

/// Whole nodes as a target of faults. Touched on the simulation's thread only.
final class WorkflowNodes: FaultTarget, @unchecked Sendable {
    let cluster: SimulatedCluster
    private var retired: Set<NodeID> = []
    init(_ cluster: SimulatedCluster) { self.cluster = cluster }

    var world: SimulationWorld { cluster.world }
    /// All but those that have left for good.
    var nodes: [NodeID] { cluster.nodes.map { NodeID(UInt64($0)) }.filter { !retired.contains($0) } }

    func isRunning(_ node: NodeID) -> Bool { cluster.runningNodes.contains(number(node)) }

    func crash(_ node: NodeID, _ end: SimulatedProcess.End) async {
        switch end {
        case .killed: cluster.crash(number(node))
        case .powerLost(let fate): cluster.crash(number(node), unsynced: fate)
        }
    }

    func revive(_ node: NodeID) async {
        if !retired.contains(node) { cluster.restart(number(node)) }
    }

    /// Ends a node for good.
    func retire(_ node: NodeID) {
        retired.insert(node)
        if isRunning(node) { cluster.crash(number(node)) }
    }

    func transferLeadership(from node: NodeID) { self.node(node)?.handOverLeadership() }

    /// Nil while it does not run.
    func node(_ node: NodeID) -> Node? { isRunning(node) ? try? cluster.node(number(node)) : nil }

    private func number(_ node: NodeID) -> Int { Int(node.rawValue) }
}

// What clients do that know all nodes.

extension WorkflowNodes {
    private static let stateCheckInterval: Duration = .seconds(4)

    /// One of those that run.
    func anyNode() -> Node? {
        let running = nodes.filter { isRunning($0) }
        guard !running.isEmpty else { return nil }
        return node(running[Int(world.random(below: UInt64(running.count)))])
    }

    /// A node that stands still does not answer, and its callers are not part of it.
    func withTimeLimit<Value: Sendable>(
        _ limit: Duration, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask { [world] in
                try await world.sleep(for: limit)
                throw CancellationError()
            }
            defer { group.cancelAll() }
            return try await group.next()!
        }
    }

    /// - Returns: whether the start was acknowledged. The same start is asked for until then, or given up.
    func start<Input, Output>(
        _ workflow: Workflow<Input, Output>, id: String, input: Input
    ) async throws -> Bool {
        for _ in 0..<3 {
            if let node = anyNode() {
                do {
                    _ = try await withTimeLimit(.seconds(10)) {
                        try await node.start(workflow, id: id, input: input)
                    }
                    return true
                } catch let error as WorkflowError where error.code == .conflict {
                    throw error
                } catch {
                    // Unknown outcome, or a node that is not there: asked again.
                }
            }
            try await world.sleep(for: .milliseconds(300))
        }
        return false
    }

    /// Asks one node after the other until one has done it.
    /// - Throws: `ScenarioFailure` with the last failure where that takes longer than `limit`.
    @discardableResult
    func insisting<Value: Sendable>(
        _ what: String, within limit: Duration, _ body: @escaping @Sendable (Node) async throws -> Value
    ) async throws -> Value {
        let deadline = world.now.advanced(by: limit)
        while true {
            var reason = "all nodes are down"
            if let node = anyNode() {
                do {
                    return try await withTimeLimit(.seconds(15)) { try await body(node) }
                } catch {
                    reason = "\(error)"
                }
            }
            guard world.now < deadline else { throw ScenarioFailure("not within \(limit): \(what); \(reason)") }
            try await world.sleep(for: .milliseconds(300))
        }
    }

    /// Replicas of one group at one index have one state.
    func compareStates(until end: MonotonicTime, by oracle: GroupOracle) async throws {
        while world.now < end {
            try await world.sleep(for: Self.stateCheckInterval)
            for id in nodes {
                guard let node = node(id) else { continue }
                let hashes = try? await withTimeLimit(.seconds(1)) { try await node.stateHashes() }
                for (group, index, hash) in hashes ?? [] { oracle.replica(of: group, reached: hash, at: index) }
            }
        }
    }
}
