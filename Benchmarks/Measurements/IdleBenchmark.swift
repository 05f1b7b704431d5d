import FlotillaIO

/// `flotilla-bench idle`: the memory of nodes that have nothing to do.
enum IdleBenchmark {
    static let command = CommandDescription(
        "flotilla-bench idle",
        summary: "Measures the resident memory of idle nodes.",
        options: [
            .value("seconds", "N", "how long the nodes are left alone before (default: 10)"),
            .value("runs", "N", "how often, each time with a new cluster (default: 3)"),
            reportOption,
        ] + HarnessOptions.all)

    static func run(_ options: ParsedOptions) async throws {
        let seconds = try options.number("seconds", in: 0...3_600) ?? 10
        let runs = try options.number("runs", in: 1...100) ?? 3
        try await withReport(
            "idle", options, parameters: ["seconds": "\(seconds)"],
            conditions: ["nodes of 3, left alone before; each run with a new cluster"]
        ) { recorder in
            for number in 1...runs {
                try await withCluster("idle", options: options) { cluster, _ in
                    recorder.progress.update("run \(number) of \(runs): idle for \(seconds) s")
                    try await Task.sleep(for: .seconds(seconds))
                    for node in cluster.nodes {
                        guard let size = await cluster.process(node)?.residentKilobytes() else {
                            throw BenchError("node \(node) has ended")
                        }
                        recorder.add(Double(size) / 1_024, "resident MiB", "node \(node)")
                    }
                }
            }
        }
    }
}
