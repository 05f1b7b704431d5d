import FlotillaIO

/// `flotilla-bench takeover`: from the end of a run's owner to the next step that is recorded.
enum TakeoverBenchmark {
    static let command = CommandDescription(
        "flotilla-bench takeover",
        summary:
            "Kills the owners of runs on three nodes, and measures how long until another one records a step, beside "
            + "DBOS.",
        options: [
            .value("kills", "N", "how often, of each contestant (default: 20)"),
            .value("silence", "MS", "a node that was silent for so long loses its runs (default: 300)"),
            PeerChoice.option(Peer.takeovers), reportOption,
        ] + HarnessOptions.all)

    static let figure = "kill -9 of the owner to the next step, ms"
    /// Of a run. It takes some seconds.
    private static let steps = 1_000
    /// Recorded before the owner is killed.
    private static let stepsBefore = 5
    /// Of one contestant, before it is another one's turn.
    private static let killsPerTurn = 10

    static func run(_ options: ParsedOptions) async throws {
        let kills = try options.number("kills", in: 1...10_000) ?? 20
        let silence = try options.number("silence", in: 100...60_000) ?? 300
        let peers = try PeerChoice.peers(options, of: Peer.takeovers)
        try await withReport(
            "takeover", options, parameters: ["silence in ms": "\(silence)"],
            conditions: [
                "3 node processes; each sample is one run, whose steps take up to 10 ms; both moments by the machine's wall "
                    + "clock, the second as the new owner has it in the step's record; the time in which the others take it "
                    + "for silent only is part of it"
            ] + peers.map { "\($0.name): \($0.conditions)" }
        ) { recorder in
            let arguments = ["--executor-timeout", "\(silence)ms"]
            try await withCluster("takeover", options: options, nodeArguments: arguments) { cluster, _ in
                for first in stride(from: 1, through: kills, by: killsPerTurn) {
                    let turn = first...min(first + killsPerTurn - 1, kills)
                    for number in turn {
                        recorder.progress.update("kill \(number) of \(kills)")
                        recorder.add(try await takeover(number, cluster), figure)
                    }
                    for peer in peers {
                        recorder.progress.update(
                            "kills \(turn.lowerBound) to \(turn.upperBound) of \(kills): \(peer.name)")
                        let found = try await withScratch("flotilla-contest", contents: "\(peer.name)'s logs") {
                            try await peer.takeovers(turn.count, in: $0)
                        }
                        for value in found { recorder.add(value, figure, of: peer.name) }
                    }
                }
            }
        }
    }

    /// In milliseconds.
    private static func takeover(_ number: Int, _ cluster: Cluster) async throws -> Double {
        let id = "takeover-\(number)"
        let work = ChainWork(id: id, seed: UInt64(number), steps: steps)
        let answer = try await cluster.api(1).start(type: ChainWork.type, id: id, input: work.input)
        guard answer.status == 201 else { throw BenchError("a start failed: \(answer.problem)") }
        let before = try await wait(id, cluster.api(1)) { ($0.steps ?? []).count >= stepsBefore && $0.owner != nil }
        guard let owner = before.owner.map(Int.init), let epoch = before.steps?.map(\.epoch).max() else {
            throw BenchError("\(id) has no owner")
        }
        let moment = WallTime.now
        await cluster.kill(owner)
        let other = await cluster.api(owner % 3 + 1)
        let after = try await wait(id, other) { ($0.steps ?? []).contains { $0.epoch > epoch } }
        let next = after.steps?.filter { $0.epoch > epoch }.compactMap { WallTime(rfc3339: $0.recordedAt) }.min()
        guard let next else { throw BenchError("\(id) has a step without a time") }
        try await cluster.spawn(owner)
        try await cluster.waitUntilFormed()
        return Double(next.nanoseconds - moment.nanoseconds) / 1e6
    }

    private static func wait(
        _ id: String, _ node: NodeAPI, _ condition: (WorkflowReport) -> Bool
    ) async throws -> WorkflowReport {
        let deadline = ContinuousClock.now + .seconds(30)
        while true {
            // While nobody leads, nobody answers.
            if let report = try? await node.describe(id) {
                if condition(report) { return report }
                guard report.status == "running" else { throw BenchError("\(id) is \(report.status) too early") }
            }
            guard ContinuousClock.now < deadline else { throw BenchError("nobody goes on with \(id)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}
