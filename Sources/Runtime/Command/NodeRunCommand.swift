import FlotillaActors
import FlotillaIO

/// `flotilla node run`
enum NodeRunCommand {
    static let description = CommandDescription(
        "flotilla node run",
        summary: "Runs a node until SIGTERM or SIGINT, which hand its work over first.",
        options: [
            .value("id", "N", "this node's number in the cluster, from 1 on (required)"),
            .value("listen", "HOST:PORT", "where peers connect (required)"),
            .value(
                "advertise", "HOST:PORT", "what peers are told to connect to (default: --listen)"),
            .value("http", "HOST:PORT", "where the HTTP interface listens (default: none)"),
            .value("clients", "HOST:PORT", "where programs connect that use FlotillaClient (default: nowhere)"),
            .value("data", "DIR", "where the log is kept; this or --memory"),
            .value(
                "storage", "FORMAT", "how --data keeps the log: log, or rocksdb (default: what is there, else log)"),
            .value(
                "keep-finished", "DURATION|N|forever",
                "how long workflows are kept after their end, or how many (default: 30d and 100000)"),
            .value(
                "executor-timeout", "DURATION",
                "a node that was silent for this long loses the workflows that it runs, where this one leads "
                    + "(default: 1s)"),
            .value(
                "payload-file-limit", "BYTES", "longer commands are in files beside the log (default: 262144)"),
            .flag("memory", "keep nothing on disk: what this node held is lost when it ends"),
            .flag(
                "bootstrap",
                "found a cluster, unless the data belongs to one; with --join, unless one of those does"
            ),
            .value(
                "join", "HOST:PORT,...",
                "nodes to ask for membership, unless the data belongs to a cluster"),
            .value(
                "role", "voter|learner",
                "whether this node is to vote in the management group (default: as the policy chooses)"),
            .value("label", "KEY=VALUE,...", "what is to be known of this node, such as zone=b"),
            .flag(
                "insecure",
                "listen beyond loopback, although connections are neither encrypted nor authenticated"
            ),
            .value(
                "log-level", "LEVEL",
                "trace, debug, info, notice, warning, error or critical (default: info)"),
        ] + PayloadOptions.options + AdmissionOptions.options
            + PolicyCommands.options.map { .value($0.name, $0.placeholder ?? "", "with --bootstrap: \($0.help)") })

    static func subcommand(workflows: [any RegisterableWorkflow]) -> FlotillaCommand.Subcommand {
        FlotillaCommand.Subcommand(description: description) { options in
            try await run(try configuration(options), workflows: workflows)
        }
    }

    /// - Throws: `UsageError` for what is missing or does not go together.
    static func configuration(_ options: ParsedOptions) throws(UsageError) -> NodeConfiguration {
        guard let id = try options.number("id", in: 1...UInt64.max) else {
            throw options.fail("--id is missing")
        }
        guard let listen = options.string("listen") else {
            throw options.fail("--listen is missing")
        }
        let data: NodeConfiguration.DataLocation
        switch (options.string("data"), options.has("memory")) {
        case (let directory?, false): data = .directory(directory)
        case (nil, true): data = .memory
        case (nil, false): throw options.fail("say where the data is kept: --data DIR, or --memory")
        case (_?, true): throw options.fail("--data and --memory exclude each other")
        }
        var format: StorageFormat?
        if let name = options.string("storage") {
            guard !options.has("memory") else { throw options.fail("--memory and --storage exclude each other") }
            format = try StorageFormat(option: name, options)
        }
        let payloadFileLimit = try options.number("payload-file-limit", in: 0...1 << 30)
        let seeds = (options.string("join") ?? "").split(separator: ",").map(String.init)
        let levelName = options.string("log-level") ?? "info"
        guard let level = LogLines.level(named: levelName) else {
            throw options.fail("--log-level \(levelName): no such level")
        }
        var configuration = NodeConfiguration(
            id: id, listen: listen, http: options.string("http"), data: data, join: seeds,
            logger: LogLines.logger(level: level))
        // Neither is fine as well, where the data belongs to a cluster; where it does not, the node says so.
        configuration.founds = options.has("bootstrap")
        configuration.executionClusterPolicy = try policy(options)
        if let name = options.string("role") {
            guard let role = NodeRole(name: name) else {
                throw options.fail("--role \(name): there are voter and learner")
            }
            configuration.managementRole = role
        }
        for text in (options.string("label") ?? "").split(separator: ",") {
            guard let label = NodeLabel(String(text)) else { throw options.fail("--label \(text): write KEY=VALUE") }
            guard configuration.labels.updateValue(label.value.text, forKey: label.key.text) == nil else {
                throw options.fail("--label names \(label.key.text) twice")
            }
        }
        configuration.storage = format
        configuration.codec = try PayloadOptions.coding(options)
        if let path = options.string("payload-store") { configuration.payloadStore = DirectoryPayloadStore(path) }
        if let most = try options.number("max-payload", in: 1...UInt64(WorkflowLimits.payloadBytesMax)) {
            (configuration.limits.inputBytesMax, configuration.limits.resultBytesMax) = (Int(most), Int(most))
        }
        configuration.admission = try AdmissionOptions.limits(options)
        if let text = options.string("keep-finished") { configuration.retention = try retention(text, options) }
        if let payloadFileLimit { configuration.payloadFileLimit = Int(payloadFileLimit) }
        configuration.advertise = options.string("advertise")
        configuration.clients = options.string("clients")
        if let text = options.string("executor-timeout") {
            guard let timeout = DurationText.parse(text), timeout >= .milliseconds(100) else {
                throw options.fail("--executor-timeout \(text): write 300ms or 2s, 100ms at least")
            }
            configuration.executorFailureTimeout = timeout
        }
        configuration.allowsInsecureListening = options.has("insecure")
        return configuration
    }

    private static func policy(_ options: ParsedOptions) throws(UsageError) -> ExecutionClusterPolicy? {
        let members = try PolicyCommands.members(options)
        guard !members.isEmpty else { return nil }
        guard options.has("bootstrap") else {
            let named = PolicyField.all.filter { members[$0.name] != nil }.map { "--\($0.option)" }
            throw options.fail(
                "\(named.joined(separator: ", ")): a policy goes with --bootstrap; flotilla policy set changes it later"
            )
        }
        var policy = ExecutionClusterPolicy()
        do throws(PolicyFieldError) {
            try PolicyField.apply(members, to: &policy)
        } catch {
            throw options.fail("\(error.field.option): \(error.message)")
        }
        return policy
    }

    private static func retention(_ text: String, _ options: ParsedOptions) throws(UsageError) -> WorkflowRetention {
        if text == "forever" { return .forever }
        if let count = Int(text), count >= 0 { return WorkflowRetention(age: nil, count: count) }
        guard let age = DurationText.parse(text, limit: DurationText.ageLimit) else {
            throw options.fail("--keep-finished \(text): write 12h or 7d (3650d at most), a number, or forever")
        }
        return WorkflowRetention(age: age, count: nil)
    }

    private static func run(
        _ configuration: NodeConfiguration, workflows: [any RegisterableWorkflow]
    ) async throws {
        warnLoudly(configuration)
        do {
            try await TerminationSignals.cancelling {
                try await withNode(configuration, workflows: workflows) { _ in
                    while true { try await Task.sleep(for: .seconds(3_600)) }
                }
            }
        } catch is CancellationError {
            // What a signal asked for: an orderly stop is a success.
        }
    }

    private static func warnLoudly(_ configuration: NodeConfiguration) {
        var warnings: [String] = []
        if case .memory = configuration.data {
            warnings.append(
                "NOTHING IS KEPT ON DISK (--memory): what this node held is lost when it ends.")
        }
        if configuration.allowsInsecureListening {
            warnings.append(
                "CONNECTIONS ARE NEITHER ENCRYPTED NOR AUTHENTICATED (--insecure): whoever reaches this node rules it."
            )
        }
        for warning in warnings {
            let isColored = Terminal.usesColor(.error)
            Terminal.writeLine(isColored ? "\u{1B}[1;33m\(warning)\u{1B}[0m" : warning, to: .error)
        }
    }
}
