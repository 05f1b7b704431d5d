import FlotillaIO

/// The commands that ask a node over HTTP.
enum ClientCommands {
    static let all =
        [status] + NodeCommands.all + ClusterCommands.all + PolicyCommands.all + [start, describe, result]
        + ListCommands.all + ControlCommands.all + HistoryCommands.all + MessageCommands.all
        + ScheduleCommands.all + ObjectCommands.all + [VersionCommands.versions]

    static let json = CommandDescription.Option.flag(
        "json", "write what the node answered, as JSON")
    static let namespace = CommandDescription.Option.value(
        "namespace", "NAME", "(default: default)")

    static func printJSON(_ value: JSONValue) {
        Terminal.writeLine(String(decoding: value.canonicalBytes, as: UTF8.self))
    }

    // MARK: Nodes

    private static let status = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla status",
            summary: "Shows a node and its groups, all nodes and clusters, and what is stuck and why.",
            options: [
                APIClient.option, json, .flag("hash", "with the hashes of the replicas' states"),
            ])
    ) { options in
        let query = [("hash", options.has("hash") ? "1" : nil), ("fleet", "1")]
        let value = try APIClient(options).get("/v1/status", query: query)
        if options.has("json") {
            printJSON(value)
        } else {
            Terminal.write(ClientTables.status(value))
        }
    }

    // MARK: Workflows

    /// The trace that a start belongs to: as it is named, or as the caller's environment says.
    private static func traceHeaders(_ options: ParsedOptions) throws -> [(name: String, value: String)] {
        if let text = options.string("traceparent") {
            guard TraceContext(traceparent: text) != nil else {
                throw options.fail("--traceparent \(text): write 00-, 32 hexadecimal digits, -, 16 more, - and 01")
            }
            return [("traceparent", text)]
        }
        return Terminal.environment("TRACEPARENT").map { [("traceparent", $0)] } ?? []
    }

    private static let start = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow start",
            summary:
                "Starts a workflow; with an id that is taken by an equal start, finds that one.",
            arguments: ["TYPE"],
            options: [
                .value("version", "N", "(default: the newest)"),
                .value(
                    "id", "ID",
                    "the workflow's id, which makes the start safe to repeat (default: a new one)"),
                .value(
                    "input", "JSON|@FILE|-",
                    "the input, from a file, or from standard input (default: null)"),
                ListCommands.attributes("what lists find it by"),
                .value(
                    "traceparent", "VALUE",
                    "the trace that it belongs to, as in the HTTP header (default: $TRACEPARENT)"),
                .flag("wait", "wait for the result and write it"),
                namespace, APIClient.option, json,
            ])
    ) { options in
        var body: [String: JSONValue] = [
            "type": .string(options.arguments[0]), "input": try input(options),
        ]
        if let version = try options.number("version", in: 1...UInt32.max) {
            body["version"] = .integer(Int64(version))
        }
        if let id = options.string("id") { body["id"] = .string(id) }
        let attributes = try ListCommands.attributes(options)
        if !attributes.isEmpty {
            body["attributes"] = .object(
                Dictionary(attributes.map { ($0.name, JSONValue.string($0.value)) }) { $1 })
        }
        if let namespace = options.string("namespace") { body["namespace"] = .string(namespace) }
        let client = APIClient(options)
        let answer = try client.send(
            "POST", "/v1/workflows", body: .object(body), headers: try traceHeaders(options))
        let info = try APIClient.parse(answer.body)
        guard !options.has("wait") else {
            return try await printResult(of: info["id"]?.text ?? "", wait: nil, options)
        }
        if options.has("json") { return printJSON(info) }
        let verb = answer.status == 201 ? "Started" : "Was started before:"
        Terminal.writeLine("\(verb) \(info["id"]?.cell ?? "") (run \(info["run"]?.cell ?? ""))")
    }

    private static let describe = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow describe", summary: "Shows a workflow with its steps.",
            arguments: ["ID"],
            options: [namespace, APIClient.option, json])
    ) { options in
        let value = try APIClient(options).get(
            path(options.arguments[0]), query: [("namespace", options.string("namespace"))])
        if options.has("json") {
            printJSON(value)
        } else {
            Terminal.write(ClientTables.description(value))
        }
    }

    private static let result = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow result", summary: "Writes a workflow's result, as JSON.",
            arguments: ["ID"],
            options: [
                .value(
                    "wait", "DURATION",
                    "how long to wait for it, such as 30s (default: as long as it takes)"),
                namespace, APIClient.option, json,
            ])
    ) { options in
        var wait: Duration?
        if let text = options.string("wait") {
            guard let duration = DurationText.parse(text) else {
                throw options.fail("--wait \(text): write 500ms, 30s or 2m, a day at most")
            }
            wait = duration
        }
        try await printResult(of: options.arguments[0], wait: wait, options)
    }

    // MARK: Parts

    static func path(_ id: String) -> String {
        "/v1/workflows/" + PercentEncoding.encode(id)
    }

    /// Asks again and again until the workflow has ended or the time is over.
    private static func printResult(of id: String, wait: Duration?, _ options: ParsedOptions)
        async throws
    {
        let client = APIClient(options)
        let deadline = wait.map { ContinuousClock.now + $0 }
        while true {
            try Task.checkCancellation()
            let left = deadline.map { max(.zero, $0 - .now) } ?? .seconds(20)
            let part = min(left, .seconds(20))
            let milliseconds =
                part.components.seconds * 1_000 + part.components.attoseconds
                / 1_000_000_000_000_000
            let query = [("wait", "\(milliseconds)ms"), ("namespace", options.string("namespace"))]
            let answer = try client.send("GET", path(id) + "/result", query: query, wait: part)
            let value = try APIClient.parse(answer.body)
            if answer.status == 200 { return try printEnd(value, of: id, options) }
            if let deadline, deadline <= .now {
                throw CommandError("\(id) is still \(value["status"]?.cell ?? "running")")
            }
        }
    }

    private static func printEnd(_ value: JSONValue, of id: String, _ options: ParsedOptions) throws {
        if options.has("json") {
            printJSON(value)
        } else if let output = value["output"] {
            printJSON(output)
        }
        guard let failure = value["failure"] else {
            guard let status = value["status"]?.text, status != "completed" else { return }
            let reason = value["reason"]?.cell ?? ""
            throw CommandError("\(id) is \(status)" + (reason.isEmpty ? "" : ": \(reason)"))
        }
        throw CommandError(
            "\(id) failed: \(failure["type"]?.cell ?? ""): \(failure["message"]?.cell ?? "")")
    }

    /// The JSON that an option gives, names a file of, or has from standard input.
    static func input(_ options: ParsedOptions, _ name: String = "input") throws -> JSONValue {
        let text = options.string(name) ?? "null"
        let bytes: [UInt8]
        if text == "-" {
            bytes = try InputFile.read("/dev/stdin")
        } else if text.hasPrefix("@") {
            bytes = try InputFile.read(String(text.dropFirst()))
        } else {
            bytes = Array(text.utf8)
        }
        do {
            return try JSONValue(parsing: bytes)
        } catch {
            throw options.fail("--\(name) is not JSON: \(error.message)")
        }
    }
}
