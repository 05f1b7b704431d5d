/// A node's figures in Prometheus' text format 0.0.4.
enum Metrics {
    static func text(_ status: NodeStatus, _ counters: [NodeCounter]) -> String {
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
            ])
        page.gauge(
            "flotilla_workflows_owned", "Running workflows that this node runs.",
            UInt64(counts.owned))
        let figures: [(String, String, @Sendable (NodeStatus.Group) -> UInt64)] = [
            ("term", "The Raft term.", { $0.term }),
            ("commit_index", "The last committed entry.", { $0.commitIndex }),
            ("applied_index", "The last entry that this replica has applied.", { $0.appliedIndex }),
            ("last_index", "The last entry of this replica's log.", { $0.lastIndex }),
            ("leader", "1 where this replica leads.", { $0.role == "leader" ? 1 : 0 }),
            ("quiet", "1 where the group has nothing to do.", { $0.quiet ? 1 : 0 }),
            ("voters", "Voting members.", { UInt64($0.voters.count) }),
        ]
        for (name, help, figure) in figures {
            page.gauges(
                "flotilla_group_" + name, help,
                status.groups.map { (["group": "\($0.group)", "kind": $0.kind], figure($0)) })
        }
        for counter in counters { page.counter("flotilla_\(counter.name)_total", counter.help, counter.value) }
        return page.text
    }
}

/// Metrics as they are written down, each with its help and type once.
struct MetricsPage {
    private(set) var text = ""

    mutating func gauge(_ name: String, _ help: String, _ value: UInt64) {
        gauges(name, help, [([:], value)])
    }

    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) counter\n\(name) \(value)\n"
    }

    mutating func gauges(
        _ name: String, _ help: String,
        _ samples: [(labels: KeyValuePairs<String, String>, value: UInt64)]
    ) {
        guard !samples.isEmpty else { return }
        text += "# HELP \(name) \(help)\n# TYPE \(name) gauge\n"
        for (labels, value) in samples {
            let pairs = labels.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }
            text +=
                name + (pairs.isEmpty ? "" : "{" + pairs.joined(separator: ",") + "}")
                + " \(value)\n"
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
