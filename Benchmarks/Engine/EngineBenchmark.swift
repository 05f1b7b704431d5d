import Flotilla
import FlotillaIO
import Glibc

/// `flotilla-bench engine`: what many, or long, workflows cost three nodes.
enum EngineBenchmark {
    static let command = CommandDescription(
        "flotilla-bench engine",
        summary: "Measures sleeping workflows, timers that are due at once, a long workflow, lists and signals.",
        options: [
            .value("parts", "NAME,...", "which of sleeping, timers, long, signals (default: all)"),
            .value("workflows", "N", "how many sleep, and are listed (default: 100000)"),
            .value("timers", "N", "how many sleeps end within one second (default: 10000)"),
            .value("steps", "N", "of the long workflow (default: 100000)"),
            .value("signals", "N", "to one workflow (default: 20000)"),
            .value("runs", "N", "how often, each time with a new cluster (default: 3)"),
            reportOption,
        ] + HarnessOptions.all)

    private enum Part: String, CaseIterable { case sleeping, timers, long, signals }

    static func run(_ options: ParsedOptions) async throws {
        let names = options.string("parts")?.split(separator: ",").map(String.init) ?? Part.allCases.map(\.rawValue)
        let parts = try names.map { name in
            guard let part = Part(rawValue: name) else {
                throw options.fail(
                    "--parts \(name): there are \(Part.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            return part
        }
        let sleeping = try options.number("workflows", in: 1...10_000_000) ?? 100_000
        let timers = try options.number("timers", in: 1...1_000_000) ?? 10_000
        let steps = try options.number("steps", in: 10...100_000_000) ?? 100_000
        let signals = try options.number("signals", in: 1...10_000_000) ?? 20_000
        let runs = try options.number("runs", in: 1...100) ?? 3
        try await withReport(
            "engine", options,
            parameters: [
                "workflows": "\(sleeping)", "timers": "\(timers)", "steps": "\(steps)", "signals": "\(signals)",
            ],
            conditions: [
                "3 node processes, fsync on a majority; each part of each run with a new cluster; memory is resident, of "
                    + "all three nodes, 20 s after the last start, when those that only wait have left memory"
            ]
        ) { recorder in
            for number in 1...runs {
                for part in parts {
                    try await withCluster("engine", options: options) { cluster, _ in
                        let name = "run \(number) of \(runs), \(part.rawValue)"
                        let bench = EngineLoad(cluster: cluster, recorder: recorder, name: name)
                        switch part {
                        case .sleeping: try await bench.sleep(sleeping)
                        case .timers: try await bench.fire(timers)
                        case .long: try await bench.walk(steps)
                        case .signals: try await bench.signal(signals)
                        }
                    }
                }
            }
        }
    }
}

/// What is done to one cluster.
struct EngineLoad {
    let cluster: Cluster
    let recorder: Recorder
    /// For whoever watches.
    let name: String

    private static let callers = 256
    private static let type = "benchmark_waits"

    private static func input(naps: Int = 0, milliseconds: Int = 0, signals: Int = 0) -> [UInt8] {
        Array("{\"naps\":\(naps),\"milliseconds\":\(milliseconds),\"signals\":\(signals)}".utf8)
    }

    // MARK: Workflows that sleep

    func sleep(_ count: Int) async throws {
        // Connections, and the first pages of everything.
        try await start(1_000, prefix: "warm") { _ in Self.input(naps: 1, milliseconds: 1) }
        try await Task.sleep(for: .seconds(3))
        let before = try await usage()
        let begin = ContinuousClock.now
        let customer: @Sendable (Int) -> [String: String] = { ["customer": "c\($0 % 1_000)"] }
        try await start(count, prefix: "asleep", attributes: customer) { _ in
            Self.input(naps: 1, milliseconds: 86_400_000)
        }
        let taken = ContinuousClock.now - begin
        recorder.add(Double(count) / (taken.milliseconds / 1_000), "starts/s", isBetterHigher: true)
        try await Task.sleep(for: .seconds(20))
        let after = try await usage()
        let kibibytes = (after.residentMebibytes - before.residentMebibytes) * 1_024
        recorder.add(kibibytes / 3 / Double(count), "resident KiB per sleeping workflow and replica")
        let seconds = 10
        recorder.progress.update("\(name): \(count) sleep")
        try await Task.sleep(for: .seconds(seconds))
        let used = try await usage().since(after).processorSeconds
        recorder.add(used / Double(seconds) / 3 * 100, "processor % of a core and node while they sleep")
        try await list(count)
    }

    private func list(_ count: Int) async throws {
        var times: [Double] = []
        let api = await cluster.api(2)
        for number in 0..<200 {
            recorder.progress.update("\(name): list \(number) of 200")
            let path = "/v1/workflows?status=running&attribute=customer%3Dc\(number)&limit=100"
            let begin = ContinuousClock.now
            let page = try await api.get(path).decode(WorkflowPage.self)
            times.append((ContinuousClock.now - begin).milliseconds)
            let expected = min(100, (count - number + 999) / 1_000)
            guard page.workflows.count == expected else {
                throw BenchError("a list has \(page.workflows.count) of \(expected) workflows")
            }
        }
        add(times, "list of those of one customer")
    }

    // MARK: Timers

    func fire(_ count: Int) async throws {
        // All are asleep before the first wakes.
        let lead = 5_000 + count / 2
        let first = WallTime.now.nanoseconds / 1_000_000 + Int64(lead)
        try await start(count, prefix: "nap") { number in
            let due = first + Int64(number * 1_000 / count)
            return Self.input(naps: 1, milliseconds: Int(due - WallTime.now.nanoseconds / 1_000_000))
        }
        guard WallTime.now.nanoseconds / 1_000_000 < first else {
            throw BenchError("the first of \(count) sleeps ended before the last began; name fewer --timers")
        }
        try await Task.sleep(for: .milliseconds(Int64(first) - WallTime.now.nanoseconds / 1_000_000 + 1_000))
        let late = try await spread(count) { number, api in
            guard let naps = try await api.result(of: "nap-\(number)", wait: .seconds(60), as: Waits.self)?.naps,
                naps.count == 1
            else { throw BenchError("nap-\(number) does not end") }
            let history = try await api.get("/v1/workflows/nap-\(number)/history?limit=10").decode(History.self)
            guard let sleep = history.events.first(where: { $0.kind == "sleep" }),
                let deadline = sleep.deadline.flatMap(WallTime.init(rfc3339:)),
                let fired = sleep.firedAt.flatMap(WallTime.init(rfc3339:))
            else { throw BenchError("the history of nap-\(number) has no sleep") }
            return Double(fired.nanoseconds - deadline.nanoseconds) / 1e6
        }
        add(late, "recorded after the deadline")
    }

    private struct Waits: Decodable, Sendable { var naps: [Int64] }

    private struct History: Decodable, Sendable {
        struct Event: Decodable, Sendable {
            var kind: String
            var deadline: String?
            var firedAt: String?
        }
        var events: [Event]
    }

    // MARK: One workflow

    private struct Steps: Decodable, Sendable {
        var firstP50: UInt64
        var lastP50: UInt64
        var startedAt: UInt64
        var endedAt: UInt64
    }

    func walk(_ steps: Int) async throws {
        try await start(1_000, prefix: "warm") { _ in Self.input(naps: 1, milliseconds: 1) }
        var resident = [try await residentPerNode()]
        let api = await cluster.api(1)
        let answer = try await api.start(type: "benchmark_steps", id: "long", input: "{\"steps\":\(steps)}")
        guard answer.status == 201 else { throw BenchError("a start failed: \(answer.problem)") }
        var output: Steps?
        let begin = ContinuousClock.now
        while output == nil {
            recorder.progress.update("\(name): \((ContinuousClock.now - begin).short) of \(steps) steps")
            output = try await api.result(of: "long", wait: .seconds(5), as: Steps.self)
            resident.append(try await residentPerNode())
        }
        guard let output else { return }
        recorder.add(
            Double(steps) / (Double(output.endedAt - output.startedAt) / 1e9), "steps/s of one long workflow",
            isBetterHigher: true)
        recorder.add(Double(output.firstP50) / 1e6, "step p50 of its first tenth, ms")
        recorder.add(Double(output.lastP50) / 1e6, "step p50 of its last tenth, ms")
        // The steps take the same time each, so a part of the time is that part of the steps.
        for (part, moment) in [(0, "before"), (10, "at a tenth"), (50, "at half"), (100, "at the end")] {
            recorder.add(
                resident[(resident.count - 1) * part / 100], "resident MiB per node, \(moment) of the long workflow")
        }
    }

    func signal(_ count: Int) async throws {
        let api = await cluster.api(1)
        let input = String(decoding: Self.input(signals: count), as: UTF8.self)
        let answer = try await api.start(type: Self.type, id: "inbox", input: input)
        guard answer.status == 201 else { throw BenchError("a start failed: \(answer.problem)") }
        let begin = ContinuousClock.now
        let times = try await spread(count) { number, api in
            let begin = ContinuousClock.now
            while true {
                let answer = try await api.post("/v1/workflows/inbox/signals/number", "{\"value\":\(number)}")
                if answer.status == 204 { return (ContinuousClock.now - begin).milliseconds }
                // More than the workflow has received wait.
                guard answer.status == 503 else { throw BenchError("a signal failed: \(answer.problem)") }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        while try await api.result(of: "inbox", wait: .seconds(10), as: JSONValue.self) == nil {}
        let taken = ContinuousClock.now - begin
        recorder.add(
            Double(count) / (taken.milliseconds / 1_000), "signals/s to one workflow, received", isBetterHigher: true)
        add(times, "signal over HTTP")
    }

    // MARK: Common

    private func add(_ times: [Double], _ what: String) {
        recorder.add(Statistics.median(times) ?? 0, "\(what), p50 ms")
        recorder.add(Statistics.percentile(99, of: times) ?? 0, "\(what), p99 ms")
    }

    private func residentPerNode() async throws -> Double {
        try await usage().residentMebibytes / Double(cluster.nodes.count)
    }

    private func usage() async throws -> ProcessTreeUsage {
        var roots: [pid_t] = []
        for node in cluster.nodes { if let process = await cluster.process(node) { roots.append(process.pid) } }
        return ProcessTreeUsage.now(roots)
    }

    /// Starts `count` workflows by binary clients, one for each node.
    private func start(
        _ count: Int, prefix: String, attributes: @escaping @Sendable (Int) -> [String: String] = { _ in [:] },
        _ input: @escaping @Sendable (Int) -> [UInt8]
    ) async throws {
        let progress = recorder.progress
        let name = name
        try await withThrowingTaskGroup(of: Void.self) { nodes in
            for node in cluster.nodes {
                let address = await cluster.clientAddress(node)
                nodes.addTask {
                    try await withFlotillaClient([address]) { client in
                        let mine = stride(from: node - 1, to: count, by: 3)
                        try await Self.each(mine, at: Self.callers / 3) { number in
                            if number % 1_000 == 0 { progress.update("\(name): \(number) of \(count) starts") }
                            _ = try await client.start(
                                type: Self.type, id: "\(prefix)-\(number)", input: input(number),
                                attributes: attributes(number))
                        }
                    }
                }
            }
            try await nodes.waitForAll()
        }
    }

    /// Does something so many times, over all nodes, and returns what came of each.
    private func spread(
        _ count: Int, _ body: @escaping @Sendable (Int, NodeAPI) async throws -> Double
    ) async throws -> [Double] {
        let nodes = await cluster.running()
        let found = Lock<[Double]>([])
        try await Self.each(stride(from: 0, to: count, by: 1), at: 64) { number in
            let value = try await body(number, nodes[number % nodes.count])
            found.withLock { $0.append(value) }
        }
        return found.withLock { $0 }
    }

    private static func each(
        _ numbers: StrideTo<Int>, at once: Int, _ body: @escaping @Sendable (Int) async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            var next = numbers.makeIterator()
            for _ in 0..<once {
                guard let number = next.next() else { break }
                tasks.addTask { try await body(number) }
            }
            while try await tasks.next() != nil {
                if let number = next.next() { tasks.addTask { try await body(number) } }
            }
        }
    }
}
