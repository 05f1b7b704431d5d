import FlotillaIO

/// The commands about execution clusters: `flotilla cluster list` and so on.
enum ClusterCommands {
    static let all = [list, describe, create, destroy, add, remove, drain, resume, recover]

    private static let options = [APIClient.option, ClientCommands.json]

    private static func command(
        _ verb: String, _ summary: String, arguments: [String] = [],
        options: [CommandDescription.Option] = [],
        run: @escaping @Sendable (ParsedOptions, APIClient) throws -> Void
    ) -> FlotillaCommand.Subcommand {
        FlotillaCommand.Subcommand(
            description: CommandDescription(
                "flotilla cluster \(verb)", summary: summary, arguments: arguments, options: options + Self.options)
        ) { options in try run(options, APIClient(options)) }
    }

    // MARK: Looking

    private static let list = command(
        "list", "Lists clusters in the order of their making, with what is stuck and why."
    ) {
        options, client in
        let value = try client.get("/v1/clusters")
        if options.has("json") { return ClientCommands.printJSON(value) }
        Terminal.write(FleetTables.clusters(value["clusters"]?.elements ?? []))
    }

    private static let describe = command(
        "describe", "Shows a cluster; of its id the beginning is enough.", arguments: ["ID"]
    ) { options, client in
        let value = try client.get(path(options.arguments[0]))
        if options.has("json") { return ClientCommands.printJSON(value) }
        Terminal.write(FleetTables.cluster(value))
    }

    // MARK: Changing

    private static let create = command(
        "create", "Makes a cluster.",
        options: [
            .value(
                "nodes", "N,N,...", "its members (default: those with the fewest places, as many as the policy wants)"),
            .value("type", "TYPE", "workflows of this type alone run there (default: all that are not pinned)"),
        ]
    ) { options, client in
        var body: [String: JSONValue] = [:]
        if let text = options.string("nodes") { body["nodes"] = .array(try nodes(text, options)) }
        body["pinnedType"] = options.string("type").map(JSONValue.string)
        let cluster = try APIClient.parse(try client.send("POST", "/v1/clusters", body: .object(body)).body)
        try report(
            cluster, options,
            "Created \(cluster["id"]?.cell ?? "") on nodes \(FleetTables.nodes(of: cluster)). "
                + "It takes runs as soon as a majority of them has heard, and gets homes of ids by itself.")
    }

    private static let destroy = command(
        "destroy", "Removes a cluster that is drained and sealed.", arguments: ["ID"],
        options: [.flag("force", "whatever it holds: its runs are lost")]
    ) { options, client in
        let id = try client.get(path(options.arguments[0]))["id"]?.cell ?? options.arguments[0]
        _ = try client.send("DELETE", path(id), query: [("force", options.has("force") ? "1" : nil)])
        try report(
            .object(["id": .string(id)]), options,
            "Destroyed \(id). Its nodes remove their replicas; one that is away does when it returns.")
    }

    private static let add = command(
        "add", "Takes a node into a cluster.", arguments: ["ID", "NODE"],
        options: [.flag("learner", "it gets the log and no vote")]
    ) { options, client in
        let cluster = try client.get(path(options.arguments[0]))
        let node = try NodeCommands.id(options.arguments[1], options)
        let role = options.has("learner") ? "learner" : "voter"
        let answer = try client.send(
            "PUT", path(cluster["id"]?.cell ?? "") + "/members/\(node)", body: .object(["role": .string(role)]))
        try report(
            try APIClient.parse(answer.body), options,
            "Node \(node) is to be a \(role) of \(cluster["id"]?.cell ?? "")"
                + (role == "voter" ? ". It follows as a learner until it has caught up, and votes then." : "."))
    }

    private static let remove = command("remove", "Takes a node out of a cluster.", arguments: ["ID", "NODE"]) {
        options, client in
        let id = try client.get(path(options.arguments[0]))["id"]?.cell ?? ""
        let node = try NodeCommands.id(options.arguments[1], options)
        _ = try client.send("DELETE", path(id) + "/members/\(node)")
        try report(
            .object(["id": .string(id)]), options,
            "Node \(node) is to leave \(id). Its runs there go on with the other members, and its replica is removed.")
    }

    private static let drain = command(
        "drain", "Moves a cluster's runs elsewhere; then it is sealed and removed.", arguments: ["ID"],
        options: [.value("into", "ID", "where they go (default: the cluster with the fewest)")]
    ) { options, client in
        var body: [String: JSONValue] = [:]
        body["into"] = options.string("into").map(JSONValue.string)
        let id = try client.get(path(options.arguments[0]))["id"]?.cell ?? ""
        let cluster = try APIClient.parse(try client.send("POST", path(id) + "/drain", body: .object(body)).body)
        let target = cluster["successor"]?.cell ?? ""
        try report(
            cluster, options,
            "\(id) takes no new runs. Those that it has go "
                + (target.isEmpty ? "to another cluster as soon as there is one" : "to \(target)")
                + "; when nothing is left it is sealed and removed. 'flotilla cluster resume' takes that back.")
    }

    private static let resume = command("resume", "Takes a drain back.", arguments: ["ID"]) { options, client in
        let id = try client.get(path(options.arguments[0]))["id"]?.cell ?? ""
        let cluster = try APIClient.parse(try client.send("POST", path(id) + "/resume").body)
        try report(cluster, options, "\(id) takes new runs again. Runs that have moved stay where they are.")
    }

    private static let recover = command(
        "recover", "Founds a cluster anew that has lost its majority for good, with what the best survivor has.",
        arguments: ["ID"],
        options: [.flag("force", "do it; without this it only says what would be done, and what may be lost")]
    ) { options, client in
        let path = path(options.arguments[0]) + "/recovery"
        let isForced = options.has("force")
        let plan =
            isForced
            ? try APIClient.parse(try client.send("POST", path, query: [("force", "1")]).body) : try client.get(path)
        if options.has("json") {
            ClientCommands.printJSON(plan)
        } else {
            Terminal.write(FleetTables.recovery(plan))
        }
        guard isForced else {
            throw CommandError("nothing was changed; repeat it with --force to carry it out")
        }
    }

    // MARK: Parts

    private static func path(_ id: String) -> String { "/v1/clusters/" + PercentEncoding.encode(id) }

    static func nodes(_ text: String, _ options: ParsedOptions) throws -> [JSONValue] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map {
            .integer(try NodeCommands.id(String($0), options))
        }
    }

    private static func report(_ value: JSONValue, _ options: ParsedOptions, _ text: String) throws {
        if options.has("json") { ClientCommands.printJSON(value) } else { Terminal.writeLine(text) }
    }
}
