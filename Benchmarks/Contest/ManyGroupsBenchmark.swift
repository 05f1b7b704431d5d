import FlotillaIO
import FlotillaRaft

/// `flotilla-bench active`: what many groups commit together, of which all are worked or some.
enum ManyGroupsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench active",
        summary: "Measures the commits of many groups of three replicas, beside streams of NATS JetStream.",
        options: [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value(
                "groups", "N/N,N/N",
                "how many groups are worked, of how many there are (default: 48/48,48/4096,4096/4096)"),
            .value("callers", "N", "how many commits are in flight, over all groups (default: 4096)"),
            .value("seconds", "N", "how long each measurement is (default: 3)"),
            .value("bytes", "N", "of each entry (default: 16)"),
            .value("rate", "N", "open loop: so many a second (default: closed loop)"),
            .value("fsync-delay", "US", "what every fsync takes longer, of all contestants (default: 0)"),
            PeerChoice.option(Peer.many), reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let rounds = try options.number("rounds", in: 1...1_000) ?? 3
        var base = try GroupLoad(options)
        if !options.has("bytes") { base.bytes = 16 }
        base.callers = try options.number("callers", in: 3...100_000) ?? 4_096
        let contest = Contest(
            contestants: [FlotillaContestant()] + (try PeerChoice.peers(options, of: Peer.many)),
            loads: try groups(options).map { active, count in
                (setting(active, of: count), base.with { ($0.active, $0.groups) = (active, count) })
            }, rounds: rounds)
        var parameters = base.parameters
        parameters["in flight"] = "\(base.callers)"
        let conditions = [
            "each node works the groups that it leads; their latencies are the highest of the three nodes"
        ]
        try await withReport(
            "active", options, parameters: parameters, conditions: contest.conditions + conditions + base.conditions
        ) { try await contest.run($0) }
    }

    static func setting(_ active: Int, of count: Int) -> String { "\(active) of \(count) groups" }

    private static func groups(_ options: ParsedOptions) throws -> [(active: Int, count: Int)] {
        let text = options.string("groups") ?? "48/48,48/4096,4096/4096"
        return try text.split(separator: ",").map { word in
            let numbers = word.split(separator: "/").compactMap { Int($0) }
            guard numbers.count == 2, numbers[0] >= 3, numbers[0] <= numbers[1], numbers[1] <= 100_000 else {
                throw options.fail(
                    "--groups \(text): write how many are worked, of how many, such as 48/4096; from 3 on")
            }
            return (numbers[0], numbers[1])
        }
    }
}

/// `flotilla-bench reads`: linearizable reads of one group, beside its commits and beside etcd.
enum ReadsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench reads",
        summary: "Measures linearizable reads of one group, by read index and by lease, beside etcd.",
        options: [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value("callers", "N,N", "how many reads are in flight (default: 1,16,256)"),
            .value("seconds", "N", "how long each measurement is (default: 3)"),
            .value("rate", "N", "open loop: so many a second (default: closed loop)"),
            .value("fsync-delay", "US", "what every fsync takes longer, of all contestants (default: 0)"),
            PeerChoice.option(Peer.reads), reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let rounds = try options.number("rounds", in: 1...1_000) ?? 3
        var base = try GroupLoad(options)
        base.operation = .read
        let callers = try options.numbers("callers", in: 1...100_000) ?? [1, 16, 256]
        let contestants: [any Contestant] =
            [FlotillaContestant(), FlotillaContestant(reads: .lease)] + (try PeerChoice.peers(options, of: Peer.reads))
        let contest = Contest(
            unit: "reads", contestants: contestants,
            loads: callers.map { count in ("\(count) in flight", base.with { $0.callers = count }) }, rounds: rounds)
        var parameters = base.parameters
        parameters["bytes"] = nil
        try await withReport(
            "reads", options, parameters: parameters, conditions: contest.conditions + base.conditions
        ) { try await contest.run($0) }
    }
}
