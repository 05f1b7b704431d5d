import FlotillaIO

/// `flotilla-bench steps`: how many steps a second are recorded on three nodes.
enum StepsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench steps",
        summary:
            "Measures durable steps per second with three node processes, and the latency of one step.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 3)"),
            .value(
                "concurrency", "N",
                "only with so many workflows at the same time (default: 1, 16, 256)"),
        ] + HarnessOptions.all)

    /// How many steps one measurement takes in all, and at least in each workflow.
    private static let stepsPerRun = 6_400
    private static let stepsPerWorkflowMin = 25
    private static let stepsPerWorkflowMax = 1_000

    /// What `benchmark_steps` returns. The moments are the machine's monotonic clock, in nanoseconds.
    private struct Output: Decodable, Sendable {
        var steps: Int
        var startedAt: UInt64
        var endedAt: UInt64
        var latencyP50: UInt64
        var latencyP99: UInt64
    }

    private struct Figure: Sendable {
        var stepsPerSecond: Double
        var latencyP50: Duration
        var latencyP99: Duration
    }

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 3
        let levels = try options.number("concurrency", in: 1...10_000).map { [$0] } ?? [1, 16, 256]
        try await withCluster("steps", options: options) { cluster, _ in
            let progress = Progress()
            var table = TextTable(
                ["workflows", "steps/s (median)", "least", "most", "step p50", "step p99"],
                rightAligned: [0, 1, 2, 3, 4, 5])
            for level in levels {
                var figures: [Figure] = []
                for number in 1...runs {
                    progress.update("\(level) workflows at the same time, run \(number) of \(runs)")
                    figures.append(
                        try await measure(level, label: "steps-\(level)-\(number)", cluster))
                }
                table.add(row(level, figures))
            }
            progress.clear()
            progress.line(
                "Durable steps on 3 node processes of this machine, data on disk, \(runs) runs each:\n\n"
                    + table.text)
        }
    }

    private static func row(_ level: Int, _ figures: [Figure]) -> [String] {
        let rates = figures.map(\.stepsPerSecond)
        return [
            "\(level)", rounded(Statistics.median(rates) ?? 0, 0), rounded(rates.min() ?? 0, 0),
            rounded(rates.max() ?? 0, 0),
            Statistics.median(figures.map(\.latencyP50))?.short ?? "-",
            Statistics.median(figures.map(\.latencyP99))?.short ?? "-",
        ]
    }

    private static func measure(_ level: Int, label: String, _ cluster: Cluster) async throws
        -> Figure
    {
        let steps = min(stepsPerWorkflowMax, max(stepsPerWorkflowMin, stepsPerRun / level))
        let nodes = await cluster.running()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<level {
                group.addTask {
                    let answer = try await nodes[number % nodes.count].start(
                        type: "benchmark_steps", id: "\(label)-\(number)",
                        input: "{\"steps\":\(steps)}")
                    guard answer.status == 201 else {
                        throw BenchError("a start failed: \(answer.problem)")
                    }
                }
            }
            try await group.waitForAll()
        }
        var outputs: [Output] = []
        for number in 0..<level {
            let id = "\(label)-\(number)"
            guard
                let output = try await nodes[number % nodes.count].result(
                    of: id, wait: .seconds(60), as: Output.self)
            else { throw BenchError("\(id) does not end") }
            guard output.steps == steps else {
                throw BenchError("\(id) ran \(output.steps) of \(steps) steps")
            }
            outputs.append(output)
        }
        guard let start = outputs.map(\.startedAt).min(), let end = outputs.map(\.endedAt).max(),
            end > start,
            let p50 = Statistics.median(outputs.map(\.latencyP50)),
            let p99 = Statistics.percentile(99, of: outputs.map(\.latencyP99))
        else { throw BenchError("no time has passed") }
        return Figure(
            stepsPerSecond: Double(steps * level) / (Double(end - start) / 1e9),
            latencyP50: .nanoseconds(Int64(p50)), latencyP99: .nanoseconds(Int64(p99)))
    }
}
