import FlotillaIO

/// `flotilla-bench idle-groups`: what groups cost to which nothing is said, beside idle streams.
enum IdleGroupsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench idle-groups",
        summary: "Measures processor and memory of nodes with many idle groups, beside streams of NATS JetStream.",
        options: [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value("groups", "N", "how many there are (default: 1000)"),
            .value("seconds", "N", "how long the idle nodes are watched (default: 30)"),
            PeerChoice.option(Peer.many), reportOption,
        ])

    /// Of the last group, until everything is quiet.
    private static let settling = 3_000

    static func run(_ options: ParsedOptions) async throws {
        let rounds = try options.number("rounds", in: 1...1_000) ?? 3
        let load = GroupLoad().with { load in
            (load.active, load.warmupMilliseconds) = (0, settling)
        }
        let groups = try options.number("groups", in: 1...100_000) ?? 1_000
        let seconds = try options.number("seconds", in: 1...3_600) ?? 30
        let peers = try PeerChoice.peers(options, of: Peer.many)
        let given = load.with { ($0.groups, $0.milliseconds) = (groups, seconds * 1_000) }
        try await withReport(
            "idle-groups", options, parameters: ["groups": "\(groups)", "seconds": "\(seconds)"],
            conditions: ["figures of one of 3 nodes, the mean of the three; empty is a node without groups"]
                + peers.map { "\($0.name): \($0.conditions)" }
        ) { recorder in
            for round in 1...rounds {
                recorder.progress.update("round \(round) of \(rounds): \(Report.ours)")
                let setting = "\(groups) idle groups"
                recorder.add(try await measure(given), setting, of: Report.ours)
                for peer in peers {
                    recorder.progress.update("round \(round) of \(rounds): \(peer.name)")
                    let sample = try await withScratch("flotilla-contest", contents: "\(peer.name)'s logs") {
                        try await peer.measureIdle(given, in: $0)
                    }
                    recorder.add(sample, setting, of: peer.name)
                }
            }
        }
    }

    private static func measure(_ load: GroupLoad) async throws -> IdleSample {
        try await GroupsBenchmark.withFleet(.benchmark) { fleet in
            let empty = ProcessTreeUsage.now(fleet.processes)
            try await fleet.found(load.groups, leader: nil)
            try await fleet.waitUntilQuiet(load.groups)
            try await Task.sleep(for: load.warmup)
            let before = ProcessTreeUsage.now(fleet.processes)
            let start = ContinuousClock.now
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(fleet.processes)
            return IdleSample(
                empty: empty, before: before, after: after, nodes: fleet.processes.count,
                seconds: (ContinuousClock.now - start) / .seconds(1))
        }
    }
}

extension Recorder {
    fileprivate func add(_ sample: IdleSample, _ setting: String, of contestant: String) {
        add(sample.processorPercent, "processor %", setting, of: contestant)
        add(sample.mebibytesAboveEmpty, "MiB above empty", setting, of: contestant)
        add(sample.mebibytesEmpty, "MiB empty", setting, of: contestant)
    }
}
