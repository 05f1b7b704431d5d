import FlotillaActors
import FlotillaRaft

/// All nodes and clusters, as one node sees them and as their members say.
public struct FleetStatus: Codable, Hashable, Sendable {
    /// A member of the fleet.
    public struct Node: Codable, Hashable, Sendable {
        /// The node's id.
        public var id: UInt64
        /// Where peers connect.
        public var address: String
        /// Where its HTTP interface listens; empty if it has none.
        public var http: String
        /// In the management group: "voter" or "learner".
        public var role: String
        /// The role that its own configuration asks for; nil for none.
        public var wantedRole: String?
        /// Its places in clusters are given to others, because it is to leave.
        public var isDraining: Bool
        /// What its operator says of it; see `NodeConfiguration.labels`.
        public var labels: [String: String]
        /// How many clusters it is a member of.
        public var clusters: Int
        /// How many runs it carries. Each cluster's are taken to be spread evenly over its voters, except in the one
        /// cluster of a small fleet, which says who runs how many.
        public var load: Double
        /// For how many seconds the node that answers has not heard of it; nil for one that is heard of.
        public var silentFor: Double?
        /// What is under way, and what it waits for.
        public var waitsFor: [String] = []
    }

    /// "single" while one cluster runs everything, "migrating", or "twoTier".
    public var mode: String
    /// The node that leads the management group; nil while none is known.
    public var leader: UInt64?
    /// Ascending.
    public var nodes: [Node]
    /// In the order of their making.
    public var clusters: [ClusterStatus]
    /// How many runs have not ended.
    public var workflows: Int
    /// The share of the clusters' room for runs that is taken. Above 1 where one cluster has all runs of a small fleet.
    public var utilisation: Double
    /// By what share the busiest node exceeds the mean load.
    public var imbalance: Double
    /// Why the fleet as a whole is stuck; nil if it is not.
    public var problem: String?

    /// A node that was heard of so recently is not silent.
    static let silenceLimit: Duration = .seconds(1)
}

/// What a node gathered of its fleet.
struct FleetView {
    var state: ManagementState
    var observation: FleetObservation
    /// Nodes that answered when they were asked for their replicas.
    var answering: Set<NodeID> = []
    var inspections: [GroupID: [NodeID: GroupInspection]] = [:]
    /// Of the management group, on the node itself.
    var management: GroupMembership?

    func isSilent(_ node: NodeID) -> Bool { observation.isSilent(node, for: FleetStatus.silenceLimit) }

    /// Such as "3 and 4", or "none".
    func list(_ nodes: some Sequence<NodeID>) -> String {
        let words = nodes.map { "\($0.rawValue)" }
        guard let last = words.last else { return "none" }
        return words.count == 1 ? last : words.dropLast().joined(separator: ", ") + " and " + last
    }

    /// Such as "node 3, silent for 12 s".
    func whyAbsent(_ node: NodeID) -> String {
        if isSilent(node), let silence = observation.silence[node] {
            return "\(node) is silent for \(silence / 1_000_000_000) s"
        }
        return answering.contains(node) ? "\(node) has no replica yet" : "\(node) does not answer"
    }

    var fleet: FleetStatus {
        let loads = loads
        let clusters = state.clusters.sorted().map { status(of: $0.value) }
        let workflows = clusters.reduce(0) { $0 + $1.workflows }
        var fleet = FleetStatus(
            mode: state.mode.rawValue, leader: management?.leader?.rawValue,
            nodes: state.nodes.values.sorted { $0.node < $1.node }.map { status(of: $0, loads.byNode) },
            clusters: clusters,
            workflows: workflows, utilisation: state.utilisation(workflows), imbalance: loads.imbalance)
        if management?.leader == nil {
            let absent = state.voters.filter(isSilent)
            fleet.problem =
                absent.count * 2 >= max(1, state.voters.count)
                ? "the management group has no quorum: \(absent.map(whyAbsent).joined(separator: ", ")). Clusters go on; "
                    + "nothing is created, moved or replaced meanwhile"
                : "the management group has no leader now"
        }
        return fleet
    }

    /// The planner's figures; of a small fleet, whose one cluster reports nothing, those of that cluster.
    private var loads: (byNode: [NodeID: Double], imbalance: Double) {
        guard state.mode == .single else {
            let load = FleetLoad(state, observation)
            return (load.loads, load.imbalance)
        }
        let owned = best(of: inspections[ExecutionCluster.commonGroup] ?? [:])?.holdings?.owned ?? [:]
        let byNode = Dictionary(uniqueKeysWithValues: owned.map { (NodeID($0.key), Double($0.value)) })
        let mean = byNode.values.reduce(0, +) / Double(max(1, state.nodes.count))
        return (byNode, mean > 0 ? ((byNode.values.max() ?? 0) - mean) / mean : 0)
    }

    private func status(of node: ManagementStateMachine.Node, _ loads: [NodeID: Double]) -> FleetStatus.Node {
        let memberships = state.memberships[node.node]?.count ?? 0
        var status = FleetStatus.Node(
            id: node.node.rawValue, address: node.address, http: node.httpAddress, role: node.role.name,
            wantedRole: node.wantedRole?.name, isDraining: node.isDraining,
            labels: Dictionary(uniqueKeysWithValues: node.labels.map { ($0.key.text, $0.value.text) }),
            clusters: memberships, load: loads[node.node] ?? 0)
        if isSilent(node.node), let silence = observation.silence[node.node] {
            status.silentFor = Double(silence / 1_000_000) / 1_000
        }
        if node.isDraining {
            status.waitsFor.append(
                memberships > 0 && state.mode != .single
                    ? "drains: it is still wanted in \(memberships) clusters"
                    : "is drained: flotilla node remove \(node.node.rawValue) takes it out")
        }
        return status
    }
}

extension ManagementState {
    /// The share of the room for runs that `workflows` take.
    func utilisation(_ workflows: Int) -> Double {
        let open = clusters.members.count { $0.value.isActive }
        return Double(workflows) / Double(max(1, open * policy.maximumWorkflowsPerCluster))
    }
}

extension NodeRole {
    /// "voter" or "learner".
    var name: String { self == .voter ? "voter" : "learner" }

    init?(name: String) {
        switch name {
        case "voter": self = .voter
        case "learner": self = .learner
        default: return nil
        }
    }
}
