import FlotillaIO
import Glibc

/// `flotilla-bench`: starts node processes on this machine, works them, breaks them, and measures.
@main
enum FlotillaBench {
    struct Subcommand {
        var description: CommandDescription
        var run: @Sendable (ParsedOptions) async throws -> Void
    }

    static let subcommands = [
        Subcommand(description: Demo.command, run: Demo.run),
        Subcommand(description: Soak.command, run: Soak.run),
        Subcommand(description: Trace.command, run: Trace.run),
        Subcommand(description: StepsBenchmark.command, run: StepsBenchmark.run),
        Subcommand(description: StartBenchmark.command, run: StartBenchmark.run),
        Subcommand(description: IdleBenchmark.command, run: IdleBenchmark.run),
        Subcommand(description: GroupsBenchmark.command, run: GroupsBenchmark.run),
        Subcommand(description: GroupsNode.command, run: GroupsNode.run),
        Subcommand(description: WorkflowsBenchmark.command, run: WorkflowsBenchmark.run),
        Subcommand(description: SingleGroupBenchmark.command, run: SingleGroupBenchmark.run),
        Subcommand(description: GroupClient.command, run: GroupClient.run),
        Subcommand(description: EngineBenchmark.command, run: EngineBenchmark.run),
        Subcommand(description: TakeoverBenchmark.command, run: TakeoverBenchmark.run),
        Subcommand(description: FloorBenchmark.command, run: FloorBenchmark.run),
        Subcommand(description: MicroBenchmark.command, run: MicroBenchmark.run),
        Subcommand(description: MicroProcess.command) { _ in preconditionFailure("it has a main of its own") },
        Subcommand(description: ManyGroupsBenchmark.command, run: ManyGroupsBenchmark.run),
        Subcommand(description: IdleGroupsBenchmark.command, run: IdleGroupsBenchmark.run),
        Subcommand(description: ReadsBenchmark.command, run: ReadsBenchmark.run),
        Subcommand(description: Comparison.command, run: Comparison.run),
        Subcommand(description: Goals.command, run: Goals.run),
        Subcommand(description: CoreBenchmark.command, run: CoreBenchmark.run),
        Subcommand(description: AllocationBenchmark.command, run: AllocationBenchmark.run),
        Subcommand(description: LogBenchmark.command, run: LogBenchmark.run),
        Subcommand(description: SnapshotsBenchmark.command, run: SnapshotsBenchmark.run),
        Subcommand(description: TwoTierBenchmark.command, run: TwoTierBenchmark.run),
        Subcommand(description: FleetProcess.command, run: FleetProcess.run),
    ]

    static func main() async {
        do {
            try await run(Array(CommandLine.arguments.dropFirst()))
        } catch let error as UsageError {
            Terminal.writeLine("\(error)", to: .error)
            exit(UsageError.exitCode)
        } catch is CancellationError {
            Terminal.writeLine("Interrupted; all nodes are ended.", to: .error)
            exit(130)
        } catch {
            Terminal.writeLine(Style.red("Failed:") + " \(error)", to: .error)
            exit(1)
        }
    }

    private static func run(_ words: [String]) async throws {
        if words.first == "micro-operation" { try MicroProcess.main(Array(words.dropFirst())) }
        guard let word = words.first, word != "--help", word != "-h" else {
            return Terminal.write(help)
        }
        guard
            let subcommand = subcommands.first(where: {
                $0.description.name == "flotilla-bench \(word)"
            })
        else {
            throw UsageError("flotilla-bench", "unknown command \(word)")
        }
        guard let options = try subcommand.description.parse(Array(words.dropFirst())) else {
            return Terminal.write(subcommand.description.help)
        }
        try await TerminationSignals.cancelling(
            onSecondSignal: { RunningChildren.killAll() },
            {
                defer { RunningChildren.killAll() }
                try await subcommand.run(options)
            })
    }

    private static var help: String {
        var table = TextTable(["", ""])
        for subcommand in subcommands {
            table.add(["  " + subcommand.description.name, subcommand.description.summary])
        }
        return "Runs a cluster of node processes on this machine to show, test and measure it.\n\n"
            + table.text + "\n'flotilla-bench COMMAND --help' says more.\n"
    }
}
