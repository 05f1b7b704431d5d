import FlotillaIO

/// `flotilla object call` and `show`.
enum ObjectCommands {
    static let all = [call, show]

    private static let call = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla object call", summary: "Calls a method of a durable object, and writes its answer, as JSON.",
            arguments: ["OBJECT", "KEY", "METHOD"],
            options: [
                .value("input", "JSON|@FILE|-", "the input, from a file, or from standard input (default: null)"),
                .value("id", "ID", "the call's id, which makes it safe to repeat (default: a new one)"),
                APIClient.option,
            ])
    ) { options in
        var body = ["input": try ClientCommands.input(options)]
        body["id"] = options.string("id").map(JSONValue.string)
        let answer = try APIClient(options).send(
            "POST", path(options) + "/" + PercentEncoding.encode(options.arguments[2]), body: .object(body))
        guard answer.status == 200 else {
            let id = try APIClient.parse(answer.body)["id"]?.text ?? ""
            throw CommandError("the object has not answered in time; ask again with --id \(id)")
        }
        ClientCommands.printJSON(try APIClient.parse(answer.body)["output"] ?? .null)
    }

    private static let show = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla object show", summary: "Writes the state of a durable object, as JSON.",
            arguments: ["OBJECT", "KEY"], options: [APIClient.option])
    ) { options in
        ClientCommands.printJSON(try APIClient(options).get(path(options))["state"] ?? .null)
    }

    private static func path(_ options: ParsedOptions) -> String {
        "/v1/objects/" + PercentEncoding.encode(options.arguments[0]) + "/"
            + PercentEncoding.encode(options.arguments[1])
    }
}
