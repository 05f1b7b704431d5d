import FlotillaIO

/// The commands about what has happened: `flotilla workflow history` and `prune`.
enum HistoryCommands {
    static let all = [history, follow, prune]

    // MARK: Streams

    private static let follow = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow follow",
            summary: "Writes what a workflow emits, a line each, until it has ended.", arguments: ["ID"],
            options: [
                .value("stream", "NAME", "(default: \(WorkflowStreams.standard))"),
                .value("after", "PLACE", "go on behind an event"),
                ClientCommands.namespace, APIClient.option, ClientCommands.json,
            ])
    ) { options in
        let client = APIClient(options)
        var after = options.string("after")
        while true {
            let page = try client.get(
                ClientCommands.path(options.arguments[0]) + "/stream",
                query: [
                    ("stream", options.string("stream")), ("after", after), ("namespace", options.string("namespace")),
                ], wait: HTTPAPI.streamWaitDefault)
            for event in page["events"]?.elements ?? [] {
                if options.has("json") {
                    ClientCommands.printJSON(event)
                } else {
                    Terminal.writeLine("\(event["position"]?.cell ?? "")  \(event["value"]?.cell ?? "")")
                }
            }
            after = page["next"]?.text ?? after
            if page["ended"] == .bool(true) { return }
        }
    }

    // MARK: History

    private static let history = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow history",
            summary: "Shows what a workflow recorded; with --json all of it, with the values, for a replay.",
            arguments: ["ID"],
            options: [
                .value("limit", "N", "so many events at most (default: \(HTTPAPI.listLimitDefault); with --json: all)"),
                .value("after", "PLACE", "go on where the page before ended"),
                ClientCommands.namespace, APIClient.option, ClientCommands.json,
            ])
    ) { options in
        try ListCommands.checkLimit(options)
        let client = APIClient(options)
        let path = ClientCommands.path(options.arguments[0]) + "/history"
        func page(after: String?, limit: String?) throws -> JSONValue {
            try client.get(
                path,
                query: [
                    ("after", after), ("limit", limit), ("values", options.has("json") ? "1" : nil),
                    ("namespace", options.string("namespace")),
                ])
        }
        if !options.has("json") {
            Terminal.write(
                ClientTables.history(try page(after: options.string("after"), limit: options.string("limit"))))
        } else if options.has("limit") || options.has("after") {
            ClientCommands.printJSON(try page(after: options.string("after"), limit: options.string("limit")))
        } else {
            try export { try page(after: $0, limit: "\(HTTPAPI.listLimitMax)") }
        }
    }

    /// Writes one document, page by page: it may be larger than memory.
    private static func export(_ page: (_ after: String?) throws -> JSONValue) throws {
        var current = try page(nil)
        Terminal.write("{\"events\":[")
        var isFirst = true
        while true {
            for event in current["events"]?.elements ?? [] {
                Terminal.write((isFirst ? "" : ",\n") + String(decoding: event.canonicalBytes, as: UTF8.self))
                isFirst = false
            }
            guard let next = current["next"]?.text else { break }
            current = try page(next)
        }
        // The last page knows best how the run stands.
        let workflow = current["workflow"] ?? .null
        Terminal.writeLine(
            "],\"next\":null,\"workflow\":\(String(decoding: workflow.canonicalBytes, as: UTF8.self))}")
    }

    // MARK: Prune

    private static let prune = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow prune",
            summary: "Removes a workflow that has ended, or many, with all that they recorded.",
            arguments: ["[ID]"],
            options: [
                .flag("finished", "all that have ended, instead of one; the next two say which to keep"),
                .value("older-than", "DURATION", "those that ended so long ago, such as 12h or 7d"),
                .value("keep", "N", "all but the N that ended last"),
                ClientCommands.namespace, APIClient.option,
            ])
    ) { options in
        let client = APIClient(options)
        guard options.has("finished") else {
            guard let id = options.arguments.first else { throw options.fail("say which: an ID, or --finished") }
            guard !options.has("older-than"), !options.has("keep") else {
                throw options.fail("--older-than and --keep go with --finished")
            }
            let query = [("namespace", options.string("namespace"))]
            _ = try client.send("DELETE", ClientCommands.path(id), query: query)
            return Terminal.writeLine("\(id) is removed.")
        }
        guard options.arguments.isEmpty else { throw options.fail("an ID and --finished exclude each other") }
        if let age = options.string("older-than"), DurationText.parse(age, limit: DurationText.ageLimit) == nil {
            throw options.fail("--older-than \(age): write 30m, 12h or 7d, 3650d at most")
        }
        _ = try options.number("keep", in: 0...Int.max)
        var count: Int64 = 0
        while true {
            try Task.checkCancellation()
            let answer = try APIClient.parse(
                try client.send(
                    "DELETE", "/v1/workflows",
                    query: [
                        ("finished", "1"), ("olderThan", options.string("older-than")),
                        ("keep", options.string("keep")), ("namespace", options.string("namespace")),
                    ]
                ).body)
            if case .integer(let pruned)? = answer["pruned"] { count += pruned }
            guard answer["hasMore"] == .bool(true) else { break }
        }
        Terminal.writeLine("\(count) workflows are removed.")
    }
}
