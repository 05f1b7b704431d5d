import FlotillaIO

/// Nodes, clusters and the policy as tables, for people: a line each, however many there are, and what is stuck below.
enum FleetTables {
    static func nodes(_ nodes: [JSONValue]) -> String {
        var table = TextTable(
            ["NODE", "ROLE", "STATE", "CLUSTERS", "RUNS", "PEERS", "HTTP", "LABELS"], rightAligned: [0, 3, 4])
        for node in nodes {
            table.add([
                cell(node, "id"), cell(node, "role"), state(of: node), cell(node, "clusters"), rounded(node["load"]),
                cell(node, "address"), cell(node, "http"), labels(of: node),
            ])
        }
        return table.text + waits(nodes) { "node \(cell($0, "id"))" }
    }

    static func clusters(_ clusters: [JSONValue]) -> String {
        let names = shortNames(clusters)
        var table = TextTable(
            ["CLUSTER", "GROUP", "PHASE", "LEADER", "MEMBERS", "RUNS", "SLOTS", "CREATED", "TYPE"],
            rightAligned: [1, 3, 5, 6])
        for cluster in clusters {
            table.add([
                names[cell(cluster, "id")] ?? "", cell(cluster, "group"), cell(cluster, "phase"),
                cell(cluster, "leader"), nodes(of: cluster), cell(cluster, "workflows"), cell(cluster, "slots"),
                String(cell(cluster, "createdAt").prefix(19)), cell(cluster, "pinnedType"),
            ])
        }
        return table.text + problems(clusters) + waits(clusters) { "cluster \(names[cell($0, "id")] ?? "")" }
    }

    static func cluster(_ cluster: JSONValue) -> String {
        var facts = TextTable(["", ""])
        for (label, name) in [
            ("id", "id"), ("group", "group"), ("incarnation", "incarnation"), ("phase", "phase"),
            ("drains into", "successor"), ("created", "createdAt"), ("idle since", "idleSince"),
            ("runs only", "pinnedType"), ("leader", "leader"), ("runs", "workflows"), ("slots", "slots"),
        ] where cluster[name] != nil {
            facts.add([label, cell(cluster, name)])
        }
        if case .object(let types)? = cluster["activeWorkflows"], !types.isEmpty {
            let counts = types.sorted { $0.key < $1.key }.map { "\($0.value.cell) \($0.key)" }
            facts.add(["of them", counts.joined(separator: ", ")])
        }
        var members = TextTable(["NODE", "WANTED AS", "IS"], rightAligned: [0])
        let (voters, learners) = (numbers(cluster, "voters"), numbers(cluster, "learners"))
        for member in cluster["members"]?.elements ?? [] {
            guard case .integer(let node)? = member["node"] else { continue }
            let now = voters.contains(node) ? "voter" : learners.contains(node) ? "learner" : "no member yet"
            members.add(["\(node)", cell(member, "role"), now])
        }
        return facts.text + "\n" + members.text + problems([cluster])
            + waits([cluster]) { _ in "it" }
    }

    static func policy(_ policy: JSONValue) -> String {
        var table = TextTable(["", "", ""])
        for field in PolicyField.all {
            let value = policy[field.name] ?? .null
            let text = value.elements.isEmpty ? value.cell : value.elements.map(\.cell).joined(separator: ",")
            table.add([field.option, text == "[]" ? "none" : text, field.help])
        }
        return table.text
    }

    /// The part of `flotilla status` about the fleet as a whole.
    static func summary(_ fleet: JSONValue) -> [[String]] {
        let nodes = fleet["nodes"]?.elements ?? []
        let voters = nodes.filter { cell($0, "role") == "voter" }.compactMap(number)
        let mode =
            switch cell(fleet, "mode") {
            case "single": "one cluster for everything"
            case "migrating": "leaving the one cluster for everything"
            default: "execution clusters"
            }
        let leader = cell(fleet, "leader")
        return [
            ["fleet", "\(nodes.count) nodes, \(fleet["clusters"]?.elements.count ?? 0) clusters: \(mode)"],
            [
                "load",
                "\(cell(fleet, "workflows")) runs, \(percent(fleet["utilisation"])) of the room; the busiest node is "
                    + "\(percent(fleet["imbalance"])) above the mean",
            ],
            [
                "management",
                "voters \(ranges(voters)); " + (leader.isEmpty ? "no leader" : "led by node \(leader)"),
            ],
        ]
    }

    // MARK: Stuck and under way

    private static func problems(_ clusters: [JSONValue]) -> String {
        let names = shortNames(clusters)
        let lines = clusters.compactMap { cluster in
            cluster["problem"]?.text.map { "cluster \(names[cell(cluster, "id")] ?? ""): \($0)\n" }
        }
        return lines.isEmpty ? "" : "\nStuck:\n" + lines.map { "  \($0)" }.joined()
    }

    private static func waits(_ values: [JSONValue], name: (JSONValue) -> String) -> String {
        let lines = values.flatMap { value in
            (value["waitsFor"]?.elements ?? []).map { "  \(name(value)): \($0.cell)\n" }
        }
        return lines.isEmpty ? "" : "\nUnder way:\n" + lines.joined()
    }

    // MARK: Cells

    /// A cluster's nodes, such as "1-3,7".
    static func nodes(of cluster: JSONValue) -> String {
        ranges(
            (cluster["members"]?.elements ?? []).compactMap { member in
                if case .integer(let node)? = member["node"] { node } else { nil }
            })
    }

    /// Ascending numbers; three in a row and more are written as a range.
    static func ranges(_ numbers: [Int64]) -> String {
        var parts: [String] = []
        var rest = numbers[...]
        while let first = rest.first {
            let run = rest.enumerated().prefix { $0.element == first + Int64($0.offset) }.count
            parts += run >= 3 ? ["\(first)-\(first + Int64(run) - 1)"] : rest.prefix(run).map { "\($0)" }
            rest = rest.dropFirst(run)
        }
        return parts.joined(separator: ",")
    }

    /// Of each id as much as tells it from the others, eight characters at least.
    static func shortNames(_ clusters: [JSONValue]) -> [String: String] {
        let ids = clusters.map { cell($0, "id") }
        var length = 8
        while length < 36, Set(ids.map { $0.prefix(length) }).count < Set(ids).count { length += 1 }
        return Dictionary(ids.map { ($0, String($0.prefix(length))) }) { first, _ in first }
    }

    private static func state(of node: JSONValue) -> String {
        let silence: String? =
            switch node["silentFor"] {
            case .number(let seconds)?: "silent \(Int64(seconds)) s"
            case .integer(let seconds)?: "silent \(seconds) s"
            default: nil
            }
        let parts = [silence, node["isDraining"] == .bool(true) ? "draining" : nil].compactMap(\.self)
        return parts.isEmpty ? "ok" : parts.joined(separator: ", ")
    }

    private static func labels(of node: JSONValue) -> String {
        guard case .object(let labels)? = node["labels"] else { return "" }
        return labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.cell)" }.joined(separator: ",")
    }

    private static func number(_ node: JSONValue) -> Int64? {
        if case .integer(let id)? = node["id"] { id } else { nil }
    }

    private static func numbers(_ value: JSONValue, _ name: String) -> [Int64] {
        (value[name]?.elements ?? []).compactMap { if case .integer(let number) = $0 { number } else { nil } }
    }

    private static func double(_ value: JSONValue?) -> Double {
        switch value {
        case .integer(let number)?: Double(number)
        case .number(let number)?: number
        default: 0
        }
    }

    private static func percent(_ value: JSONValue?) -> String { "\(Int((double(value) * 100).rounded())) %" }

    /// With one decimal, where there is one.
    private static func rounded(_ value: JSONValue?) -> String {
        let tenths = Int64((double(value) * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }

    private static func cell(_ object: JSONValue, _ name: String) -> String { object[name]?.cell ?? "" }
}
