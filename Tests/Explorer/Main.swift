import FlotillaIO
import FlotillaScenarios
import Glibc

/// `flotilla-simulate`: looks for seeds whose histories break what is promised.
@main
enum FlotillaSimulate {
    static let command = CommandDescription(
        "flotilla-simulate",
        summary: "Runs simulated histories, each of its own seed, and looks for one that breaks what is promised.\n"
            + "Scenarios:\n"
            + Scenario.all.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"),
        options: [
            .value("seeds", "N", "how many seeds of each scenario (100)"),
            .value("start", "SEED", "the first seed (1)"),
            .value("scenario", "NAME", "only this one, or fleets for the last four (the first two)"),
            .value("jobs", "N", "how many at a time (the number of cores)"),
            .value("load", "SECONDS", "virtual time under load and faults (\(ScenarioCase.usualLoad))"),
            .value("faults", "LIST", "only these faults of the seed, such as 3,17, or none"),
            .flag("trace", "print what happens, as it happens; for one seed"),
            .flag("list", "print the faults of the seeds, and run nothing"),
            .flag("no-regressions", "do not run the regression list first"),
            .flag("no-shrink", "do not look for the shortest schedule of a failing seed"),
            .value("failures", "N", "stop after so many failing seeds (3)"),
            .flag("check-hashes", "compare the recorded histories with the recorded hashes, and nothing else"),
            .flag("record-hashes", "record them anew"),
            .flag("worker", "for its own use: take cases from standard input"),
        ])

    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        do {
            guard let options = try command.parse(Array(CommandLine.arguments.dropFirst())) else {
                return Terminal.write(command.help)
            }
            if options.has("worker") { return await Worker.run() }
            let plan = try Plan(options)
            if options.has("list") { return plan.list() }
            if options.has("trace") { return try await plan.trace() }
            if options.has("record-hashes") { return try await Hashes.record() }
            if options.has("check-hashes") { return try await Hashes.check() }
            var exploration = Exploration(plan)
            guard try exploration.run() else { exit(1) }
        } catch let error as UsageError {
            Terminal.writeLine("\(error)", to: .error)
            exit(UsageError.exitCode)
        } catch {
            Terminal.writeLine(Style.red("Failed:") + " \(error)", to: .error)
            exit(1)
        }
    }
}
