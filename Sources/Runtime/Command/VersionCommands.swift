import FlotillaIO

/// `flotilla workflow versions`.
enum VersionCommands {
    static let versions = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow versions",
            summary: "Shows which versions of workflows there are, which nodes have them, and which runs need them.",
            options: [APIClient.option, ClientCommands.json])
    ) { options in
        let value = try APIClient(options).get("/v1/workflow-versions")
        guard !options.has("json") else { return ClientCommands.printJSON(value) }
        var table = TextTable(
            ["TYPE", "VERSION", "NODES", "RUNNING", "PARKED", "PAUSED"], rightAligned: [1, 3, 4, 5])
        for version in value["versions"]?.elements ?? [] {
            let nodes = version["nodes"]?.elements.map(\.cell).joined(separator: ",") ?? ""
            table.add(
                [version["type"]?.cell ?? "", version["version"]?.cell ?? "", nodes.isEmpty ? "none" : nodes]
                    + ["running", "parked", "paused"].map { version[$0]?.cell ?? "" })
        }
        Terminal.write(table.text)
        for cluster in value["unavailable"]?.elements ?? [] { Terminal.writeLine("\(cluster.cell) did not answer") }
    }
}
