import FoundationEssentials

/// One effect of one step, as the order workflow wrote it outside the nodes, before it knew whether the step's result
/// would be recorded.
struct LedgerLine: Codable, Hashable, Sendable {
    var order: String
    var step: String
    /// The same for every run of one step's body.
    var key: String
    /// Rises when the workflow goes to another owner.
    var token: UInt64
    /// The process that did it.
    var process: Int32
    /// Wall clock, nanoseconds since 1970.
    var at: Int64
}

/// The ledger as it was read.
struct Ledger: Sendable {
    var lines: [LedgerLine] = []

    init(lines: [LedgerLine]) { self.lines = lines }

    /// - Throws: naming the line that is not what the order workflow writes.
    init(text: String) throws(BenchError) {
        let decoder = JSONDecoder()
        for (index, line) in text.split(separator: "\n").enumerated() {
            guard let decoded = try? decoder.decode(LedgerLine.self, from: Data(line.utf8)) else {
                throw BenchError("line \(index + 1) of the ledger is damaged: \(line.prefix(200))")
            }
            lines.append(decoded)
        }
    }

    /// The effects by step, in the order in which they were written.
    var runsByStep: [StepOfOrder: [LedgerLine]] {
        Dictionary(grouping: lines) { StepOfOrder(order: $0.order, step: $0.step) }
    }
}

struct StepOfOrder: Hashable, Comparable, Sendable, CustomStringConvertible {
    var order: String
    var step: String
    static func < (a: StepOfOrder, b: StepOfOrder) -> Bool { (a.order, a.step) < (b.order, b.step) }
    var description: String { "\(order)/\(step)" }
}

/// A process that was ended while it worked.
struct Kill: Hashable, Sendable {
    var node: UInt64
    var process: Int32
    /// Wall clock, nanoseconds since 1970.
    var at: Int64
    /// The orders that it was running.
    var orphans: [String]
}

/// What the nodes say about one order in the end.
struct OrderOutcome: Sendable {
    struct Step: Hashable, Sendable {
        var name: String
        /// Wall clock, nanoseconds since 1970.
        var recordedAt: Int64
    }
    var order: String
    /// nil if no node knows it.
    var status: String?
    /// Why its result is not the one that its input leads to; nil if it is.
    var fault: String?
    var steps: [Step]
    var completedAt: Int64?
}

/// The verdict over a demo's run.
struct DemoReport: Sendable {
    static let steps = ["reserve", "charge", "pack", "ship", "notify"]

    var orders = 0
    var ordersDone = 0
    var stepsRecorded = 0
    /// Steps whose body ran more than once and whose first run's owner was killed before it could be recorded.
    var repeatedAtKill = 0
    /// Steps whose body ran again although nobody killed the owner.
    var repeatedElsewhere = 0
    var lost: [String] = []
    var recordedTwice: [String] = []
    /// Everything else that must not be: wrong results, missing effects, tokens that do not rise, changing keys.
    var faults: [String] = []
    /// For each kill, from the kill to the next recorded step of each orphan that had one to record.
    var recoveries: [[Duration]] = []

    var passed: Bool {
        lost.isEmpty && recordedTwice.isEmpty && faults.isEmpty && ordersDone == orders
    }

    init(ledger: Ledger, outcomes: [OrderOutcome], kills: [Kill]) {
        orders = outcomes.count
        let runs = ledger.runsByStep
        for outcome in outcomes { judge(outcome, runs: runs) }
        for (step, lines) in runs.sorted(by: { $0.key < $1.key }) where lines.count > 1 {
            judgeRepetition(of: step, lines: lines, kills: kills)
        }
        recoveries = kills.map { kill in Self.recoveries(after: kill, outcomes: outcomes) }
    }

    private mutating func judge(_ outcome: OrderOutcome, runs: [StepOfOrder: [LedgerLine]]) {
        guard let status = outcome.status, status == "completed" else {
            return lost.append("\(outcome.order) (\(outcome.status ?? "unknown to the nodes"))")
        }
        ordersDone += 1
        stepsRecorded += outcome.steps.count
        if let fault = outcome.fault { faults.append("\(outcome.order): \(fault)") }
        for name in Self.steps {
            let records = outcome.steps.count { $0.name == name }
            if records > 1 { recordedTwice.append("\(outcome.order)/\(name) (\(records) times)") }
            if records == 0 { faults.append("\(outcome.order)/\(name) was never recorded") }
            if runs[StepOfOrder(order: outcome.order, step: name)] == nil {
                faults.append("\(outcome.order)/\(name) has no line in the ledger")
            }
        }
    }

    private mutating func judgeRepetition(of step: StepOfOrder, lines: [LedgerLine], kills: [Kill]) {
        let inOrder = lines.sorted { $0.at < $1.at }
        if Set(inOrder.map(\.key)).count > 1 {
            faults.append("\(step) ran under several idempotency keys")
        }
        for (earlier, later) in zip(inOrder, inOrder.dropFirst()) where later.token <= earlier.token {
            faults.append(
                "\(step) ran again under fencing token \(later.token) after \(earlier.token)")
        }
        let allAtKills = inOrder.dropLast().allSatisfy { line in
            kills.contains { $0.process == line.process && line.at <= $0.at }
        }
        if allAtKills { repeatedAtKill += 1 } else { repeatedElsewhere += 1 }
    }

    private static func recoveries(after kill: Kill, outcomes: [OrderOutcome]) -> [Duration] {
        let orphans = Set(kill.orphans)
        return outcomes.filter { orphans.contains($0.order) }.compactMap { outcome in
            // Where only the end was left to record, that is the next record.
            let next =
                outcome.steps.map(\.recordedAt).filter { $0 > kill.at }.min() ?? outcome.completedAt
            guard let next, next > kill.at else { return nil }
            return .nanoseconds(next - kill.at)
        }
    }
}
