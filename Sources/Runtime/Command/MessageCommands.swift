import FlotillaIO

/// The commands that tell a workflow something, or ask it: `flotilla workflow signal`, `update` and `query`, and
/// `flotilla awakeable resolve` and `reject`.
enum MessageCommands {
    static let all = [signal, update, query, resolve, reject]

    private static let jsonText = "JSON|@FILE|-"

    private static let signal = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow signal", summary: "Sends a signal to a workflow.", arguments: ["ID", "NAME"],
            options: [
                .value("value", jsonText, "what it says, from a file, or from standard input (default: null)"),
                .value("sender", "NAME", "who sends it; with --number it is safe to repeat"),
                .value("number", "N", "counts the sender's signals to the workflow, from 1"),
                ClientCommands.namespace, APIClient.option,
            ])
    ) { options in
        var body = try body(options, "value")
        body["sender"] = options.string("sender").map(JSONValue.string)
        if let number = try options.number("number", in: 1...Int64.max) { body["number"] = .integer(number) }
        _ = try APIClient(options).send("POST", path(options, "signals"), body: .object(body))
        Terminal.writeLine("\(options.arguments[0]) will receive it.")
    }

    private static let update = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow update", summary: "Asks a workflow to do something, and writes its answer, as JSON.",
            arguments: ["ID", "NAME"],
            options: [
                .value("input", jsonText, "the input, from a file, or from standard input (default: null)"),
                .value("id", "ID", "the update's id, which makes it safe to repeat (default: a new one)"),
                .value("wait", "DURATION", "how long to wait for the answer, a minute at most (default: 10s)"),
                ClientCommands.namespace, APIClient.option, ClientCommands.json,
            ])
    ) { options in
        var body = try body(options, "input")
        body["id"] = options.string("id").map(JSONValue.string)
        var wait = HTTPAPI.updateWaitDefault
        if let text = options.string("wait") {
            guard let duration = DurationText.parse(text) else {
                throw options.fail("--wait \(text): write 500ms, 30s or 1m")
            }
            wait = duration
        }
        let answer = try APIClient(options).send(
            "POST", path(options, "updates"), query: [("wait", options.string("wait"))], body: .object(body),
            wait: wait)
        let value = try APIClient.parse(answer.body)
        if options.has("json") { ClientCommands.printJSON(value) }
        let id = value["id"]?.cell ?? ""
        if answer.status == 202 { throw CommandError("\(id) is not answered yet; ask again with --id \(id)") }
        if let failure = value["failure"] {
            throw CommandError("\(id) was rejected: \(failure["message"]?.cell ?? "")")
        }
        if !options.has("json") { ClientCommands.printJSON(value["output"] ?? .null) }
    }

    private static let query = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow query", summary: "Asks a workflow something, and writes its answer, as JSON.",
            arguments: ["ID", "NAME"],
            options: [
                .value("input", jsonText, "the input, from a file, or from standard input (default: null)"),
                ClientCommands.namespace, APIClient.option,
            ])
    ) { options in
        let body = JSONValue.object(try body(options, "input"))
        let answer = try APIClient(options).send("POST", path(options, "queries"), body: body)
        ClientCommands.printJSON(try APIClient.parse(answer.body)["output"] ?? .null)
    }

    // MARK: Awakeables

    private static let resolve = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla awakeable resolve", summary: "Completes what a workflow waits for.", arguments: ["TOKEN"],
            options: [
                .value("value", jsonText, "what it gets, from a file, or from standard input (default: null)"),
                APIClient.option,
            ])
    ) { options in
        try complete(options, ["value": try ClientCommands.input(options, "value")])
        Terminal.writeLine("Completed.")
    }

    private static let reject = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla awakeable reject", summary: "Says no to what a workflow waits for.", arguments: ["TOKEN"],
            options: [.value("reason", "TEXT", "what it is told"), APIClient.option])
    ) { options in
        try complete(options, ["reject": .string(options.string("reason") ?? "")])
        Terminal.writeLine("Rejected.")
    }

    private static func complete(_ options: ParsedOptions, _ body: [String: JSONValue]) throws {
        let path = "/v1/awakeables/" + PercentEncoding.encode(options.arguments[0])
        _ = try APIClient(options).send("POST", path, body: .object(body))
    }

    // MARK: Below

    private static func path(_ options: ParsedOptions, _ what: String) -> String {
        ClientCommands.path(options.arguments[0]) + "/\(what)/" + PercentEncoding.encode(options.arguments[1])
    }

    private static func body(_ options: ParsedOptions, _ name: String) throws -> [String: JSONValue] {
        var body = [name: try ClientCommands.input(options, name)]
        body["namespace"] = options.string("namespace").map(JSONValue.string)
        return body
    }
}
