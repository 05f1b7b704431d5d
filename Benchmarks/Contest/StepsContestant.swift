import Flotilla
import FlotillaIO
import Glibc

/// Workflows of ours on three node processes. What is counted are steps, or workflows of one step from start to result.
struct StepsContestant: Contestant {
    enum Counted: Sendable {
        case steps
        case workflows
    }

    var counted: Counted
    let executable: String

    let name = Report.ours
    var conditions: String {
        "3 node processes, fsync on a majority before a step counts as recorded; "
            + (counted == .steps
                ? "callers are workflows on all nodes"
                : "callers start workflows by FlotillaClient and wait for their results, from a process of their own, "
                    + "with a connection to each node")
    }
    var obstacle: String? { nil }

    /// How many steps a workflow has while steps are counted. Enough that its start does not count.
    private static let stepsPerWorkflow = 500

    /// What `benchmark_steps` returns. The moments are the machine's monotonic clock, in nanoseconds.
    private struct Output: Decodable, Sendable {
        var steps: Int
        var startedAt: UInt64
        var endedAt: UInt64
        var latencyP50: UInt64
        var latencyP99: UInt64
    }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        let cluster = Cluster(
            .init(executable: executable, directory: directory, fsyncDelay: load.fsyncDelay))
        do {
            try await cluster.start()
            let nodes = await cluster.running()
            var roots: [pid_t] = []
            for node in cluster.nodes { if let process = await cluster.process(node) { roots.append(process.pid) } }
            // Those that make the load count as well.
            if counted == .workflows { roots = [getpid()] }
            var addresses: [String] = []
            for node in cluster.nodes { addresses.append(await cluster.clientAddress(node)) }
            async let result = work(load, nodes, addresses)
            try await Task.sleep(for: load.warmup)
            let before = ProcessTreeUsage.now(roots)
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(roots)
            let sample = LoadSample(result: try await result, usage: after.since(before))
            await cluster.killAll()
            return sample
        } catch {
            await cluster.killAll()
            throw error
        }
    }

    private func work(_ load: GroupLoad, _ nodes: [NodeAPI], _ clients: [String]) async throws -> LoadResult {
        switch counted {
        case .steps: return try await steps(load, nodes)
        case .workflows:
            return try await withFlotillaClient([clients[0]]) { first in
                try await withFlotillaClient([clients[1]]) { second in
                    try await withFlotillaClient([clients[2]]) { third in
                        let clients = [first, second, third]
                        return try await load.run { caller in
                            try await Self.runOneStep(by: clients[caller % clients.count])
                        }
                    }
                }
            }
        }
    }

    private static func runOneStep(by client: FlotillaClient) async throws {
        let id = "one-\(UInt64.random(in: 0 ... .max))"
        _ = try await client.start(type: "benchmark_steps", id: id, input: Array("{\"steps\":1}".utf8))
        guard try await client.result(of: id, as: Output.self).steps == 1 else { throw BenchError("\(id) ran no step") }
    }

    /// One workflow after the other for each caller; steps count by the workflows that began and ended in time.
    private func steps(_ load: GroupLoad, _ nodes: [NodeAPI]) async throws -> LoadResult {
        let begin = monotonicNanoseconds() + UInt64(load.warmupMilliseconds) * 1_000_000
        let end = begin + UInt64(load.milliseconds) * 1_000_000
        let outputs = try await withThrowingTaskGroup(of: [Output].self) { tasks in
            for caller in 0..<load.callers {
                tasks.addTask {
                    var outputs: [Output] = []
                    var number = 0
                    while monotonicNanoseconds() < end {
                        number += 1
                        let steps = max(10, Self.stepsPerWorkflow / max(1, load.callers / 16))
                        outputs.append(
                            try await Self.runOne(
                                "steps-\(caller)-\(number)", steps: steps, nodes[caller % nodes.count]))
                    }
                    return outputs
                }
            }
            return try await tasks.reduce(into: []) { $0 += $1 }
        }
        let counted = outputs.map { output in
            Self.share(output.startedAt, output.endedAt, of: begin, end) * Double(output.steps)
        }
        var result = LoadResult(nanoseconds: [], length: load.length)
        result.operations = Int(counted.reduce(0, +))
        result.p50 = Double(Statistics.median(outputs.map(\.latencyP50)) ?? 0) / 1_000
        result.p99 = Double(Statistics.percentile(99, of: outputs.map(\.latencyP99)) ?? 0) / 1_000
        (result.p999, result.most) = (result.p99, result.p99)
        return result
    }

    /// How much of a stretch of time lies in another one.
    static func share(_ start: UInt64, _ end: UInt64, of begin: UInt64, _ limit: UInt64) -> Double {
        guard end > start else { return 0 }
        let (first, last) = (max(start, begin), min(end, limit))
        return last > first ? Double(last - first) / Double(end - start) : 0
    }

    private static func runOne(_ id: String, steps: Int, _ node: NodeAPI) async throws -> Output {
        let answer = try await node.start(type: "benchmark_steps", id: id, input: "{\"steps\":\(steps)}")
        guard answer.status == 201 else { throw BenchError("a start failed: \(answer.problem)") }
        guard let output = try await node.result(of: id, wait: .seconds(60), as: Output.self) else {
            throw BenchError("\(id) does not end")
        }
        guard output.steps == steps else { throw BenchError("\(id) ran \(output.steps) of \(steps) steps") }
        return output
    }
}
