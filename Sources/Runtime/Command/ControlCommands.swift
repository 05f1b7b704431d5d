import FlotillaIO

/// The commands that do something to a run, one for each action: `flotilla workflow cancel` and so on.
enum ControlCommands {
    static let all = WorkflowAction.allCases.map(command) + [fork]

    private static let fork = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla workflow fork",
            summary: "Starts a workflow with what another one had recorded before a step.", arguments: ["ID"],
            options: [
                .value("from", "STEP", "what is done again, and all behind it: its name, or NAME#N (required)"),
                .value("id", "NEW", "the new workflow's id (default: a new one)"),
                ClientCommands.namespace, APIClient.option, ClientCommands.json,
            ])
    ) { options in
        guard let step = options.string("from") else { throw options.fail("--from is missing: the name of a step") }
        var body: [String: JSONValue] = ["from": .string(step)]
        for name in ["id", "namespace"] { body[name] = options.string(name).map(JSONValue.string) }
        let id = options.arguments[0]
        let answer = try APIClient(options).send("POST", ClientCommands.path(id) + "/fork", body: .object(body))
        let info = try APIClient.parse(answer.body)
        if options.has("json") { return ClientCommands.printJSON(info) }
        Terminal.writeLine("Started \(info["id"]?.cell ?? "") (run \(info["run"]?.cell ?? "")) from \(id) at \(step).")
    }

    private static func command(_ action: WorkflowAction) -> FlotillaCommand.Subcommand {
        FlotillaCommand.Subcommand(
            description: CommandDescription(
                "flotilla workflow \(action)", summary: summary(action), arguments: ["ID"],
                options: [
                    .value("reason", "TEXT", "kept with the workflow"),
                    ClientCommands.namespace, APIClient.option, ClientCommands.json,
                ])
        ) { options in
            var body: [String: JSONValue] = [:]
            for name in ["reason", "namespace"] { body[name] = options.string(name).map(JSONValue.string) }
            let id = options.arguments[0]
            let answer = try APIClient(options).send(
                "POST", ClientCommands.path(id) + "/\(action)", body: .object(body))
            let info = try APIClient.parse(answer.body)
            if options.has("json") { return ClientCommands.printJSON(info) }
            let status = info["status"]?.text
            let isToEnd = action == .cancel && status != WorkflowStatus.cancelled.description
            Terminal.writeLine("\(id) is \(status ?? "")" + (isToEnd ? ", and is to end." : "."))
        }
    }

    private static func summary(_ action: WorkflowAction) -> String {
        switch action {
        case .cancel: "Asks a workflow to end; it may clean up first."
        case .terminate: "Ends a workflow at once, wherever it is."
        case .pause: "Takes a workflow from its node until it is resumed."
        case .resume: "Lets a paused workflow go on."
        case .retry: "Runs a failed workflow again, from the step that failed."
        }
    }
}
