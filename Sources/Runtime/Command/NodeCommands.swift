import FlotillaIO

/// The commands about nodes of a running fleet: `flotilla node list` and so on.
enum NodeCommands {
    static let all = [list, remove, drain, resume, promote, demote]

    private static func command(
        _ verb: String, _ summary: String, arguments: [String] = [],
        options: [CommandDescription.Option] = [],
        run: @escaping @Sendable (ParsedOptions, APIClient) throws -> Void
    ) -> FlotillaCommand.Subcommand {
        FlotillaCommand.Subcommand(
            description: CommandDescription(
                "flotilla node \(verb)", summary: summary, arguments: arguments, options: options + [APIClient.option])
        ) { options in try run(options, APIClient(options)) }
    }

    private static let list = command(
        "list", "Lists nodes with their roles and load, and who is silent.", options: [ClientCommands.json]
    ) { options, client in
        let value = try client.get("/v1/nodes")
        if options.has("json") { return ClientCommands.printJSON(value) }
        Terminal.write(FleetTables.nodes(value["nodes"]?.elements ?? []))
    }

    private static let remove = command(
        "remove", "Takes a node out of the cluster for good; its id cannot come back with old data.", arguments: ["ID"]
    ) { options, client in
        let id = try id(options.arguments[0], options)
        _ = try client.send("DELETE", "/v1/nodes/\(id)")
        Terminal.writeLine("Node \(id) is removed.")
    }

    private static let drain = command(
        "drain", "Gives a node's places in clusters to others, before it leaves.", arguments: ["ID"],
        options: [ClientCommands.json]
    ) { options, client in
        let id = try id(options.arguments[0], options)
        let answer = try APIClient.parse(try client.send("POST", "/v1/nodes/\(id)/drain").body)
        if options.has("json") { return ClientCommands.printJSON(answer) }
        let what = answer["nodes"]?.elements.first?["waitsFor"]?.elements.first?.cell ?? ""
        Terminal.writeLine(
            "Node \(id) takes no more clusters" + (what.isEmpty ? "." : ": it \(what).")
                + " 'flotilla node resume \(id)' takes that back.")
    }

    private static let resume = command(
        "resume", "Takes a drain back.", arguments: ["ID"], options: [ClientCommands.json]
    ) { options, client in
        let id = try id(options.arguments[0], options)
        let answer = try APIClient.parse(try client.send("POST", "/v1/nodes/\(id)/resume").body)
        if options.has("json") { return ClientCommands.printJSON(answer) }
        Terminal.writeLine("Node \(id) may be given places in clusters again.")
    }

    // MARK: Roles

    private static let promote = command(
        "promote", "Makes nodes voters of the management group; an odd number of voters has to be left.",
        arguments: ["ID[,ID...]"],
        options: [.value("demote", "ID,...", "voters that become learners with it"), ClientCommands.json]
    ) { options, client in
        try changeRoles(
            promoted: try ids(options.arguments[0], options),
            demoted: try options.string("demote").map { try ids($0, options) } ?? [], options, client)
    }

    private static let demote = command(
        "demote", "Makes voters of the management group learners; an odd number of voters has to be left.",
        arguments: ["ID[,ID...]"],
        options: [.value("promote", "ID,...", "learners that become voters with it"), ClientCommands.json]
    ) { options, client in
        try changeRoles(
            promoted: try options.string("promote").map { try ids($0, options) } ?? [],
            demoted: try ids(options.arguments[0], options), options, client)
    }

    private static func changeRoles(
        promoted: [Int64], demoted: [Int64], _ options: ParsedOptions, _ client: APIClient
    ) throws {
        if let both = promoted.first(where: demoted.contains) {
            throw options.fail("node \(both) cannot be promoted and demoted at once")
        }
        let (first, verb) = promoted.first.map { ($0, "promote") } ?? (demoted[0], "demote")
        let body: [String: JSONValue] = [
            "promote": .array(promoted.map(JSONValue.integer)), "demote": .array(demoted.map(JSONValue.integer)),
        ]
        let answer = try APIClient.parse(
            try client.send("POST", "/v1/nodes/\(first)/\(verb)", body: .object(body)).body)
        if options.has("json") { return ClientCommands.printJSON(answer) }
        var lines = promoted.map { "Node \($0) is to vote in the management group, as soon as it has caught up." }
        lines += demoted.map { "Node \($0) is a learner of the management group from now on." }
        lines.append("The policy goes on choosing who votes: see 'flotilla policy show', voters and voter-selection.")
        for line in lines { Terminal.writeLine(line) }
    }

    // MARK: Parts

    static func id(_ text: String, _ options: ParsedOptions) throws -> Int64 {
        guard let id = Int64(text), id > 0 else {
            throw options.fail("\(text) is no node id; ids are numbers from 1 on")
        }
        return id
    }

    private static func ids(_ text: String, _ options: ParsedOptions) throws -> [Int64] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { try id(String($0), options) }
    }
}
