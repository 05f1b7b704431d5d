import FlotillaIO

/// `flotilla schedule`: workflows that are started at certain times.
enum ScheduleCommands {
    static let all =
        [create, replace, list, describe, delete, backfill]
        + [
            ("pause", "Lets a schedule fire no more, until it is resumed."),
            ("resume", "Lets a paused schedule fire again; what was missed is left out."),
            ("trigger", "Lets a schedule fire now."),
        ].map(change)

    private static let timing: [CommandDescription.Option] = [
        .value("cron", "EXPRESSION", "minute hour day month weekday, such as '30 6 * * 1-5'"),
        .value("time-zone", "NAME", "whose clock cron goes by, such as Europe/Berlin (default: UTC)"),
        .value("every", "SECONDS", "instead of --cron: the time between two firings"),
        .value("version", "N", "of the workflow (default: the newest at each firing)"),
        .value("input", "JSON|@FILE|-", "the input of each workflow (default: null)"),
        ListCommands.attributes("of each workflow"),
        .value(
            "overlap", "POLICY", "what a firing does while the last one's workflow runs: skip, queue, cancel or allow"),
        .value("jitter", "SECONDS", "puts each firing off by a part of this"),
        .value("catch-up", "SECONDS", "firings that come later are left out (default: 3600)"),
    ]

    private static let create = command(
        "create", "Starts a workflow at certain times.", ["NAME", "TYPE"],
        timing + [.flag("paused", "it fires only once it is resumed")]
    ) { options in
        var body = try schedule(options)
        body["name"] = .string(options.arguments[0])
        if options.has("paused") { body["paused"] = .bool(true) }
        return try APIClient.parse(
            try APIClient(options).send("POST", "/v1/schedules", body: .object(body)).body)
    }

    private static let replace = command(
        "replace", "Gives a schedule other times, or another workflow.", ["NAME", "TYPE"], timing
    ) { options in
        try APIClient.parse(
            try APIClient(options).send("PUT", path(options), body: .object(try schedule(options))).body)
    }

    private static let describe = command("describe", "Shows a schedule, and what came of it.", ["NAME"], []) {
        options in
        try APIClient(options).get(path(options))
    }

    private static let backfill = command(
        "backfill", "Fires for a time that is over.", ["NAME"],
        [
            .value("from", "TIME", "such as 2026-11-22T08:00:00Z (required)"),
            .value("to", "TIME", "before this moment (required)"),
        ]
    ) { options in
        var body: [String: JSONValue] = [:]
        for name in ["from", "to"] {
            guard let moment = options.string(name) else { throw options.fail("--\(name) is missing: a moment") }
            body[name] = .string(moment)
        }
        return try APIClient.parse(
            try APIClient(options).send("POST", path(options) + "/backfill", body: .object(body)).body)
    }

    private static let list = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla schedule list", summary: "Lists schedules.", options: [APIClient.option, ClientCommands.json])
    ) { options in
        let value = try APIClient(options).get("/v1/schedules")
        guard !options.has("json") else { return ClientCommands.printJSON(value) }
        var table = TextTable(["NAME", "WORKFLOW", "WHEN", "NEXT", "FIRED", "SKIPPED"], rightAligned: [4, 5])
        for schedule in value["schedules"]?.elements ?? [] {
            table.add([
                schedule["name"]?.cell ?? "", schedule["workflow"]?.cell ?? "", timing(of: schedule),
                schedule["paused"] == .bool(true) ? "paused" : schedule["next"]?.elements.first?.cell ?? "never",
                schedule["fired"]?.cell ?? "", schedule["skipped"]?.cell ?? "",
            ])
        }
        Terminal.write(table.text)
    }

    private static let delete = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla schedule delete", summary: "Ends a schedule; what it has started goes on.", arguments: ["NAME"],
            options: [APIClient.option])
    ) { options in
        _ = try APIClient(options).send("DELETE", path(options))
        Terminal.writeLine("\(options.arguments[0]) is deleted.")
    }

    private static func change(_ verb: String, _ summary: String) -> FlotillaCommand.Subcommand {
        let note = CommandDescription.Option.value("note", "TEXT", "why; kept with the schedule")
        return command(verb, summary, ["NAME"], verb == "pause" ? [note] : []) { options in
            let body = options.string("note").map { ["note": JSONValue.string($0)] } ?? [:]
            return try APIClient.parse(
                try APIClient(options).send("POST", path(options) + "/\(verb)", body: .object(body)).body)
        }
    }

    // MARK: Parts

    private static func path(_ options: ParsedOptions) -> String {
        "/v1/schedules/" + PercentEncoding.encode(options.arguments[0])
    }

    /// A command that shows the schedule as it then is.
    private static func command(
        _ verb: String, _ summary: String, _ arguments: [String], _ options: [CommandDescription.Option],
        _ body: @escaping @Sendable (ParsedOptions) throws -> JSONValue
    ) -> FlotillaCommand.Subcommand {
        FlotillaCommand.Subcommand(
            description: CommandDescription(
                "flotilla schedule \(verb)", summary: summary, arguments: arguments,
                options: options + [APIClient.option, ClientCommands.json])
        ) { options in
            let value = try body(options)
            if options.has("json") {
                ClientCommands.printJSON(value)
            } else {
                Terminal.write(text(of: value))
            }
        }
    }

    private static func schedule(_ options: ParsedOptions) throws -> [String: JSONValue] {
        var body: [String: JSONValue] = [
            "workflow": .string(options.arguments[1]), "input": try ClientCommands.input(options),
        ]
        body["cron"] = options.string("cron").map(JSONValue.string)
        body["timeZone"] = options.string("time-zone").map(JSONValue.string)
        body["overlap"] = options.string("overlap").map(JSONValue.string)
        for (name, member) in [
            ("every", "everySeconds"), ("jitter", "jitterSeconds"), ("catch-up", "catchUpSeconds"),
            ("version", "version"),
        ] {
            if let number = try options.number(name, in: 0...Int64(Int32.max)) { body[member] = .integer(number) }
        }
        let attributes = try ListCommands.attributes(options).map { ($0.name, JSONValue.string($0.value)) }
        if !attributes.isEmpty { body["attributes"] = .object(Dictionary(attributes) { $1 }) }
        return body
    }

    private static func timing(of schedule: JSONValue) -> String {
        guard let cron = schedule["cron"]?.text else { return "every \(schedule["everySeconds"]?.cell ?? "") s" }
        return "\(cron) (\(schedule["timeZone"]?.cell ?? ""))"
    }

    static func text(of schedule: JSONValue) -> String {
        var facts = TextTable(["", ""])
        facts.add(["name", schedule["name"]?.cell ?? ""])
        facts.add(["workflow", schedule["workflow"]?.cell ?? ""])
        facts.add(["when", timing(of: schedule)])
        for (label, name) in [
            ("overlap", "overlap"), ("paused", "paused"), ("note", "note"), ("running", "running"),
            ("queued", "queued"), ("fired", "fired"), ("skipped", "skipped"), ("problem", "problem"),
        ] where schedule[name] != nil {
            facts.add([label, schedule[name]?.cell ?? ""])
        }
        for next in schedule["next"]?.elements ?? [] { facts.add(["next", next.cell]) }
        for firing in schedule["recent"]?.elements ?? [] { facts.add(["fired", firing["workflow"]?.cell ?? ""]) }
        return facts.text
    }
}
