import FlotillaIO

/// `flotilla-bench idle`: the memory of nodes that have nothing to do.
enum IdleBenchmark {
    static let command = CommandDescription(
        "flotilla-bench idle",
        summary: "Measures the resident memory of idle nodes.",
        options: [
            .value("seconds", "N", "how long the nodes are left alone before (default: 10)"),
            .value("runs", "N", "how often, each time with a new cluster (default: 3)"),
        ] + HarnessOptions.all)

    static func run(_ options: ParsedOptions) async throws {
        let seconds = try options.number("seconds", in: 0...3_600) ?? 10
        let runs = try options.number("runs", in: 1...100) ?? 3
        let progress = Progress()
        var table = TextTable(["run", "node 1", "node 2", "node 3"], rightAligned: [0, 1, 2, 3])
        var all: [Int] = []
        for number in 1...runs {
            let sizes = try await withCluster("idle", options: options) { cluster, _ in
                progress.update("run \(number) of \(runs): idle for \(seconds) s")
                try await Task.sleep(for: .seconds(seconds))
                var sizes: [Int] = []
                for node in cluster.nodes {
                    guard let size = await cluster.process(node)?.residentKilobytes() else {
                        throw BenchError("node \(node) has ended")
                    }
                    sizes.append(size)
                }
                return sizes
            }
            all += sizes
            table.add(["\(number)"] + sizes.map(mebibytes))
        }
        progress.clear()
        progress.line(
            "Resident memory of an idle node, of 3, after \(seconds) s: median "
                + "\(mebibytes(Statistics.median(all) ?? 0)), most \(mebibytes(all.max() ?? 0))\n\n"
                + table.text)
    }

    private static func mebibytes(_ kibibytes: Int) -> String {
        rounded(Double(kibibytes) / 1_024, 1) + " MiB"
    }
}
