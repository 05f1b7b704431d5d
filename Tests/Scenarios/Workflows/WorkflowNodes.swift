import Flotilla
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
