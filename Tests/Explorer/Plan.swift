import FlotillaIO
import FlotillaScenarios
import FlotillaSimulation
import Glibc

/// What the command line asks for.
struct Plan {
    var scenarios: [Scenario]
    var seeds: ClosedRange<UInt64>
    var jobs: Int
    var load: Int
    var faults: [Int]?
    var runsRegressions: Bool
    var shrinks: Bool
    var failureLimit: Int

    init(_ options: ParsedOptions) throws(UsageError) {
        if let name = options.string("scenario") {
            guard let named = name == "fleets" ? Scenario.fleets : Scenario.named(name).map({ [$0] }) else {
                let names = Scenario.all.map(\.name).joined(separator: ", ")
                throw options.fail("there is no scenario '\(name)'; there are \(names), and fleets for the last four")
            }
            scenarios = named
        } else {
            scenarios = Scenario.usual
        }
        let start = try options.number("start", in: 0...UInt64.max / 2) ?? 1
        let isOne = options.has("trace") || options.has("faults") || options.has("list")
        let count = try options.number("seeds", in: 1...UInt64.max / 4) ?? (isOne ? 1 : 100)
        guard !options.has("trace") || (count == 1 && scenarios.count == 1) else {
            throw options.fail("--trace is for one seed of one scenario: name it by --scenario and --start")
        }
        seeds = start...(start + count - 1)
        jobs = try options.number("jobs", in: 1...256) ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        load = try options.number("load", in: 1...ScenarioCase.usualLoad) ?? ScenarioCase.usualLoad
        if let text = options.string("faults") {
            guard let numbers = ScenarioCase.faults(in: text) else {
                throw options.fail("--faults \(text): not a list of numbers, such as 3,17, and not 'none'")
            }
            faults = numbers
        }
        runsRegressions = !options.has("no-regressions") && !isOne
        shrinks = !options.has("no-shrink") && faults == nil
        failureLimit = try options.number("failures", in: 1...1_000_000) ?? 3
    }

    /// Every scenario's turn comes with every seed.
    var cases: some Sequence<ScenarioCase> {
        seeds.lazy.flatMap { seed in
            scenarios.map { ScenarioCase($0.name, seed: seed, load: load, faults: faults) }
        }
    }

    var count: Int { seeds.count * scenarios.count }

    func list() {
        for instance in cases {
            Terminal.writeLine(Style.bold("\(instance.scenario), seed \(instance.seed)"))
            Terminal.write(Self.schedule(of: instance))
        }
    }

    static func schedule(of instance: ScenarioCase) -> String {
        let items = Scenario.named(instance.scenario)?.schedule(of: instance).items ?? []
        return items.map { "  \($0)\n" }.joined()
    }

    /// Runs the one case in this process, and lets it talk.
    func trace() async throws {
        // Before anything asks for it.
        setenv("FLOTILLA_LOG", "debug", 1)
        let instance = ScenarioCase(scenarios[0].name, seed: seeds.lowerBound, load: load, faults: faults)
        Terminal.writeLine("The faults of \(instance.scenario), seed \(instance.seed):\n" + Self.schedule(of: instance))
        let result = try await scenarios[0].run(instance)
        Terminal.writeLine(
            "Passed: \(result.elapsed) of virtual time, \(result.steps) steps, "
                + "trace hash \(String(result.traceHash, radix: 16))")
    }

    /// The command that runs one case again.
    static func replay(_ instance: ScenarioCase) -> String {
        var words = "make simulate SCENARIO=\(instance.scenario) START=\(instance.seed) SEEDS=1"
        if instance.load != ScenarioCase.usualLoad { words += " LOAD=\(instance.load)" }
        if let faults = instance.faults { words += " FAULTS=\(ScenarioCase.text(of: faults))" }
        return words + " TRACE=1"
    }
}
