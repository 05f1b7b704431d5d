import FlotillaIO

/// `flotilla policy show` and `set`, and the policy that a founder brings with it.
enum PolicyCommands {
    static let all = [show, set]

    /// One option for each field.
    static let options = PolicyField.all.map { CommandDescription.Option.value($0.option, $0.placeholder, $0.help) }

    /// The fields that options name, as JSON; each is checked.
    static func members(_ options: ParsedOptions) throws(UsageError) -> [String: JSONValue] {
        var members: [String: JSONValue] = [:]
        var policy = ExecutionClusterPolicy()
        for field in PolicyField.all {
            guard let text = options.string(field.option) else { continue }
            members[field.name] = field.parse(text)
            do throws(PolicyFieldError) {
                try PolicyField.apply([field.name: field.parse(text)], to: &policy)
            } catch {
                throw options.fail("--\(field.option) \(text): write \(field.placeholder)")
            }
        }
        if let problem = policy.problem { throw options.fail(problem) }
        return members
    }

    private static let show = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla policy show", summary: "Shows how clusters are made, filled and moved, and who votes.",
            options: [APIClient.option, ClientCommands.json])
    ) { options in
        let policy = try APIClient(options).get("/v1/policy")
        if options.has("json") { return ClientCommands.printJSON(policy) }
        Terminal.write(FleetTables.policy(policy))
    }

    private static let set = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla policy set", summary: "Changes the policy of the whole fleet; what is not named stays as it is.",
            options: Self.options + [APIClient.option, ClientCommands.json])
    ) { options in
        let members = try members(options)
        guard !members.isEmpty else { throw options.fail("say what to change, such as --max-workflows 40") }
        let answer = try APIClient(options).send("PATCH", "/v1/policy", body: .object(members))
        let policy = try APIClient.parse(answer.body)
        if options.has("json") { return ClientCommands.printJSON(policy) }
        Terminal.write(FleetTables.policy(policy))
        Terminal.writeLine("It counts from now on; clusters follow with the next rebalancing.")
    }
}
