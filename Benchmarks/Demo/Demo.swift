import FlotillaIO

/// `flotilla-bench demo`: orders go on while the node that runs most of them is killed, twice.
enum Demo {
    static let command = CommandDescription(
        "flotilla-bench demo",
        summary:
            "Processes orders on three nodes, kills two of them on the way, and shows that nothing is lost.",
        options: [
            .value(
                "orders", "FILE", "JSON lines, one order each (default: Benchmarks/orders.jsonl)")
        ] + HarnessOptions.all)

    /// Orders come in as many waves as it takes for each kill to hit one.
    private static let waves = 3
    /// How many clients submit at the same time.
    private static let clients = 16

    static func run(_ options: ParsedOptions) async throws {
        let path = options.string("orders") ?? "Benchmarks/orders.jsonl"
        let orders = try Order.read(try readText(path), from: path)
        _ = try HarnessOptions.executable(options)
        introduce(orders: orders.count, path: path)
        try await withCluster("demo", options: options, ledger: "ledger.jsonl") {
            cluster, directory in
            let run = DemoRun(
                cluster: cluster, orders: orders, ledgerPath: directory + "/ledger.jsonl")
            let report = try await run.report()
            DemoTable.show(report)
            guard report.passed else {
                throw BenchError("orders were lost or steps recorded twice")
            }
        }
    }

    private static func introduce(orders: Int, path: String) {
        Terminal.write(
            """
            \(Style.bold("Flotilla: workflows that outlive the machines they run on."))
            \(orders) orders (\(path)) go through 5 steps each: \(DemoReport.steps.joined(separator: ", ")).
            Three nodes share the work and keep its record together. While they work, the one that runs the
            most orders is killed (kill -9), comes back, and then another. Every order must still be finished,
            and no step recorded twice.


            """)
    }

    /// Which orders belong to which wave: as equal as possible, in order.
    static func waveBounds(of count: Int) -> [Range<Int>] {
        (0..<waves).map { (count * $0 / waves)..<(count * ($0 + 1) / waves) }
    }

    fileprivate static var clientCount: Int { clients }
}

/// One run of the demo.
private final class DemoRun: Sendable {
    private struct Counts {
        var submitted = 0
        var phase = "starting"
    }
    private struct Receipt: Decodable, Sendable {
        var order: String
        var totalCents: Int
    }

    /// A kill waits until so many orders of its wave were accepted.
    private static let killAfterAccepted = 80
    /// The time between two orders, so that those that run stand at different steps; a wave of a long file comes
    /// faster.
    private static let orderInterval: Duration = .milliseconds(8)
    private static let waveTimeMax: Duration = .seconds(5)
    private static let resultTimeLimit: Duration = .seconds(120)

    private let cluster: Cluster
    private let orders: [Order]
    private let ledgerPath: String
    private let progress = Progress()
    private let counts = Lock(Counts())

    init(cluster: Cluster, orders: [Order], ledgerPath: String) {
        self.cluster = cluster
        self.orders = orders
        self.ledgerPath = ledgerPath
    }

    func report() async throws -> DemoReport {
        progress.event("three nodes are up: one cluster, data on disk")
        let kills = try await withThrowingTaskGroup(of: [Kill]?.self) { group in
            group.addTask { try await self.work() }
            group.addTask {
                try await self.watch()
                return nil
            }
            defer { group.cancelAll() }
            while let next = try await group.next() { if let kills = next { return kills } }
            throw CancellationError()
        }
        progress.event("asking the nodes for every order")
        let outcomes = try await collect()
        progress.clear()
        let ledger = try Ledger(text: try readText(ledgerPath))
        return DemoReport(ledger: ledger, outcomes: outcomes, kills: kills)
    }

    private func work() async throws -> [Kill] {
        var kills: [Kill] = []
        let waves = Demo.waveBounds(of: orders.count)
        for (number, wave) in waves.enumerated() {
            setPhase("wave \(number + 1) of \(waves.count)")
            progress.event("\(wave.count) orders come in")
            guard number < waves.count - 1 else {
                try await submit(wave)
                break
            }
            // The wave goes on being submitted while its node is killed.
            async let submission: Void = submit(wave)
            try await waitUntilAccepted(
                wave.lowerBound + min(wave.count * 4 / 5, Self.killAfterAccepted))
            kills.append(try await killBusiest(sparing: kills.last?.node))
            try await submission
            try await bringBack(kills[number])
        }
        setPhase("finishing")
        for order in orders { try await waitForEnd(of: order.id) }
        progress.event("all orders have ended")
        return kills
    }

    private func setPhase(_ phase: String) { counts.withLock { $0.phase = phase } }

    // MARK: Submitting

    private func submit(_ wave: Range<Int>) async throws {
        let next = Lock(wave.lowerBound)
        let start = ContinuousClock.now
        let interval = min(Self.orderInterval, Self.waveTimeMax / max(1, wave.count))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<Demo.clientCount {
                group.addTask {
                    var turn = client
                    while let index = next.withLock({ value -> Int? in
                        guard value < wave.upperBound else { return nil }
                        defer { value += 1 }
                        return value
                    }) {
                        try await Task.sleep(
                            until: start + interval * (index - wave.lowerBound), clock: .continuous)
                        try await self.submit(self.orders[index], turn: &turn)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Tries node after node until one has accepted the order. The id makes that safe to repeat.
    private func submit(_ order: Order, turn: inout Int) async throws {
        let deadline = ContinuousClock.now + Self.resultTimeLimit
        while true {
            turn += 1
            let api = await cluster.api(turn % cluster.nodes.count + 1)
            let answer = try? await api.start(
                type: "order_processing", id: order.id, input: order.json)
            if let answer, answer.status == 201 || answer.status == 200 {
                return counts.withLock { $0.submitted += 1 }
            }
            if let answer, answer.status < 500 {
                throw BenchError("\(order.id) was refused: \(answer.problem)")
            }
            guard ContinuousClock.now < deadline else {
                throw BenchError("no node accepts \(order.id)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func waitUntilAccepted(_ count: Int) async throws {
        while counts.withLock({ $0.submitted }) < count {
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    // MARK: Breaking

    private func killBusiest(sparing spared: UInt64?) async throws -> Kill {
        let running = try await anyNode { try await $0.list(status: "running") }
        var owned: [UInt64: [String]] = [:]
        for workflow in running {
            if let owner = workflow.owner { owned[owner, default: []].append(workflow.id) }
        }
        let busiest = owned.filter { $0.key != spared }.max {
            ($0.value.count, $1.key) < ($1.value.count, $0.key)
        }
        guard let (node, orphans) = busiest else {
            throw BenchError("no node owns a running order")
        }
        let process = await cluster.kill(Int(node))
        let at = WallTime.now.nanoseconds
        progress.event(
            Style.red("kill -9 node \(node)")
                + ", which runs \(orphans.count) of \(running.count) unfinished orders")
        return Kill(node: node, process: process, at: at, orphans: orphans)
    }

    private func bringBack(_ kill: Kill) async throws {
        setPhase("node \(kill.node) is dead, the others take over")
        for order in kill.orphans { try await waitForEnd(of: order) }
        let took = Duration.nanoseconds(WallTime.now.nanoseconds - kill.at)
        progress.event(
            "its \(kill.orphans.count) orders were finished by the others, \(took.short) after the kill"
        )
        try await cluster.spawn(Int(kill.node))
        setPhase("node \(kill.node) comes back")
        try await cluster.waitUntilReady(Int(kill.node))
        progress.event(Style.green("node \(kill.node) is back") + " with its data, and ready")
    }

    private func waitForEnd(of order: String) async throws {
        let deadline = ContinuousClock.now + Self.resultTimeLimit
        while ContinuousClock.now < deadline {
            let report = try await anyNode { try await $0.describe(order) }
            guard let report, report.status == "running" else { return }
            try await Task.sleep(for: .milliseconds(25))
        }
    }

    // MARK: Watching

    private func watch() async throws {
        while true {
            try await Task.sleep(for: .milliseconds(100))
            guard let running = try? await anyNode({ try await $0.list(status: "running") }) else {
                continue
            }
            let counts = counts.withLock { $0 }
            let done = max(0, counts.submitted - running.count)
            var owned: [UInt64: Int] = [:]
            for workflow in running { owned[workflow.owner ?? 0, default: 0] += 1 }
            let spread = cluster.nodes.map { "node \($0): \(owned[UInt64($0)] ?? 0)" }.joined(
                separator: "  ")
            progress.update(
                "\(Self.bar(done, of: orders.count)) \(done)/\(orders.count) done, \(running.count) running"
                    + " (\(spread))  \(counts.phase)")
        }
    }

    private static func bar(_ done: Int, of total: Int) -> String {
        let filled = 20 * done / max(1, total)
        return "[" + String(repeating: "#", count: filled)
            + String(repeating: ".", count: 20 - filled) + "]"
    }

    private func anyNode<Result: Sendable>(_ body: (NodeAPI) async throws -> Result) async throws
        -> Result
    {
        var last: any Error = BenchError("no node runs")
        for _ in 0..<50 {
            for api in await cluster.running().shuffled() {
                do { return try await body(api) } catch { last = error }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw last
    }

    // MARK: Judging

    private func collect() async throws -> [OrderOutcome] {
        var outcomes: [OrderOutcome] = []
        for (index, order) in orders.enumerated() {
            // Each node is asked for a part: any node must be able to answer.
            let api = await cluster.api(index % cluster.nodes.count + 1)
            outcomes.append(try await outcome(of: order, api))
        }
        return outcomes
    }

    private func outcome(of order: Order, _ api: NodeAPI) async throws -> OrderOutcome {
        guard let report = try await api.describe(order.id) else {
            return OrderOutcome(
                order: order.id, status: nil, fault: nil, steps: [], completedAt: nil)
        }
        var fault: String?
        if report.status == "completed" {
            let receipt = try await api.result(of: order.id, wait: .seconds(1), as: Receipt.self)
            if receipt?.order != order.id || receipt?.totalCents != order.totalCents {
                fault =
                    "its receipt is not for \(order.totalCents) cents: \(receipt.map { "\($0)" } ?? "none")"
            }
        }
        let steps = try (report.steps ?? []).map { step in
            OrderOutcome.Step(name: step.name, recordedAt: try Self.moment(step.recordedAt))
        }
        return OrderOutcome(
            order: order.id, status: report.status, fault: fault, steps: steps,
            completedAt: try report.finishedAt.map(Self.moment))
    }

    private static func moment(_ text: String) throws -> Int64 {
        guard let time = WallTime(rfc3339: text) else { throw BenchError("no time: \(text)") }
        return time.nanoseconds
    }
}
