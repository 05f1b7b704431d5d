import FlotillaIO
import Glibc

/// The commands of the `flotilla` executable, for any executable with workflows of its own:
///
/// ```swift
/// @main struct Main {
///     static func main() async { await FlotillaCommand.main(workflows: [orderProcessing]) }
/// }
/// ```
public enum FlotillaCommand {
    /// Runs the command that the process's arguments name, and ends the process: 0 after a success, 1 after a failure,
    /// 64 if the arguments cannot be understood.
    /// - Parameter workflows: what a node of this executable can run.
    public static func main(workflows: [any RegisterableWorkflow]) async -> Never {
        exit(await run(Array(CommandLine.arguments.dropFirst()), workflows: workflows))
    }

    /// One command of the tool.
    struct Subcommand: Sendable {
        var description: CommandDescription
        var run: @Sendable (ParsedOptions) async throws -> Void

        /// The words after "flotilla".
        var words: [String] { description.name.split(separator: " ").dropFirst().map(String.init) }
    }

    static func subcommands(workflows: [any RegisterableWorkflow]) -> [Subcommand] {
        [NodeRunCommand.subcommand(workflows: workflows)] + ClientCommands.all + StorageCommands.all
    }

    static func run(_ words: [String], workflows: [any RegisterableWorkflow]) async -> Int32 {
        do {
            return try await run(words, subcommands(workflows: workflows))
        } catch let error as UsageError {
            Terminal.writeLine("\(error)", to: .error)
            return UsageError.exitCode
        } catch is CancellationError {
            Terminal.writeLine("Interrupted.", to: .error)
            return 130
        } catch {
            Terminal.writeLine("flotilla: \(error)", to: .error)
            return 1
        }
    }

    private static func run(_ words: [String], _ subcommands: [Subcommand]) async throws -> Int32 {
        switch words.first {
        case "--version":
            Terminal.writeLine("flotilla \(FlotillaVersion.current)")
            return 0
        case nil, "--help", "-h", "help":
            Terminal.write(help(subcommands))
            return 0
        default: break
        }
        guard let subcommand = subcommands.first(where: { words.starts(with: $0.words) }) else {
            return try helpForGroup(words, subcommands)
        }
        guard
            let options = try subcommand.description.parse(
                Array(words.dropFirst(subcommand.words.count)))
        else {
            Terminal.write(subcommand.description.help)
            return 0
        }
        try await subcommand.run(options)
        return 0
    }

    /// "flotilla node --help" and the like.
    private static func helpForGroup(_ words: [String], _ subcommands: [Subcommand])
        throws(UsageError) -> Int32
    {
        let group = subcommands.filter { $0.words.first == words[0] }
        if !group.isEmpty, words.count == 1 || words[1] == "--help" || words[1] == "-h" {
            Terminal.write(help(group))
            return 0
        }
        let isOption = words[0].hasPrefix("-")
        throw UsageError(
            "flotilla",
            (isOption ? "unknown option " : "unknown command ")
                + words.prefix(group.isEmpty ? 1 : 2).joined(separator: " "))
    }

    private static func help(_ subcommands: [Subcommand]) -> String {
        var table = TextTable(["", ""])
        for subcommand in subcommands {
            let description = subcommand.description
            table.add([
                "  " + ([description.name] + description.arguments).joined(separator: " "),
                description.summary,
            ])
        }
        table.add(["  flotilla --version", "Shows the version."])
        return "Durable workflows on their own replication.\n\n" + table.text
            + "\n'flotilla COMMAND --help' shows a command's options.\n"
    }
}

/// A command did not do what it was asked for.
struct CommandError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
