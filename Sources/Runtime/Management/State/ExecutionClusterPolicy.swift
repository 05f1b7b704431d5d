public import FlotillaRaft

/// How execution clusters are made, filled and moved, and who votes in the management group. Replicated: all nodes act
/// by the same one.
public struct ExecutionClusterPolicy: Hashable, Sendable {
    /// Which cluster with room a new run goes to.
    public enum SelectionStrategy: UInt32, Sendable, CaseIterable {
        /// One after the other, by id.
        case roundRobin = 1
        /// The one with the fewest runs.
        case leastLoaded = 2
        /// One that the asking node is a member of; else the least loaded.
        case localityAware = 3
        /// One that runs the type already; else the least loaded.
        case typeAffinity = 4
    }

    /// Who may vote in the management group.
    public enum VoterSelection: Hashable, Sendable {
        /// Any node: a voter that is lost is replaced.
        case automatic
        /// These nodes, by an operator's choice.
        case fixed([NodeID])
        /// The nodes with this label, such as an orchestrator sets; among them a lost one is replaced.
        case labelled(NodeLabel)
    }

    /// Above this a cluster takes no new runs.
    public var maximumWorkflowsPerCluster: Int
    /// How many members a cluster should have.
    public var targetClusterSize: Int
    /// How the cluster of a new run is chosen.
    public var strategy: SelectionStrategy
    /// The share by which the busiest node may exceed the mean load before runs and members move.
    public var rebalanceThreshold: Double
    /// How long a cluster without runs is kept; zero removes it at once.
    public var idleTimeToLive: Duration = .seconds(300)
    /// How many clusters without runs are kept ready.
    public var readyClusters = 0
    /// The share of its capacity above which the fleet is too busy to be rebalanced.
    public var loadLimit = 0.8
    /// How often loads are looked at. What happens to nodes and clusters is acted on at once.
    public var rebalancePeriod: Duration = .seconds(30)
    /// A fleet of fewer nodes runs everything in one cluster.
    public var singleClusterBelow = 10
    /// A node that was silent for longer is replaced in its clusters.
    public var memberFailureTimeout: Duration = .seconds(30)
    /// A voter of the management group that was silent for longer is replaced.
    public var voterFailureTimeout: Duration = .seconds(5)
    /// Members are spread over the values of this label.
    public var spreadLabel = "zone"
    /// Workflows of these types run in clusters of their own.
    public var pinnedTypes: Set<String> {
        get { Set(pins.map(\.text)) }
        set { pins = Set(newValue.map { ByteText($0) }) }
    }
    var pins: Set<ByteText> = []
    /// How many nodes vote in the management group, odd; nil for 3, and for 5 from 20 nodes on.
    public var targetVoterCount: Int?
    /// How the voters of the management group are chosen.
    public var voterSelection = VoterSelection.automatic

    /// How many members of a cluster, or of the management group, vote at most.
    static let votersMax = 7

    /// Without arguments, what a fleet begins with.
    public init(
        maximumWorkflowsPerCluster: Int = 20, targetClusterSize: Int = 5, strategy: SelectionStrategy = .roundRobin,
        rebalanceThreshold: Double = 0.3
    ) {
        self.maximumWorkflowsPerCluster = maximumWorkflowsPerCluster
        self.targetClusterSize = targetClusterSize
        self.strategy = strategy
        self.rebalanceThreshold = rebalanceThreshold
    }

    /// The sizes that a cluster may be created with.
    var clusterSizes: ClosedRange<Int> { min(3, targetClusterSize)...max(5, targetClusterSize) }

    func voterCount(nodes: Int) -> Int { targetVoterCount ?? (nodes >= 20 ? 5 : 3) }

    /// What is wrong with it, and what would be right; nil for nothing.
    var problem: String? {
        if maximumWorkflowsPerCluster < 1 {
            return "a cluster runs at least one workflow, not \(maximumWorkflowsPerCluster)"
        }
        if !(1...Self.votersMax).contains(targetClusterSize) {
            return "a cluster has 1 to \(Self.votersMax) members, not \(targetClusterSize)"
        }
        if !(rebalanceThreshold.isFinite && rebalanceThreshold > 0) {
            return "the rebalance threshold is a share above 0, such as 0.3, not \(rebalanceThreshold)"
        }
        if !(loadLimit > 0 && loadLimit <= 1) { return "the load limit is above 0 and at most 1, not \(loadLimit)" }
        if singleClusterBelow < 0 { return "a fleet has no \(singleClusterBelow) nodes" }
        if min(idleTimeToLive, memberFailureTimeout, voterFailureTimeout) < .zero { return "no time is below zero" }
        if rebalancePeriod < .seconds(1) {
            return "loads are looked at once a second at most, not every \(rebalancePeriod)"
        }
        if readyClusters < 0 || readyClusters > 1_000 {
            return "0 to 1,000 clusters are kept ready, not \(readyClusters)"
        }
        if let count = targetVoterCount, !(1...Self.votersMax).contains(count) || count.isMultiple(of: 2) {
            return "an odd number of nodes votes, from 1 to \(Self.votersMax), not \(count)"
        }
        return nil
    }
}

/// Something that an operator says of a node, such as zone = b.
public struct NodeLabel: Hashable, Comparable, Sendable, CustomStringConvertible {
    var key: ByteText
    var value: ByteText

    /// A label by its name and its value; neither is checked here, a node checks its own when it starts.
    public init(_ key: String, _ value: String) {
        self.key = ByteText(key)
        self.value = ByteText(value)
    }

    public var description: String { "\(key)=\(value)" }
    public static func < (a: NodeLabel, b: NodeLabel) -> Bool { (a.key, a.value) < (b.key, b.value) }
}

/// What a node is in the management group.
public enum NodeRole: UInt32, Sendable {
    /// Counts for majorities, and may lead.
    case voter = 1
    /// Receives the log and does not count.
    case learner = 2
}
