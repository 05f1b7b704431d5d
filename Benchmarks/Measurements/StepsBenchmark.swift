import FlotillaIO

/// `flotilla-bench steps`: how many steps a second are recorded on three nodes, beside an engine on PostgreSQL, and beside
/// what PostgreSQL itself can record.
enum StepsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench steps",
        summary: "Measures durable steps per second on three node processes, beside DBOS and PostgreSQL.",
        options: options("workflows at a time (default: 1,4,16,64)", Peer.steps))

    static func run(_ options: ParsedOptions) async throws {
        try await run(
            "steps", options, StepsContestant(counted: .steps, executable: try HarnessOptions.executable(options)),
            levels: [1, 4, 16, 64], Peer.steps)
    }

    fileprivate static func options(_ callers: String, _ peers: [Peer]) -> [CommandDescription.Option] {
        [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value("callers", "N,N", callers),
            .value("seconds", "N", "how long each measurement is (default: 3)"),
            .value("fsync-delay", "US", "what every fsync takes longer, of all contestants (default: 0)"),
            PeerChoice.option(peers), reportOption, HarnessOptions.executableOption,
        ]
    }

    fileprivate static func run(
        _ scenario: String, _ options: ParsedOptions, _ ours: StepsContestant, levels: [Int], _ peers: [Peer]
    ) async throws {
        let base = try GroupLoad(options)
        let contest = Contest(
            unit: scenario, contestants: [ours] + (try PeerChoice.peers(options, of: peers)),
            loads: (try options.numbers("callers", in: 1...10_000) ?? levels).map { count in
                ("\(count) at a time", base.with { $0.callers = count })
            }, rounds: try options.number("rounds", in: 1...1_000) ?? 3)
        let conditions = [
            "a step of ours and of DBOS returns a number; of PostgreSQL it is a row of \(base.bytes) bytes and a commit"
        ]
        try await withReport(
            scenario, options, parameters: base.parameters,
            conditions: contest.conditions + conditions + base.conditions
        ) { try await contest.run($0) }
    }
}

/// `flotilla-bench workflows`: workflows of one step from start to result.
enum WorkflowsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench workflows",
        summary: "Measures workflows of one step, from start to result, beside DBOS.",
        options: StepsBenchmark.options("workflows at a time (default: 1,4,16,64)", Peer.workflows))

    static func run(_ options: ParsedOptions) async throws {
        try await StepsBenchmark.run(
            "workflows", options,
            StepsContestant(counted: .workflows, executable: try HarnessOptions.executable(options)),
            levels: [1, 4, 16, 64], Peer.workflows)
    }
}
