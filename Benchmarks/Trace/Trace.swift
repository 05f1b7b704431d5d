import FlotillaIO
import Glibc

/// `flotilla-bench trace`: shows, by the nodes' system calls, that a start is durable on a majority before it is
/// acknowledged. A kill cannot show that: the kernel keeps what was written, synced or not.
enum Trace {
    static let command = CommandDescription(
        "flotilla-bench trace",
        summary:
            "Traces the system calls of three nodes: is every start fsynced by a majority before the answer?",
        options: [
            .value(
                "starts", "N", "how many workflows are started, one after the other (default: 30)")
        ] + HarnessOptions.all)

    /// One violation is like the next; the table has the number.
    private static let violationsShown = 5

    /// Both are found again in the trace: the seed in the log entry, the id in the answer.
    private struct Request: Sendable {
        let work: ChainWork

        /// - Parameter run: different in each run of this program.
        init(run: UInt64, number: Int) {
            let seed = run * 1_000_000 + UInt64(number)
            work = ChainWork(id: "trace-\(seed)", seed: seed, steps: 1)
        }

        /// Only the entry that starts the workflow holds its input; strace escapes the quotes.
        var start: TraceReport.Start {
            TraceReport.Start(id: work.id, mark: "\\\"seed\\\":\(work.seed)")
        }
    }

    static func run(_ options: ParsedOptions) async throws {
        let count = try options.number("starts", in: 1...10_000) ?? 30
        let strace = try Tracer.find()
        try await withCluster("trace", options: options) { cluster, directory in
            let progress = Progress()
            progress.update("attaching to the nodes")
            var processes: [pid_t] = []
            for node in cluster.nodes {
                if let process = await cluster.process(node) { processes.append(process.pid) }
            }
            let tracer = try await Tracer(
                strace: strace, processes: processes, directory: directory)
            try await cluster.waitUntilFormed()
            let starts = try await submit(count, to: cluster, progress)
            progress.update("reading the trace")
            let calls = SystemCallParser.calls(in: try await tracer.stop())
            progress.clear()
            try judge(starts, of: count, calls, cluster, directory, progress)
        }
    }

    /// Each node in turn, so that followers answer too.
    /// - Returns: the starts that were acknowledged.
    private static func submit(_ count: Int, to cluster: Cluster, _ progress: Progress) async throws
        -> [TraceReport.Start]
    {
        let run = UInt64.random(in: 1_000_000_000...9_999_999_999)
        var acknowledged: [TraceReport.Start] = []
        for number in 0..<count {
            progress.update("start \(number + 1) of \(count)")
            let request = Request(run: run, number: number)
            let answer = try await cluster.api(1 + number % cluster.nodes.count).start(
                type: ChainWork.type, id: request.work.id, input: request.work.input)
            if answer.status == 201 {
                acknowledged.append(request.start)
            } else {
                progress.line("\(request.work.id) was not acknowledged: \(answer.problem)")
            }
        }
        return acknowledged
    }

    private static func judge(
        _ starts: [TraceReport.Start], of count: Int, _ calls: [SystemCall], _ cluster: Cluster,
        _ directory: String, _ progress: Progress
    ) throws {
        let real = try resolved(directory)
        let report = TraceReport(
            starts, in: calls, logDirectories: cluster.nodes.map { "\(real)/node-\($0)/log" })
        progress.line(
            "\(starts.count) of \(count) starts acknowledged by \(report.nodeCount) nodes, one after the "
                + "other. Each fdatasync was held back by \(Tracer.syncDelay.short),\n"
                + "so that none comes before an answer by chance. "
                + "\(calls.count) system calls traced:\n\n" + report.table)
        for violation in report.violations.prefix(violationsShown) {
            progress.line(Style.red("violated") + " " + violation)
        }
        guard report.isShown else {
            throw BenchError(
                starts.isEmpty
                    ? "no start was acknowledged, so nothing could be checked"
                    : "\(report.violations.count) of \(starts.count) starts are not shown to be fsynced "
                        + "by a majority before they were acknowledged; "
                        + "the trace: \(directory)/trace.txt")
        }
        progress.line(
            Style.green("Shown:") + " no start was acknowledged before a majority had fsynced it.")
    }

    /// The kernel names open files without symbolic links.
    private static func resolved(_ path: String) throws(BenchError) -> String {
        guard let real = realpath(path, nil) else {
            throw BenchError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { free(real) }
        return String(cString: real)
    }
}
