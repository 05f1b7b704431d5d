import FlotillaIO

/// A node's answers as tables, for people.
enum ClientTables {
    /// Longer values are cut.
    private static let cellCharactersMax = 60

    static func status(_ status: JSONValue) -> String {
        let counts = status["workflows"]
        var facts = TextTable(["", ""])
        facts.add([
            "node",
            "\(cell(status, "node")) (boot \(cell(status, "boot")), flotilla \(cell(status, "version")))",
        ])
        facts.add(["cluster", cell(status, "cluster")])
        facts.add(["ready", status["ready"] == .bool(true) ? "yes" : "no"])
        facts.add([
            "workflows",
            ["running", "parked", "paused", "completed", "failed", "cancelled", "terminated", "continued"].map {
                "\(cell(counts, $0)) \($0)"
            }.joined(
                separator: ", ")
                + "; \(cell(counts, "owned")) run here",
        ])
        let fleet = status["fleet"] ?? .null
        for row in FleetTables.summary(fleet) { facts.add(row) }
        let problem = fleet["problem"]?.text.map { ["stuck: \($0)"] } ?? []
        let warnings = problem + (status["warnings"]?.elements ?? []).map { "warning: \($0.cell)" }
        return facts.text + warnings.map { $0 + "\n" }.joined() + "\n"
            + FleetTables.nodes(fleet["nodes"]?.elements ?? []) + "\n"
            + FleetTables.clusters(fleet["clusters"]?.elements ?? []) + "\nThis node's groups:\n"
            + groups(status["groups"]?.elements ?? [])
    }

    private static func groups(_ groups: [JSONValue]) -> String {
        let hasHashes = groups.contains { $0["stateHash"] != nil }
        var table = TextTable(
            [
                "GROUP", "KIND", "ROLE", "LEADER", "TERM", "COMMITTED", "APPLIED", "VOTERS",
                "LEARNERS",
            ]
                + (hasHashes ? ["STATE"] : []),
            rightAligned: [4, 5, 6])
        for group in groups {
            table.add(
                ["group", "kind", "role", "leader", "term", "commitIndex", "appliedIndex"].map {
                    cell(group, $0)
                }
                    + ["voters", "learners"].map { name in
                        (group[name]?.elements ?? []).map(\.cell).joined(separator: ",")
                    } + (hasHashes ? [cell(group, "stateHash")] : []))
        }
        return table.text
    }

    static func list(_ page: JSONValue) -> String {
        let names = ["id", "type", "version", "status", "owner", "startedAt", "finishedAt"]
        var table = TextTable(["ID", "TYPE", "VERSION", "STATUS", "OWNER", "STARTED", "FINISHED"])
        for workflow in page["workflows"]?.elements ?? [] {
            table.add(names.map { cell(workflow, $0) })
        }
        let more = page["next"]?.text.map { "More: --after \($0)\n" } ?? ""
        return table.text + missing(page) + more
    }

    static func count(_ count: JSONValue) -> String {
        var table = TextTable(["STATUS", "WORKFLOWS"], rightAligned: [1])
        for status in WorkflowStatus.allCases { table.add(["\(status)", cell(count["byStatus"], "\(status)")]) }
        table.add(["all", cell(count, "count")])
        return table.text + missing(count) + "As of \(cell(count, "asOf")).\n"
    }

    /// What is not in an answer, and why.
    private static func missing(_ answer: JSONValue) -> String {
        let clusters = (answer["unavailable"]?.elements ?? []).map(\.cell)
        return clusters.isEmpty
            ? "" : "Without the clusters \(clusters.joined(separator: ", ")), which do not answer.\n"
    }

    static func description(_ workflow: JSONValue) -> String {
        var facts = TextTable(["", ""])
        for (label, name) in [
            ("id", "id"), ("run", "run"), ("execution", "execution"), ("parent", "parent"), ("type", "type"),
            ("version", "version"), ("status", "status"),
            ("reason", "reason"), ("cancel requested", "cancelRequestedAt"),
            ("owner", "owner"), ("fencing token", "epoch"),
            ("started", "startedAt"),
            ("finished", "finishedAt"), ("attributes", "attributes"), ("trace", "traceparent"),
            ("forked from", "forkedFrom"), ("input", "input"),
            ("output", "output"),
        ] where workflow[name] != nil {
            add(label, cell(workflow, name), to: &facts)
        }
        for wait in workflow["waits"]?.elements ?? [] { add("waits", wait["description"]?.cell ?? "", to: &facts) }
        if let earlier = workflow["earlierSteps"]?.cell, earlier != "0" {
            facts.add(["earlier steps", "\(earlier) more, see flotilla workflow history"])
        }
        if let failure = workflow["failure"] {
            facts.add(["failure", "\(cell(failure, "type")): \(cell(failure, "message"))"])
        }
        var steps = TextTable(
            ["STEP", "OCCURRENCE", "RECORDED", "BYTES", "VALUE"], rightAligned: [1, 3])
        for step in workflow["steps"]?.elements ?? [] {
            steps.add(
                ["name", "occurrence", "recordedAt", "bytes", "value"].map { cell(step, $0) })
        }
        var failed = TextTable(["FAILED STEP", "OCCURRENCE", "ATTEMPTS", "NEXT", "FAILURE"], rightAligned: [1, 2])
        for step in workflow["failedSteps"]?.elements ?? [] {
            failed.add(
                ["name", "occurrence", "attempts", "nextAt"].map { cell(step, $0) }
                    + [cell(step["failure"], "message")])
        }
        let hasFailed = workflow["failedSteps"]?.elements.isEmpty == false
        var running = TextTable(
            ["RUNNING STEP", "OCCURRENCE", "ATTEMPT", "RECORDED", "PROGRESS"], rightAligned: [1, 2])
        let progress = workflow["progress"]?.elements ?? []
        for step in progress {
            running.add(["name", "occurrence", "attempt", "recordedAt", "value"].map { cell(step, $0) })
        }
        return facts.text + "\n" + steps.text + (hasFailed ? "\n" + failed.text : "")
            + (progress.isEmpty ? "" : "\n" + running.text)
    }

    /// A fact of several lines has its name beside the first.
    private static func add(_ label: String, _ text: String, to facts: inout TextTable) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for (number, line) in lines.enumerated() { facts.add([number == 0 ? label : "", line]) }
    }

    static func history(_ history: JSONValue) -> String {
        let workflow = history["workflow"]
        var facts = TextTable(["", ""])
        for (label, name) in [
            ("id", "id"), ("run", "run"), ("type", "type"), ("version", "version"), ("started", "startedAt"),
            ("input bytes", "inputBytes"), ("status", "status"), ("reason", "reason"),
            ("finished", "finishedAt"), ("output bytes", "outputBytes"),
        ] where workflow?[name] != nil {
            facts.add([label, cell(workflow, name)])
        }
        if let failure = workflow?["failure"] {
            facts.add(["failure", "\(cell(failure, "type")): \(cell(failure, "message"))"])
        }
        var events = TextTable(
            ["TIME", "KIND", "NAME", "OCCURRENCE", "OWNER", "ATTEMPT", "DURATION", "BYTES"],
            rightAligned: [3, 4, 5, 6, 7])
        for event in history["events"]?.elements ?? [] {
            events.add(
                ["time", "kind", "name", "occurrence", "owner", "attempt"].map { cell(event, $0) }
                    + [duration(event), event["failure"] == nil ? cell(event, "bytes") : "failed"])
        }
        let more = history["next"]?.text.map { "More: --after \($0)\n" } ?? ""
        return facts.text + "\n" + events.text + more
    }

    /// Of a step how long it took, of a sleep until when it lasts.
    private static func duration(_ event: JSONValue) -> String {
        if event["deadline"] != nil { return "until \(cell(event, "deadline"))" }
        guard case .integer(let nanoseconds)? = event["durationNanoseconds"] else { return "" }
        let microseconds = nanoseconds / 1_000
        let fraction = String(microseconds % 1_000)
        return "\(microseconds / 1_000)." + String(repeating: "0", count: 3 - fraction.count) + fraction + " ms"
    }

    private static func cell(_ object: JSONValue?, _ name: String) -> String {
        let text = object?[name]?.cell ?? ""
        return text.count <= cellCharactersMax ? text : text.prefix(cellCharactersMax - 3) + "..."
    }
}
