import FlotillaIO
import FoundationEssentials
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

    static let all: [Peer] = [libraft(isNodelay: true), libraft(isNodelay: false), etcd, postgresql]

    var obstacle: String? {
        let missing = needs.filter { access($0, X_OK) != 0 }
        guard !missing.isEmpty else { return nil }
        return
            "\(missing.joined(separator: ", ")) is missing; Benchmarks/Peers/setup installs \(packages.joined(separator: ", ")) "
            + "and builds the load programs"
    }

    func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
        let setting = Setting(load: load, directory: directory, ports: try Ports.free(6))
        var processes: [ChildProcess] = []
        do {
            for (number, program) in programs(setting).enumerated() {
                processes.append(
                    try ChildProcess(
                        path: program.path, arguments: program.arguments, environment: program.environment,
                        log: "\(directory)/\(number + 1).log"))
                guard let port = program.port else { continue }
                try await wait("something that listens on port \(port)", processes, within: .seconds(30)) {
                    Ports.isTaken(port)
                }
            }
            let roots = processes.map(\.pid)
            let logs = processes.indices.map { "\(directory)/\($0 + 1).log" }
            try await wait("measurement", processes, within: load.warmup + .seconds(60)) {
                logs.contains { (try? readText($0).contains("measuring\n")) == true }
            }
            let before = ProcessTreeUsage.now(roots)
            try await Task.sleep(for: load.length)
            let after = ProcessTreeUsage.now(roots)
            var result: LoadResult?
            try await wait("result", processes, within: .seconds(60)) {
                result = logs.lazy.compactMap(Self.result).first
                return result != nil
            }
            guard let result else { throw BenchError("\(name) gave no result") }
            await Self.end(processes)
            return LoadSample(result: result, usage: after.since(before))
        } catch {
            await Self.end(processes)
            throw error
        }
    }

    private static func result(in log: String) -> LoadResult? {
        guard let text = try? readText(log), let line = text.split(separator: "\n").last,
            line.hasPrefix("{\"operations\"")
        else { return nil }
        return try? JSONDecoder().decode(LoadResult.self, from: Data(line.utf8))
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

extension Peer {
    private static func words(_ load: GroupLoad) -> [String] {
        [
            "\(load.callers)", "\(rounded(load.warmup / .seconds(1), 3))", "\(rounded(load.length / .seconds(1), 3))",
            "\(load.bytes)",
        ]
    }

    /// canonical/raft, a Raft library in C on libuv.
    static func libraft(isNodelay: Bool) -> Peer {
        Peer(
            name: isNodelay ? "libraft" : "libraft-nagle",
            conditions:
                "canonical/raft on 3 processes, O_DIRECT and RWF_DSYNC on a majority before the answer, callers in the "
                + "leader's process, "
                + (isNodelay ? "TCP_NODELAY set by us" : "without TCP_NODELAY, as it is by default"),
            packages: ["libraft-dev"], needs: ["\(folder)/raft-load"],
            programs: { setting in
                (1...3).map { id in
                    let data = "\(setting.directory)/\(id)"
                    mkdir(data, 0o755)
                    return Program(
                        path: "\(folder)/raft-load",
                        arguments: ["\(id)", data] + words(setting.load) + setting.ports.prefix(3).map { "\($0)" },
                        environment: isNodelay ? ["FLOTILLA_NODELAY": "1"] : [:])
                }
            })
    }

    static let etcd = Peer(
        name: "etcd",
        conditions:
            "put on 3 etcd processes, fdatasync on a majority before the answer, a Go client in a process of its own",
        packages: ["etcd-server", "golang-etcd-server-dev"], needs: ["/usr/bin/etcd", "\(folder)/etcd-load"],
        programs: { setting in
            let ports = setting.ports
            let cluster = (0..<3).map { "n\($0)=http://127.0.0.1:\(ports[$0])" }.joined(separator: ",")
            let members = (0..<3).map { id in
                Program(
                    path: "/usr/bin/etcd",
                    arguments: [
                        "--name", "n\(id)", "--data-dir", "\(setting.directory)/n\(id)",
                        "--listen-peer-urls", "http://127.0.0.1:\(ports[id])",
                        "--initial-advertise-peer-urls", "http://127.0.0.1:\(ports[id])",
                        "--listen-client-urls", "http://127.0.0.1:\(ports[3 + id])",
                        "--advertise-client-urls", "http://127.0.0.1:\(ports[3 + id])",
                        "--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error",
                    ])
            }
            var words = words(setting.load)
            words.insert("http://127.0.0.1:\(ports[3])", at: 0)
            return members.dropLast() + [
                Program(
                    path: members[2].path, arguments: members[2].arguments, port: ports[5]),
                Program(path: "\(folder)/etcd-load", arguments: words + ["put"]),
            ]
        })

    static let postgresql = Peer(
        name: "postgresql",
        conditions: "one INSERT per commit by pgbench in a process of its own, two standbys, synchronous_standby_names "
            + "'ANY 1', fdatasync on both before the answer",
        packages: ["postgresql"], needs: ["Benchmarks/Peers/Programs/postgresql-load"],
        programs: { setting in
            [
                Program(
                    path: "Benchmarks/Peers/Programs/postgresql-load",
                    arguments: [setting.directory] + words(setting.load) + setting.ports.prefix(3).map { "\($0)" })
            ]
        })
}
