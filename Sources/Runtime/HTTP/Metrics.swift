import FlotillaRaft

/// A node's figures in Prometheus' text format 0.0.4.
///
/// Their number is bounded, whatever the fleet: a node tells of 100 of the clusters that it leads and of 101 of its groups
/// at most, and how many it left out.
enum Metrics {
    /// The management group, and as many others as there may be clusters.
    static let groupLimit = 1 + FleetFigures.clusterLimit

    static func text(_ status: NodeStatus, _ counters: [NodeCounter], _ figures: FleetFigures) -> String {
        var page = MetricsPage()
        page.gauge(
            "flotilla_ready", "1 when the node has caught up with its groups.", status.ready ? 1 : 0
        )
        page.gauge("flotilla_boot", "How often the node was started on its data.", status.boot)
        page.gauge("flotilla_nodes", "Members of the cluster.", UInt64(status.nodes.count))
        let counts = status.workflows
        page.gauges(
            "flotilla_workflows", "Workflow runs by status, as this node's replica knows them.",
            [
                (["status": "running"], UInt64(counts.running)),
                (["status": "parked"], UInt64(counts.parked)),
                (["status": "completed"], UInt64(counts.completed)),
                (["status": "failed"], UInt64(counts.failed)),
                (["status": "terminated"], UInt64(counts.terminated)),
                (["status": "cancelled"], UInt64(counts.cancelled)),
                (["status": "paused"], UInt64(counts.paused)),
                (["status": "continued"], UInt64(counts.continued)),
            ])
        page.gauge(
            "flotilla_workflows_owned", "Running workflows that this node runs.",
            UInt64(counts.owned))
        let groupFigures: [(String, String, @Sendable (NodeStatus.Group) -> UInt64)] = [
            ("term", "The Raft term.", { $0.term }),
            ("commit_index", "The last committed entry.", { $0.commitIndex }),
            ("applied_index", "The last entry that this replica has applied.", { $0.appliedIndex }),
            ("last_index", "The last entry of this replica's log.", { $0.lastIndex }),
            ("leader", "1 where this replica leads.", { $0.role == "leader" ? 1 : 0 }),
            ("quiet", "1 where the group has nothing to do.", { $0.quiet ? 1 : 0 }),
            ("voters", "Voting members.", { UInt64($0.voters.count) }),
        ]
        let groups = status.groups.prefix(groupLimit)
        for (name, help, figure) in groupFigures {
            page.gauges(
                "flotilla_group_" + name, help,
                groups.map { (["group": "\($0.group)", "kind": $0.kind], figure($0)) })
        }
        page.gauge(
            "flotilla_groups_omitted", "Groups of this node that the figures above leave out.",
            UInt64(status.groups.count - groups.count))
        add(figures, to: &page)
        for counter in counters { page.counter("flotilla_\(counter.name)_total", counter.help, counter.value) }
        return page.text
    }

    /// Clusters by their leaders, this node, and the fleet.
    private static func add(_ figures: FleetFigures, to page: inout MetricsPage) {
        let clusters = figures.clusters.map { (cluster: $0, labels: ["cluster_id": $0.id] as MetricsPage.Labels) }
        page.family(
            "flotilla_cluster_workflows", .gauge, "Runs that have not ended, of the clusters that this node leads.",
            clusters.map { .init(labels: $0.labels, value: "\($0.cluster.workflows)") })
        page.family(
            "flotilla_cluster_checkpoints_total", .counter,
            "Results of steps and checkpoints recorded, of the clusters that this node leads.",
            clusters.map { .init(labels: $0.labels, value: "\($0.cluster.checkpoints)") })
        page.family(
            "flotilla_cluster_quorum_seconds", .summary,
            "Time until a majority had an entry, of the clusters that this node leads; a sample of the entries.",
            clusters.flatMap { cluster, labels -> [MetricsPage.Sample] in
                [
                    .init(suffix: "_sum", labels: labels, value: "\(cluster.quorumTime / .seconds(1))"),
                    .init(suffix: "_count", labels: labels, value: "\(cluster.quorumRounds)"),
                ]
            })
        page.gauge(
            "flotilla_clusters_omitted", "Clusters that this node leads and that the figures above leave out.",
            UInt64(figures.omittedClusters))
        let node = "\(figures.node.rawValue)"
        page.family(
            "flotilla_node_memberships", .gauge, "Clusters that this node is a member of.",
            [.init(labels: ["node": node], value: "\(figures.memberships)")])
        page.family(
            "flotilla_node_messages_total", .counter, "Raft messages from and to peers.",
            [
                .init(labels: ["node": node, "direction": "received"], value: "\(figures.messagesReceived)"),
                .init(labels: ["node": node, "direction": "sent"], value: "\(figures.messagesSent)"),
            ])
        page.gauge(
            "flotilla_fleet_workflows", "Runs of the whole fleet that have not ended, as far as this node has heard.",
            UInt64(figures.workflows))
        page.family(
            "flotilla_fleet_utilisation", .gauge, "The share of the clusters' room for runs that is taken.",
            [.init(value: "\(figures.utilisation)")])
    }
}

/// Metrics as they are written down, each with its help and type once.
struct MetricsPage {
    typealias Labels = KeyValuePairs<String, String>

    enum Kind: String { case gauge, counter, summary }

    /// One line.
    struct Sample {
        /// Behind the family's name, such as "_sum".
        var suffix = ""
        var labels: Labels = [:]
        var value: String
    }

    private(set) var text = ""

    mutating func gauge(_ name: String, _ help: String, _ value: UInt64) {
        family(name, .gauge, help, [Sample(value: "\(value)")])
    }

    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        family(name, .counter, help, [Sample(value: "\(value)")])
    }

    mutating func gauges(_ name: String, _ help: String, _ samples: [(labels: Labels, value: UInt64)]) {
        family(name, .gauge, help, samples.map { Sample(labels: $0.labels, value: "\($0.value)") })
    }

    /// Nothing is written of a family without samples.
    mutating func family(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples {
            let pairs = sample.labels.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }
            let labels = pairs.isEmpty ? "" : "{" + pairs.joined(separator: ",") + "}"
            text += "\(name)\(sample.suffix)\(labels) \(sample.value)\n"
        }
    }

    private static func escaped(_ value: String) -> String {
        value.map { character in
            switch character {
            case "\\": "\\\\"
            case "\"": "\\\""
            case "\n": "\\n"
            default: String(character)
            }
        }.joined()
    }
}
