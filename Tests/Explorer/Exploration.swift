import FlotillaIO
import FlotillaScenarios

/// A search through seeds: progress, failures with their shortest schedules, and what it all came to.
struct Exploration {
    private let plan: Plan
    private let pool: WorkerPool
    private let progress = Progress()
    private let start = ContinuousClock.now

    private struct Totals {
        var done = 0
        var failed = 0
        var nanoseconds: UInt64 = 0
        var steps: UInt64 = 0
    }
    private var totals = Totals()

    /// Histories that are tried to find the shortest schedule of one failing seed.
    private static let shrinkingRuns = 150

    init(_ plan: Plan) {
        self.plan = plan
        pool = WorkerPool(count: plan.jobs)
    }

    /// - Returns: whether nothing failed.
    mutating func run() throws -> Bool {
        if plan.runsRegressions { try runRegressions() }
        var failures: [(ScenarioCase, String)] = []
        try pool.run(plan.cases) { instance, outcome in
            switch outcome {
            case .passed(let nanoseconds, let steps, _):
                totals.nanoseconds += nanoseconds
                totals.steps += steps
            case .failed(let message):
                failures.append((instance, message))
                totals.failed += 1
                progress.line(Self.headline(instance, message))
            }
            totals.done += 1
            progress.update(summary(of: plan.count))
            return failures.count < plan.failureLimit
        }
        progress.clear()
        for (instance, message) in failures { try report(instance, message) }
        let verdict = failures.isEmpty ? Style.green("Passed:") : Style.red("Failed:")
        progress.line("\(verdict) \(summary(of: nil))")
        return failures.isEmpty
    }

    private mutating func runRegressions() throws {
        let regressions = try Regression.list()
        var failed: [String] = []
        try pool.run(regressions.map(\.instance)) { instance, outcome in
            if case .failed(let message) = outcome {
                let reason = regressions.first { $0.instance == instance }?.reason ?? ""
                failed.append("'\(instance)' (\(reason)) fails again: \(message)\nReplay: \(Plan.replay(instance))")
            }
            return true
        }
        guard failed.isEmpty else { throw ExplorerError(failed.joined(separator: "\n")) }
        if !regressions.isEmpty { progress.line("\(regressions.count) cases of the regression list pass.") }
    }

    // MARK: What is printed

    private static func headline(_ instance: ScenarioCase, _ message: String) -> String {
        let first = message.split(separator: "\n").first ?? ""
        return Style.red("\(instance.scenario), seed \(instance.seed) fails:") + " \(first)"
    }

    /// "600 of 1,000 seeds, 0 failed, 10.0 virtual hours, 22.1 virtual hours a minute, 310,000 steps a second".
    private func summary(of count: Int?) -> String {
        let (seconds, attoseconds) = start.duration(to: .now).components
        let elapsed = max(Double(seconds) + Double(attoseconds) / 1e18, 0.001)
        let hours = Double(totals.nanoseconds) / 3.6e12
        let done = count.map { "\(totals.done) of \($0) seeds" } ?? "\(totals.done) seeds in \(Self.tenths(elapsed)) s"
        return "\(done), \(totals.failed) failed, \(Self.tenths(hours)) virtual hours, "
            + "\(Self.tenths(hours * 60 / elapsed)) virtual hours a minute, "
            + "\(Int(Double(totals.steps) / elapsed)) steps a second"
    }

    private static func tenths(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

    private func report(_ instance: ScenarioCase, _ message: String) throws {
        progress.line("\n" + Style.bold("\(instance.scenario), seed \(instance.seed)"))
        var shortest = instance
        var message = message
        if plan.shrinks, let scenario = Scenario.named(instance.scenario) {
            var tried = 0
            let faults = { (load: Int) in
                var whole = instance
                whole.load = load
                return scenario.schedule(of: whole).items.map(\.number)
            }
            shortest = try Shrinking.shortest(of: instance, faults: faults, runs: Self.shrinkingRuns) { candidate in
                tried += 1
                progress.update("\(tried) shorter schedules tried")
                guard case .failed(let other) = try pool.run(candidate) else { return false }
                message = other
                return true
            }
            progress.clear()
        }
        progress.line(message)
        let faults = Plan.schedule(of: shortest)
        progress.line("Load of \(shortest.load) s, \(faults.isEmpty ? "no faults" : "faults:\n\(faults)")")
        progress.line("Replay: \(Plan.replay(shortest))")
    }
}
