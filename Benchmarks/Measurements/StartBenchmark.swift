import FlotillaIO

/// `flotilla-bench start`: how long a node with data takes from its start until it is ready.
enum StartBenchmark {
    static let command = CommandDescription(
        "flotilla-bench start",
        summary:
            "Measures the time from the start of a node with data until it says that it is ready.",
        options: [
            .value(
                "runs", "N",
                "how often it is measured, after kill -9 and after an orderly stop (default: 3)"),
            .value("workflows", "N", "how many finished workflows the data holds (default: 1000)"),
            reportOption,
        ] + HarnessOptions.all)

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 3
        let workflows = try options.number("workflows", in: 0...1_000_000) ?? 1_000
        let conditions = ["from start to ready of one of 3 nodes, with finished workflows in its data"]
        try await withReport(
            "start", options, parameters: ["workflows": "\(workflows)"], conditions: conditions
        ) { recorder in
            try await withCluster("start", options: options) { cluster, _ in
                try await fill(workflows, cluster, recorder.progress)
                for byKill in [true, false] {
                    for number in 1...runs {
                        recorder.progress.update("restart \(number) of \(runs)")
                        let time = try await restart(1 + number % 3, byKill: byKill, cluster)
                        recorder.add(
                            time.milliseconds, "start to ready, ms", byKill ? "after kill -9" : "after SIGTERM")
                    }
                }
            }
        }
    }

    private static func fill(_ count: Int, _ cluster: Cluster, _ progress: Progress) async throws {
        let nodes = await cluster.running()
        let next = Lock(0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<16 {
                group.addTask {
                    while let number = next.withLock({ value -> Int? in
                        guard value < count else { return nil }
                        defer { value += 1 }
                        return value
                    }) {
                        progress.update("\(number) of \(count) workflows")
                        let work = ChainWork(id: "fill-\(number)", seed: UInt64(number), steps: 5)
                        let node = nodes[(number + client) % nodes.count]
                        let answer = try await node.start(
                            type: ChainWork.type, id: work.id, input: work.input)
                        guard answer.status == 201 else {
                            throw BenchError("a start failed: \(answer.problem)")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let deadline = ContinuousClock.now + .seconds(120)
        while try await !nodes[0].list(status: "running").isEmpty {
            guard ContinuousClock.now < deadline else {
                throw BenchError("the workflows do not end")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private static func restart(_ node: Int, byKill: Bool, _ cluster: Cluster) async throws
        -> Duration
    {
        if byKill { await cluster.kill(node) } else { try await cluster.terminate(node) }
        let start = ContinuousClock.now
        try await cluster.spawn(node)
        try await cluster.waitUntilReady(node)
        return ContinuousClock.now - start
    }
}
