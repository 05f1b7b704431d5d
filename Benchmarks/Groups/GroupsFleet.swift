import FlotillaIO
import FlotillaRaft
import FoundationEssentials
import Glibc

/// Three nodes of `flotilla-bench groups-node` as processes.
final class GroupsFleet: Sendable {
    private struct Member: Sendable {
        var api: NodeAPI
        /// Where it takes clients.
        var clients: String
        var process: ChildProcess
    }

    private let members: [Member]
    private static let timeLimit: Duration = .seconds(120)

    /// - Parameters:
    ///   - directory: for data and logs.
    ///   - fsyncDelay: see `GroupLoad`.
    init(
        _ kind: GroupsBenchmark.Kind, directory: String, isSynced: Bool = true, reads: ReadConsistency = .quorum,
        fsyncDelay: Int = 0
    ) throws {
        let count = GroupsBenchmark.nodeCount
        let ports = try Ports.free(count * 3).map { "127.0.0.1:\($0)" }
        let program = try ownPath()
        members = try (1...count).map { id in
            let http = ports[count + id - 1]
            let clients = ports[2 * count + id - 1]
            var arguments = [
                "groups-node", "--id", "\(id)", "--peers", ports.prefix(count).joined(separator: ","),
                "--http", http, "--data", "\(directory)/\(id)", "--kind", kind.rawValue, "--clients", clients,
            ]
            if !isSynced { arguments.append("--unsynced") }
            if reads == .lease { arguments.append("--lease") }
            let command = SlowDisk.command(program, arguments, delay: fsyncDelay)
            return Member(
                api: NodeAPI(address: http), clients: clients,
                process: try ChildProcess(
                    path: command.path, arguments: command.arguments, environment: [:], log: "\(directory)/\(id).log"))
        }
    }

    func reports() async throws -> [GroupsReport] { try await all("/report") }

    /// The same without what takes a look at each group, which would be most of what an idle node does.
    func usage() async throws -> [GroupsReport] { try await all("/usage") }

    private func all(_ path: String) async throws -> [GroupsReport] {
        var reports: [GroupsReport] = []
        for node in 1...members.count { reports.append(try await ask(node, path)) }
        return reports
    }

    /// Commits one command in each group of `node`.
    func commit(_ node: Int, since: UInt64) async throws -> GroupsLatency {
        try await ask(node, "/commit?since=\(since)")
    }

    /// Works groups by callers in the processes of their leaders: a node that leads none of them does nothing.
    func load(_ load: GroupLoad) async throws -> LoadResult {
        let leaders = min(load.active, members.count)
        let share = load.with { load in
            load.callers = max(1, load.callers / leaders)
            load.rate = load.rate == 0 ? 0 : max(1, load.rate / leaders)
        }
        let result = try await withThrowingTaskGroup(of: LoadResult.self) { tasks in
            for node in 1...members.count { tasks.addTask { try await self.load(node, share) } }
            return LoadResult(together: try await tasks.reduce(into: []) { $0.append($1) })
        }
        guard result.operations > 0 else { throw BenchError("nothing was done in time: no node leads the groups") }
        return result
    }

    /// A process that works the first group over connections to its leader.
    func startClient(
        _ load: GroupLoad, _ place: FlotillaContestant.CallerPlace, log: String
    ) async throws -> ChildProcess {
        guard let leader = try await reports().firstIndex(where: { $0.led == 1 }) else {
            throw BenchError("no node leads the group")
        }
        if place == .http {
            return try ChildProcess(
                path: FlotillaContestant.httpLoad,
                arguments: [
                    "http://\(members[leader].api.address)\(HTTPProposal.path)", "\(GroupsNode.firstGroup)",
                ] + load.words, environment: [:], log: log)
        }
        let text = String(decoding: try JSONEncoder().encode(load), as: UTF8.self)
        return try ChildProcess(
            path: try ownPath(),
            arguments: [
                "group-client", "--address", members[leader].clients, "--group", "\(GroupsNode.firstGroup)", "--load",
                text,
            ], environment: [:], log: log)
    }

    private func load(_ node: Int, _ load: GroupLoad) async throws -> LoadResult {
        let text = String(decoding: try JSONEncoder().encode(load), as: UTF8.self)
        return try await ask(
            node, "/load?load=\(PercentEncoding.encode(text))", limit: load.warmup + load.length + .seconds(60))
    }

    var processes: [pid_t] { members.map(\.process.pid) }

    /// Returns when all nodes have the groups on disk.
    func found(_ count: Int, leader: Int?) async throws {
        let path = "/found?count=\(count)" + (leader.map { "&leader=\($0)" } ?? "")
        try await withThrowingTaskGroup(of: NodeAPI.Answer.self) { tasks in
            for api in members.map(\.api) { tasks.addTask { try await api.get(path, limit: Self.timeLimit) } }
            for try await answer in tasks where answer.status != 204 { throw BenchError(answer.problem) }
        }
    }

    /// Waits until all nodes answer.
    func waitUntilUp() async throws {
        try await wait("answer of all nodes") { (try? await self.reports()) != nil }
    }

    /// Waits until all groups have a leader and are quiet.
    func waitUntilQuiet(_ count: Int) async throws {
        try await wait("quiet") {
            let reports = try await self.reports()
            return reports.allSatisfy { $0.groups == count && $0.quiet == count }
                && reports.reduce(0) { $0 + $1.led } == count
        }
    }

    private func wait(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + Self.timeLimit
        while try await !condition() {
            for (index, member) in members.enumerated() {
                if let end = member.process.poll() { throw BenchError("node \(index + 1) has ended: \(end)") }
            }
            guard ContinuousClock.now < deadline else { throw BenchError("no \(what) within \(Self.timeLimit)") }
            // An answer costs a look at every group.
            try await Task.sleep(for: .seconds(1))
        }
    }

    /// kill -9.
    /// - Returns: when, by the machine's monotonic clock.
    func kill(_ node: Int) async -> UInt64 {
        let moment = monotonicNanoseconds()
        members[node - 1].process.send(signal: SIGKILL)
        await members[node - 1].process.wait(limit: .seconds(10))
        return moment
    }

    func killAll() async {
        for node in 1...members.count { _ = await kill(node) }
    }

    private func ask<Value: Decodable>(
        _ node: Int, _ path: String, limit: Duration = timeLimit
    ) async throws -> Value {
        let answer = try await members[node - 1].api.get(path, limit: limit)
        guard answer.status == 200 else { throw BenchError("node \(node): \(answer.problem)") }
        return try answer.decode(Value.self)
    }
}
