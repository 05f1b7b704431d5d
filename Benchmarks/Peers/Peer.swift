import FlotillaIO
import Glibc

/// Another system, with a load program of its own: the program says "measuring" when its warm-up is over, and ends with a
/// line of JSON.
struct Peer: Contestant {
    let name: String
    let conditions: String
    /// Debian packages that it needs.
    let packages: [String]
    /// Files that have to be there.
    let needs: [String]
    /// The processes, in the order of their start.
    let programs: @Sendable (Setting) -> [Program]

    struct Setting: Sendable {
        var load: GroupLoad
        /// How often a process is killed that has work.
        var takeovers = 0
        var directory: String
        /// Six free ones.
        var ports: [UInt16]
    }

    struct Program: Sendable {
        var path: String
        var arguments: [String]
        var environment: [String: String] = [:]
        /// Waits until something listens here before the next program starts.
        var port: UInt16?
    }

    /// Where `Benchmarks/Peers/setup` puts what it builds.
    static let folder = ".build/peers"

    var obstacle: String? {
        let missing = needs.filter { access($0, X_OK) != 0 }
        guard !missing.isEmpty else { return nil }
        return
            "\(missing.joined(separator: ", ")) is missing; Benchmarks/Peers/setup installs \(packages.joined(separator: ", ")) "
            + "and builds the load programs"
    }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        try await run(load, in: directory) { processes, logs in
            let roots = processes.map(\.pid)
            try await wait(
                "measurement", processes, within: load.warmup + Self.patience + Self.patiencePerGroup * load.groups
            ) {
                Self.hasSaid("measuring", logs)
            }
            let before = ProcessTreeUsage.now(roots)
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(roots)
            var result: LoadResult?
            try await wait("result", processes, within: Self.patience) {
                result = logs.lazy.compactMap { LoadResult(endOf: $0) }.first
                return result != nil
            }
            guard let result else { throw BenchError("\(name) gave no result") }
            return LoadSample(result: result, usage: after.since(before))
        }
    }

    /// What its servers take while nothing is asked of them. The last program makes what is idle, and does not count.
    func measureIdle(_ load: GroupLoad, in directory: String) async throws -> IdleSample {
        try await run(load, in: directory) { processes, logs in
            let servers = processes.dropLast().map(\.pid)
            try await wait("beginning", processes, within: Self.patience) { Self.hasSaid("empty", logs) }
            let empty = ProcessTreeUsage.now(servers)
            try await wait(
                "idleness", processes, within: load.warmup + Self.patience + Self.patiencePerGroup * load.groups
            ) {
                Self.hasSaid("measuring", logs)
            }
            let before = ProcessTreeUsage.now(servers)
            let start = ContinuousClock.now
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(servers)
            return IdleSample(
                empty: empty, before: before, after: after, nodes: servers.count,
                seconds: (ContinuousClock.now - start) / .seconds(1))
        }
    }

    /// How long it took, from each of some kills to the next step that was recorded, in milliseconds.
    func takeovers(_ count: Int, in directory: String) async throws -> [Double] {
        try await run(GroupLoad(), takeovers: count, in: directory) { processes, logs in
            var found: [Double] = []
            try await wait("takeover", processes, within: Self.patience + Self.patiencePerTakeover * count) {
                found = logs.flatMap { Self.takeovers(in: (try? readText($0)) ?? "") }
                return found.count == count
            }
            return found
        }
    }

    /// What a program has said of it. A line that is not written to its end says nothing yet.
    static func takeovers(in log: String) -> [Double] {
        log.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap { line in
            let words = line.split(separator: " ")
            return words.count == 2 && words[0] == "takeover" ? Double(words[1]) : nil
        }
    }

    private static let patience: Duration = .seconds(60)
    private static let patiencePerTakeover: Duration = .seconds(30)
    /// Making a thousand streams takes a minute or more.
    private static let patiencePerGroup: Duration = .milliseconds(500)

    /// Starts the programs, and ends them whatever `body` does.
    private func run<Value>(
        _ load: GroupLoad, takeovers: Int = 0, in directory: String,
        _ body: ([ChildProcess], [String]) async throws -> Value
    ) async throws -> Value {
        let setting = Setting(load: load, takeovers: takeovers, directory: directory, ports: try Ports.free(6))
        var processes: [ChildProcess] = []
        do {
            for (number, program) in programs(setting).enumerated() {
                let command = SlowDisk.command(program.path, program.arguments, delay: load.fsyncDelay)
                processes.append(
                    try ChildProcess(
                        path: command.path, arguments: command.arguments, environment: program.environment,
                        log: "\(directory)/\(number + 1).log"))
                guard let port = program.port else { continue }
                try await wait("something that listens on port \(port)", processes, within: .seconds(30)) {
                    Ports.isTaken(port)
                }
            }
            let value = try await body(processes, processes.indices.map { "\(directory)/\($0 + 1).log" })
            await Self.end(processes)
            return value
        } catch {
            await Self.end(processes)
            throw error
        }
    }

    private static func hasSaid(_ word: String, _ logs: [String]) -> Bool {
        logs.contains { (try? readText($0).split(separator: "\n").contains { $0 == word }) == true }
    }

    /// A program that ends before it was to, other than with its result, ends the measurement.
    private func wait(
        _ what: String, _ processes: [ChildProcess], within limit: Duration, _ condition: () -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + limit
        while !condition() {
            for (number, process) in processes.enumerated() {
                guard let end = process.poll(), end != .exited(0) else { continue }
                throw BenchError("program \(number + 1) of \(name) has ended: \(end)")
            }
            guard ContinuousClock.now < deadline else { throw BenchError("no \(what) of \(name) within \(limit)") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private static func end(_ processes: [ChildProcess]) async {
        for process in processes.reversed() {
            // Also what it started.
            _ = Glibc.kill(-process.pid, SIGTERM)
            await process.wait(limit: .seconds(10))
            _ = Glibc.kill(-process.pid, SIGKILL)
        }
    }
}
