import FlotillaActors
import FlotillaIO
import FlotillaRaft
import FlotillaSimulation

extension Scenario {
    /// A group of registers, asked from all sides.
    package static let registers = Scenario(
        name: "registers",
        summary: "one group of registers: histories are linearizable, acknowledged writes survive",
        nodeCounts: [3, 3, 4, 5], rates: .survivable,
        limits: SimulationLimits(virtualTime: .seconds(600), steps: 20_000_000)
    ) { run in
        try await RegisterLoad(run).play()
    }
}

/// Clients that read and write registers on every node while faults happen, and what is checked of their history.
private final class RegisterLoad: @unchecked Sendable {
    // Unchecked: touched on the simulation's thread only.
    private static let clientCount = 5
    private static let keyCount: UInt64 = 4
    /// After the faults have ended the group must answer everyone within this time.
    private static let recoveryLimit: Duration = .seconds(30)

    private let run: ScenarioRun
    private let oracle = GroupOracle()
    private let fleet: SimulatedFleet
    private var world: SimulationWorld { run.world }
    /// By key.
    private var histories: [UInt64: [HistoryOperation<RegisterModel.Operation>]] = [:]
    private var acknowledged: Set<UInt64> = []
    private var clock = 0
    private var lastValue: UInt64 = 0

    init(_ run: ScenarioRun) {
        self.run = run
        let oracle = oracle
        fleet = SimulatedFleet(run.world, nodes: run.nodeCount) { _ in
            RegisterMachine { oracle.replica(of: SimulatedFleet.group, reached: $0, at: $1) }
        }
        fleet.observer = oracle
        fleet.logger = { run.logger($0.rawValue) }
        fleet.settings.snapshotThreshold = 20 + Int(run.world.random(below: 200))
        fleet.settings.entriesKeptBehindSnapshot = 1 + Int(run.world.random(below: 50))
        fleet.settings.logWindowBytes = run.drawLogWindow()
        fleet.settings.requestTimeLimit = .seconds(5)
    }

    func play() async throws {
        try await fleet.startAll()
        do {
            try await checkedPlay()
        } catch {
            await fleet.stopAll()
            throw oracle.failure ?? error
        }
        await fleet.stopAll()
        try oracle.check()
    }

    private func checkedPlay() async throws {
        let voters = run.nodeCount.isMultiple(of: 2) ? run.nodeCount - 1 : run.nodeCount
        try await fleet.waitForVoters(voters)
        let end = world.now.advanced(by: run.load)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<Self.clientCount { group.addTask { [self] in try await ask(until: end) } }
            group.addTask { [self] in try await run.inject(into: fleet, until: end) }
            try await group.waitForAll()
        }
        try await fleet.waitForVoters(voters)
        try await lookAtTheEnd()
        try checkHistories()
    }

    // MARK: Clients

    private func tick() -> Int {
        clock += 1
        return clock
    }

    private func ask(until end: MonotonicTime) async throws {
        var seen: UInt64 = 0
        while world.now < end {
            try oracle.check()
            try await world.sleep(for: .milliseconds(Int64(world.random(below: 250)) + 1))
            let running = fleet.nodes.filter { fleet.cores[$0]?.hosted[SimulatedFleet.group] != nil }
            guard !running.isEmpty else { continue }
            let node = running[Int(world.random(below: UInt64(running.count)))]
            guard let group = fleet.cores[node]?.hosted[SimulatedFleet.group] else { continue }
            let key = world.random(below: Self.keyCount)
            switch world.random(below: 10) {
            case 0..<4: if let value = try await read(key, group) { seen = value }
            case 4..<8: await write(key, group)
            default: if let value = await compareAndSet(key, seen, group) { seen = value }
            }
        }
    }

    private func newValue() -> UInt64 {
        lastValue += 1
        return lastValue
    }

    private func record(_ operation: RegisterModel.Operation, of key: UInt64, called: Int, returned: Int?) {
        histories[key, default: []].append(.init(operation, called: called, returned: returned))
    }

    /// A read without an answer says nothing and is forgotten.
    private func read(_ key: UInt64, _ group: RaftGroup) async throws -> UInt64? {
        let called = tick()
        guard let value = await answered({ try await Self.read(key, group) }) else { return nil }
        record(.read(value), of: key, called: called, returned: tick())
        return value
    }

    private static func read(_ key: UInt64, _ group: RaftGroup) async throws -> UInt64 {
        try await group.barrier()
        return try await group.withState { ($0 as? RegisterMachine)?[key] ?? 0 }
    }

    private func write(_ key: UInt64, _ group: RaftGroup) async {
        let value = newValue()
        let called = tick()
        let request = RegisterMachine.Request.write(key: key, value: value)
        let answer = await answered { try await group.propose([request.operation], ownerEpoch: 0) }
        if answer != nil { acknowledged.insert(value) }
        record(.write(value), of: key, called: called, returned: answer.map { _ in tick() })
    }

    /// - Returns: what it found.
    private func compareAndSet(_ key: UInt64, _ expected: UInt64, _ group: RaftGroup) async -> UInt64? {
        let value = newValue()
        let called = tick()
        let request = RegisterMachine.Request.compareAndSet(key: key, expected: expected, new: value)
        let found = await answered {
            try RegisterMachine.value(in: await group.propose([request.operation], ownerEpoch: 0))
        }
        if found != nil { acknowledged.insert(value) }
        record(
            .compareAndSet(expected: expected, new: value, found: found), of: key, called: called,
            returned: found.map { _ in tick() })
        return found
    }

    /// Nil where nobody answered: the node ended, or there was no majority in time.
    private func answered<Value: Sendable>(_ body: () async throws -> Value) async -> Value? {
        do { return try await body() } catch { return nil }
    }

    // MARK: Checks

    /// Every node answers, and has every write that was acknowledged to anyone.
    private func lookAtTheEnd() async throws {
        for node in fleet.nodes {
            let group = try await fleet.group(node)
            let begin = world.now
            for key in 0..<Self.keyCount {
                let called = tick()
                let value: UInt64
                do {
                    value = try await Self.read(key, group)
                } catch {
                    throw ScenarioFailure("after the faults \(node) does not answer: \(error)")
                }
                record(.read(value), of: key, called: called, returned: tick())
            }
            let taken = begin.duration(to: world.now)
            guard taken < Self.recoveryLimit else {
                throw ScenarioFailure("after the faults \(node) took \(taken) to answer")
            }
            let applied = try await group.withState { ($0 as? RegisterMachine)?.applied ?? [] }
            let lost = acknowledged.subtracting(applied)
            guard lost.isEmpty else {
                throw ScenarioFailure("\(node) lost acknowledged writes of \(lost.sorted())")
            }
            guard Set(applied).count == applied.count else {
                throw ScenarioFailure("\(node) applied a command twice")
            }
        }
        try oracle.check()
    }

    private func checkHistories() throws {
        for (key, history) in histories.sorted(by: { $0.key < $1.key }) {
            let relevant = RegisterModel.relevant(history)
            switch Linearizability.check(relevant, as: RegisterModel.self) {
            case .linearizable: break
            case .violated(let call):
                throw ScenarioFailure(
                    "the history of key \(key) is not linearizable:\n" + Self.excerpt(relevant, around: call))
            case .undecided(let steps):
                throw ScenarioFailure("the history of key \(key) was not decided within \(steps) steps")
            }
        }
        let count = histories.values.reduce(0) { $0 + $1.count }
        guard count > Self.clientCount else { throw ScenarioFailure("a load of \(count) operations shows nothing") }
    }

    private static func excerpt(
        _ history: [HistoryOperation<RegisterModel.Operation>], around call: Int
    ) -> String {
        let sorted = history.sorted { $0.called < $1.called }
        let place = sorted.firstIndex { $0.called == call } ?? 0
        return sorted[max(0, place - 8)..<min(sorted.count, place + 4)].map { item in
            let mark = item.called == call ? "->" : "  "
            return "\(mark) \(item.called)...\(item.returned.map { "\($0)" } ?? "?") \(item.operation)"
        }.joined(separator: "\n")
    }
}
