import FlotillaIO

/// `flotilla-bench group`: what one replicated group commits, beside other systems that take turns with it.
enum SingleGroupBenchmark {
    static let command = CommandDescription(
        "flotilla-bench group",
        summary: "Measures the commits of one group of three replicas, beside other systems in the same session.",
        options: [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value("callers", "N,N", "how many commits are in flight (default: 1,16,256,1024)"),
            .value("seconds", "N", "how long each measurement is (default: 3)"),
            .value("bytes", "N", "of each entry (default: 128)"),
            .value(
                "rate", "N",
                "open loop: so many a second, whatever the answers take, with --callers in flight at most (default: "
                    + "closed loop)"),
            .value("fsync-delay", "US", "what every fsync takes longer, of all contestants (default: 0)"),
            .flag("unsynced", "also ours without any fsync, as NATS JetStream answers"),
            .value(
                "client", "PLACES",
                "where callers of ours are: leader, in its process; process, one of their own with one connection; http, one "
                    + "of their own with JSON over HTTP; or all (default: leader)"),
            PeerChoice.option(Peer.groups), reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let rounds = try options.number("rounds", in: 1...1_000) ?? 3
        let base = try GroupLoad(options)
        let callers = try options.numbers("callers", in: 1...100_000) ?? [1, 16, 256, 1_024]
        var contestants: [any Contestant] = try callerPlaces(options).map { place in
            let contestant = FlotillaContestant(callers: place)
            if let obstacle = contestant.obstacle { throw BenchError("\(contestant.name): \(obstacle)") }
            return contestant
        }
        if options.has("unsynced") { contestants.append(FlotillaContestant(isSynced: false)) }
        contestants += try PeerChoice.peers(options, of: Peer.groups)
        let contest = Contest(
            contestants: contestants,
            loads: callers.map { count in
                ("\(count) in flight", base.with { $0.callers = count })
            }, rounds: rounds)
        try await withReport(
            "group", options, parameters: base.parameters, conditions: contest.conditions + base.conditions
        ) { try await contest.run($0) }
    }

    static func callerPlaces(_ options: ParsedOptions) throws -> [FlotillaContestant.CallerPlace] {
        let all = FlotillaContestant.CallerPlace.allCases
        guard let text = options.string("client") else { return [.leader] }
        if text == "all" { return all }
        let words = text.split(separator: ",")
        let places = words.compactMap { FlotillaContestant.CallerPlace(rawValue: String($0)) }
        guard !places.isEmpty, places.count == words.count, Set(places).count == places.count else {
            throw options.fail(
                "--client \(text): there are \(all.map(\.rawValue).joined(separator: ", ")), each once, and all")
        }
        return places
    }
}
