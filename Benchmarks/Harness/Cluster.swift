import FlotillaIO
import FoundationEssentials
import Glibc

/// Three nodes as processes of their own on this machine, with their data in a scratch directory.
///
/// The addresses stay the same for the life of the cluster: a node that is started again uses the same ports and data.
actor Cluster {
    struct Settings: Sendable {
        var executable: String
        /// Holds each node's data and log.
        var directory: String
        var nodeCount = 3
        /// Added to the nodes' environment.
        var environment: [String: String] = [:]
        /// Added to what every node is started with.
        var nodeArguments: [String] = []
        /// See `GroupLoad`.
        var fsyncDelay = 0
    }

    private struct Member {
        var address: String
        var http: String
        /// Where it takes binary clients.
        var clients: String
        var process: ChildProcess?
    }

    /// How often other ports are tried when someone took one between the choice and the start.
    private static let portAttempts = 5
    /// Whoever takes longer is stuck, also on a busy machine.
    static let readyTimeLimit: Duration = .seconds(120)

    private let settings: Settings
    private var members: [Member] = []

    init(_ settings: Settings) { self.settings = settings }

    nonisolated var nodes: ClosedRange<Int> { 1...settings.nodeCount }

    /// The interface of one node, whether it runs or not.
    func api(_ node: Int) -> NodeAPI { NodeAPI(address: members[node - 1].http) }

    /// Where a node takes binary clients, whether it runs or not.
    func clientAddress(_ node: Int) -> String { members[node - 1].clients }

    /// The interfaces of the nodes whose process runs.
    func running() -> [NodeAPI] { nodes.filter { isRunning($0) }.map { api($0) } }

    private func isRunning(_ node: Int) -> Bool {
        guard let process = members[node - 1].process else { return false }
        return process.poll() == nil
    }

    func process(_ node: Int) -> ChildProcess? { members[node - 1].process }

    private nonisolated func dataPath(_ node: Int) -> String { "\(settings.directory)/node-\(node)" }

    nonisolated func logPath(_ node: Int) -> String { "\(settings.directory)/node-\(node).log" }

    /// Starts all nodes on new ports and waits until they form one cluster.
    func start() async throws {
        for attempt in 1...Self.portAttempts {
            try choosePorts()
            do {
                for node in nodes { try spawn(node) }
                return try await waitUntilFormed()
            } catch let error as PortTaken {
                killAll()
                guard attempt < Self.portAttempts else { throw BenchError(error.message) }
                // What they have written knows the others by the old ports.
                for node in nodes { try? FileManager.default.removeItem(atPath: dataPath(node)) }
            }
        }
    }

    /// Where the nodes are started from now on: on new ports, and as members of the cluster that they are.
    func move() throws {
        killAll()
        try choosePorts()
    }

    private func choosePorts() throws(BenchError) {
        let ports = try Ports.free(settings.nodeCount * 3)
        members = (0..<settings.nodeCount).map { number in
            let own = ports[(3 * number)..<(3 * number + 3)].map { "127.0.0.1:\($0)" }
            return Member(address: own[0], http: own[1], clients: own[2])
        }
    }

    private struct PortTaken: Error { var message: String }

    func spawn(_ node: Int) throws(BenchError) {
        let member = members[node - 1]
        precondition(!isRunning(node), "node \(node) runs already")
        let others = nodes.filter { $0 != node }.map { members[$0 - 1].address }
        var arguments = [
            "node", "run", "--id", "\(node)", "--listen", member.address, "--http", member.http,
            "--clients", member.clients,
            "--data", dataPath(node),
        ]
        arguments += settings.nodeArguments
        arguments += node == 1 ? ["--bootstrap"] : ["--join", others.joined(separator: ",")]
        let command = SlowDisk.command(settings.executable, arguments, delay: settings.fsyncDelay)
        members[node - 1].process = try ChildProcess(
            path: command.path, arguments: command.arguments,
            environment: settings.environment.merging(["FLOTILLA_NODE": "\(node)"]) { $1 },
            log: logPath(node))
    }

    /// kill -9.
    /// - Returns: the process that is gone.
    @discardableResult
    func kill(_ node: Int) async -> pid_t {
        guard let process = members[node - 1].process else { return 0 }
        process.send(signal: SIGKILL)
        await process.wait(limit: .seconds(10))
        return process.pid
    }

    /// SIGTERM, and the time that an orderly stop takes.
    /// - Throws: if the node does not stop by itself, or fails on the way.
    func terminate(_ node: Int) async throws {
        guard let process = members[node - 1].process else { return }
        process.send(signal: SIGTERM)
        let end = await process.wait(limit: .seconds(15))
        guard end == .exited(0) else {
            throw BenchError(
                "node \(node) was asked to stop and ended so: \(end.map { "\($0)" } ?? "by force")")
        }
    }

    /// Waits until the node says that it is ready.
    /// - Throws: if its process ends or the time limit passes.
    func waitUntilReady(_ node: Int, limit: Duration = readyTimeLimit) async throws {
        let deadline = ContinuousClock.now + limit
        while !(await api(node).isReady()) {
            try checkAlive(node)
            guard ContinuousClock.now < deadline else {
                throw BenchError(
                    "node \(node) is not ready after \(limit.short); its log: \(logPath(node))")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Waits until every node is ready and every group has all of them as voters.
    func waitUntilFormed(limit: Duration = readyTimeLimit) async throws {
        let deadline = ContinuousClock.now + limit
        while true {
            for node in nodes { try checkAlive(node) }
            var formed = 0
            for node in nodes where await isFormed(node) { formed += 1 }
            if formed == settings.nodeCount { return }
            guard ContinuousClock.now < deadline else {
                throw BenchError(
                    "\(settings.nodeCount - formed) of \(settings.nodeCount) nodes are not ready with all voters after "
                        + "\(limit.short); their logs: \(settings.directory)/node-*.log")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func isFormed(_ node: Int) async -> Bool {
        guard let status = try? await api(node).status() else { return false }
        return status.ready && status.groups.count >= 2
            && status.groups.allSatisfy { $0.voters.count == voterCount(of: $0.kind) }
    }

    /// As many as can be, an odd number.
    private func voterCount(of kind: String) -> Int {
        let nodes = settings.nodeCount
        let most = kind == "management" && nodes < 20 ? 3 : 5
        return min(most, nodes.isMultiple(of: 2) ? nodes - 1 : nodes)
    }

    private func checkAlive(_ node: Int) throws {
        guard let end = members[node - 1].process?.poll() else { return }
        let log = (try? readText(logPath(node))) ?? ""
        if log.contains("in use") { throw PortTaken(message: "node \(node): a port is in use") }
        let last = log.split(separator: "\n").suffix(5).joined(separator: "\n  ")
        throw BenchError("node \(node) ended by itself (\(end)); the end of its log:\n  \(last)")
    }

    /// Ends all processes at once.
    func killAll() {
        for member in members { member.process?.send(signal: SIGKILL) }
        for member in members {
            while let process = member.process, process.poll() == nil { usleep(1_000) }
        }
    }
}
