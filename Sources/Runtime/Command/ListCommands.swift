import FlotillaIO

/// `flotilla workflow list` and `count`, and the options that say which workflows are meant.
enum ListCommands {
    static let all = [list, count]

    private static let filter: [CommandDescription.Option] = [
        .value(
            "status", "STATUS",
            "only " + WorkflowStatus.allCases.map(\.description).joined(separator: ", ") + " ones"),
        .value("type", "TYPE", "only those of a type"),
        attributes("only those with all of these attributes"),
        .value("started-from", "TIME", "only those started then or later, such as 2026-11-22T08:00:00Z"),
        .value("started-before", "TIME", "only those started before"),
    ]

    static func attributes(_ help: String) -> CommandDescription.Option {
        .value("attributes", "NAME=VALUE,...", help)
    }

    private static let list = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow list", summary: "Lists workflows in the order of their starts.",
            options: filter + [
                .value("limit", "N", "so many at most (default: \(HTTPAPI.listLimitDefault))"),
                .value("after", "PLACE", "go on where the page before ended"),
                ClientCommands.namespace, APIClient.option, ClientCommands.json,
            ])
    ) { options in
        try checkLimit(options)
        let value = try APIClient(options).get(
            "/v1/workflows", query: try query(options) + ["limit", "after"].map { ($0, options.string($0)) })
        if options.has("json") {
            ClientCommands.printJSON(value)
        } else {
            Terminal.write(ClientTables.list(value))
        }
    }

    private static let count = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow count", summary: "Counts workflows, by status.",
            options: filter + [ClientCommands.namespace, APIClient.option, ClientCommands.json])
    ) { options in
        let value = try APIClient(options).get("/v1/workflow-count", query: try query(options))
        if options.has("json") {
            ClientCommands.printJSON(value)
        } else {
            Terminal.write(ClientTables.count(value))
        }
    }

    /// - Throws: `UsageError` where an attribute is not written as one.
    static func attributes(_ options: ParsedOptions) throws -> [AttributeText] {
        try (options.string("attributes") ?? "").split(separator: ",").map { text in
            guard let attribute = AttributeText(text) else {
                throw options.fail("--attributes \(text): write NAME=VALUE, and a comma before the next")
            }
            return attribute
        }
    }

    /// - Throws: `UsageError` where `--limit` is no number that a node takes.
    static func checkLimit(_ options: ParsedOptions) throws(UsageError) {
        _ = try options.number("limit", in: 1...HTTPAPI.listLimitMax)
    }

    private static func query(_ options: ParsedOptions) throws -> [(String, String?)] {
        [
            ("status", options.string("status")), ("type", options.string("type")),
            ("startedFrom", options.string("started-from")), ("startedBefore", options.string("started-before")),
            ("namespace", options.string("namespace")),
        ] + (try attributes(options).map { ("attribute", "\($0.name)=\($0.value)") })
    }
}
