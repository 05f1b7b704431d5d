import FlotillaIO

/// `flotilla-bench soak`: random kills under load, and then every promise is called in.
enum Soak {
    static let command = CommandDescription(
        "flotilla-bench soak",
        summary:
            "Kills and restarts nodes at random under load, then checks every workflow and all replicas.",
        options: [
            .value("seconds", "N", "how long nodes are killed (default: 60)"),
            .value("seed", "N", "repeats the faults of an earlier run (default: a new one)"),
            .value(
                "clients", "N", "how many clients start workflows at the same time (default: 8)"),
        ] + HarnessOptions.all)

    static func run(_ options: ParsedOptions) async throws {
        let seconds = try options.number("seconds", in: 1...86_400) ?? 60
        let seed =
            try options.number("seed", in: 0...UInt64.max) ?? .random(in: 0...UInt64(UInt32.max))
        let clients = try options.number("clients", in: 1...256) ?? 8
        Terminal.writeLine(
            "Soak: \(seconds) s of kill -9 and restart of 3 nodes under the load of \(clients) clients, seed \(seed) "
                + "(repeat with --seed \(seed))")
        try await withCluster("soak", options: options) { cluster, _ in
            try await SoakRun(cluster: cluster, seed: seed, clients: clients).run(
                for: .seconds(seconds))
        }
    }
}

extension Soak {
    /// - Returns: what they agree on; nil while they stand at different indexes.
    /// - Throws: where two stand at one index with different states.
    static func agreement(of reports: [StatusReport]) throws(BenchError) -> String? {
        guard let first = reports.first else { return nil }
        var summary: [String] = []
        for group in first.groups {
            let replicas = reports.compactMap { report in
                report.groups.first { $0.group == group.group }
            }
            guard replicas.count == reports.count,
                replicas.allSatisfy({ $0.appliedIndex == group.appliedIndex })
            else { return nil }
            guard let hash = group.stateHash, replicas.allSatisfy({ $0.stateHash == hash }) else {
                throw BenchError(
                    "at index \(group.appliedIndex) the \(group.kind) replicas differ: "
                        + replicas.map { $0.stateHash ?? "no hash" }.joined(separator: ", "))
            }
            summary.append("\(group.kind) at \(group.appliedIndex) (\(hash))")
        }
        return summary.joined(separator: ", ")
    }
}

private final class SoakRun: Sendable {
    private struct Counts {
        var acknowledged: [ChainWork] = []
        var completed = 0
        var kills = 0
        var terminations = 0
        var isOver = false
    }

    private static let startTimeLimit: Duration = .seconds(120)
    private static let completionTimeLimit: Duration = .seconds(180)
    private static let agreementTimeLimit: Duration = .seconds(120)

    private let cluster: Cluster
    private let seed: UInt64
    private let clients: Int
    private let progress = Progress()
    private let counts = Lock(Counts())

    init(cluster: Cluster, seed: UInt64, clients: Int) {
        self.cluster = cluster
        self.seed = seed
        self.clients = clients
    }

    func run(for time: Duration) async throws {
        let end = ContinuousClock.now + time
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<clients { group.addTask { try await self.load(client: client) } }
            group.addTask { try await self.watch(until: end) }
            group.addTask {
                try await self.breakNodes(until: end)
                self.counts.withLock { $0.isOver = true }
            }
            while try await group.next() != nil {}
        }
        let (starts, kills, terminations) = counts.withLock {
            ($0.acknowledged, $0.kills, $0.terminations)
        }
        progress.event(
            "\(kills) kills, \(terminations) orderly stops; \(starts.count) starts were acknowledged"
        )
        try await checkCompletion(of: starts)
        progress.event("all \(starts.count) are found and have the right result")
        try await checkAgreement()
        progress.line(Style.green("Passed") + " (seed \(seed)).")
    }

    // MARK: Load

    /// Starts one workflow after the other, at any node, until the faults are over.
    private func load(client: Int) async throws {
        var number = 0
        var generator = SplitMix64(state: seed &+ UInt64(client) &* 0x9e37)
        while !counts.withLock({ $0.isOver }) {
            number += 1
            let work = ChainWork(
                id: "soak-\(client)-\(number)", seed: generator.next() % 1_000,
                steps: Int(generator.next() % 8) + 2)
            guard try await start(work) else { continue }
            counts.withLock { $0.acknowledged.append(work) }
            // Half of them are waited for, so that there are always both old and new ones.
            if number.isMultiple(of: 2) {
                try await awaitResult(of: work, limit: Self.completionTimeLimit)
            }
        }
    }

    /// - Returns: whether it was acknowledged; when the faults end first, nobody knows.
    private func start(_ work: ChainWork) async throws -> Bool {
        let deadline = ContinuousClock.now + Self.startTimeLimit
        var lastProblem = "no node runs"
        while ContinuousClock.now < deadline {
            let api = await cluster.api(.random(in: cluster.nodes))
            do {
                let answer = try await api.start(
                    type: ChainWork.type, id: work.id, input: work.input, limit: .seconds(5))
                if answer.status == 201 || answer.status == 200 { return true }
                if answer.status < 500 {
                    throw BenchError("\(work.id) was refused: \(answer.problem)")
                }
                lastProblem = answer.problem
            } catch let error as BenchError {
                throw error
            } catch {
                try Task.checkCancellation()
                lastProblem = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw BenchError(
            "no node took the start of \(work.id) for \(Self.startTimeLimit.short), although a majority lived: "
                + lastProblem)
    }

    private func awaitResult(of work: ChainWork, limit: Duration) async throws {
        struct Output: Decodable, Sendable { var value: UInt64 }
        let deadline = ContinuousClock.now + limit
        var lastProblem = "it is still running"
        while ContinuousClock.now < deadline {
            let api = await cluster.api(.random(in: cluster.nodes))
            do {
                if let output = try await api.result(
                    of: work.id, wait: .seconds(2), as: Output.self)
                {
                    guard output.value == work.expected else {
                        throw WrongResult(id: work.id, value: output.value, expected: work.expected)
                    }
                    counts.withLock { $0.completed += 1 }
                    return
                }
            } catch let error as WrongResult {
                throw BenchError(
                    "\(error.id) returned \(error.value); its steps lead to \(error.expected)")
            } catch {
                // The node may be down; another one answers.
                try Task.checkCancellation()
                lastProblem = "\(error)"
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        throw BenchError("\(work.id) has no result after \(limit.short): \(lastProblem)")
    }

    private struct WrongResult: Error {
        var id: String
        var value: UInt64
        var expected: UInt64
    }

    // MARK: Faults

    private func breakNodes(until end: ContinuousClock.Instant) async throws {
        var plan = FaultPlan(seed: seed, nodes: cluster.nodes)
        while ContinuousClock.now < end {
            let fault = plan.next()
            try await Task.sleep(for: fault.calm)
            switch fault.kind {
            case .kill:
                counts.withLock { $0.kills += 1 }
                await cluster.kill(fault.node)
            case .terminate:
                counts.withLock { $0.terminations += 1 }
                try await cluster.terminate(fault.node)
            }
            try await Task.sleep(for: fault.absence)
            try await cluster.spawn(fault.node)
            // Until it has caught up it counts as down: never is more than a minority.
            try await cluster.waitUntilReady(fault.node)
        }
    }

    private func watch(until end: ContinuousClock.Instant) async throws {
        while true {
            let counts = counts.withLock { $0 }
            if counts.isOver { return }
            let left = max(0, (end - ContinuousClock.now).components.seconds)
            progress.update(
                "\(left) s left: \(counts.acknowledged.count) started, \(counts.completed) results seen, "
                    + "\(counts.kills) kills, \(counts.terminations) orderly stops")
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: Judging

    private func checkCompletion(of starts: [ChainWork]) async throws {
        let next = Lock(0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    while let work = next.withLock({ index -> ChainWork? in
                        guard index < starts.count else { return nil }
                        defer { index += 1 }
                        return starts[index]
                    }) {
                        try await self.awaitResult(of: work, limit: Self.completionTimeLimit)
                        let done = next.withLock { $0 }
                        self.progress.update("\(done) of \(starts.count) results checked")
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Polls until all replicas stand at the same index, and compares what they hold there.
    private func checkAgreement() async throws {
        let deadline = ContinuousClock.now + Self.agreementTimeLimit
        while true {
            var reports: [StatusReport] = []
            for node in cluster.nodes {
                reports.append(try await cluster.api(node).status(withHashes: true))
            }
            if let agreement = try Soak.agreement(of: reports) {
                return progress.event("the replicas' states agree: \(agreement)")
            }
            guard ContinuousClock.now < deadline else {
                let indexes = reports.map {
                    "node \($0.node): \($0.groups.map { "\($0.kind) \($0.appliedIndex)" })"
                }
                throw BenchError(
                    "the replicas do not come to one index: \(indexes.joined(separator: "; "))")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
