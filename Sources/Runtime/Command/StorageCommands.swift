import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// `flotilla storage ...`: what is done to a data directory while its node is stopped.
enum StorageCommands {
    static let all = [verify, repair, migrate]

    private static let formats = StorageFormat.allCases.map(\.rawValue).joined(separator: "|")

    private static let verify = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla storage verify",
            summary: "Reads all of a stopped node's data and checks every checksum; ends with 1 if something is wrong.",
            arguments: ["DIR"])
    ) { options in
        var history = CheckpointVerification()
        let files = PosixFileSystem()
        let report = try StorageVerification.run(on: options.arguments[0], files: files) {
            (report, stored) throws(LogError) in
            history = CheckpointVerification(of: report, stored, files: files)
            report.problems += history.problems
        }
        Terminal.write(text(of: report, history))
        guard let first = report.problems.first else { return }
        let others = report.problems.dropFirst().map { "\n\($0.message)" }.joined()
        throw CommandError(first.message + others)
    }

    private static let repair = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla storage repair",
            summary:
                "Gives up damaged entries in a stopped node's log. The node fetches them from its peers when it starts.",
            arguments: ["DIR"],
            options: [
                .flag(
                    "accept-loss",
                    "where a group has no other voter, go on without these entries and all that came after them")
            ])
    ) { options in
        let recovered = try StorageRepair.run(
            on: options.arguments[0], files: PosixFileSystem(), acceptsLoss: options.has("accept-loss"))
        Terminal.write(text(of: recovered))
    }

    private static let migrate = FlotillaCommand.Subcommand(
        description: CommandDescription(
            "flotilla storage migrate",
            summary:
                "Moves a stopped node's data to a new directory in another format. The old one cannot be used again.",
            options: [
                .value("from", "DIR", "the data of a stopped node (required)"),
                .value("to", "DIR", "a directory that is empty or not there yet (required)"),
                .value("format", formats, "how the new directory keeps it (required)"),
            ])
    ) { options in
        guard let source = options.string("from") else { throw options.fail("--from is missing") }
        guard let target = options.string("to") else { throw options.fail("--to is missing") }
        guard let name = options.string("format") else { throw options.fail("--format is missing: \(formats)") }
        let format = try StorageFormat(option: name, options)
        let result = try StorageMigration(
            from: trimmed(source), to: trimmed(target), format: format, files: PosixFileSystem()
        ).run()
        Terminal.writeLine(
            "Moved \(result.groups) groups, \(result.entries) entries and \(result.snapshots) snapshots to \(target) "
                + "(format \(format)). Run the node with --data \(target) --storage \(format), then delete \(source).")
    }

    private static func trimmed(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    static func text(of recovered: RecoveredLog) -> String {
        var lines = recovered.damages.map { "\($0)" + ($0.isNeeded ? "" : "; they are needed no more") }
        for group in recovered.groups {
            let name = group.replica.group
            if let end = group.recoveringUntil {
                lines.append("\(name) has no vote on this node until a leader has brought its log past \(end).")
            } else if recovered.damages.contains(where: { $0.isNeeded && $0.group == name }) {
                lines.append("\(name) goes on without what came after entry \(group.outline.last).")
            }
        }
        lines += recovered.keptFiles.map { "\($0) is kept to be looked at; delete it when nobody needs it." }
        if lines.isEmpty { lines.append("Nothing was damaged.") }
        return lines.map { $0 + "\n" }.joined()
    }

    static func text(of report: StorageReport, _ history: CheckpointVerification = .init()) -> String {
        var lines: [String] = []
        let owner =
            report.identity.map { identity in
                "\(identity.node)"
                    + (identity.cluster == 0
                        ? ", of no cluster yet" : " of cluster \(String(identity.cluster, radix: 16))")
            } ?? "no node's identity"
        lines.append("\(report.directory): format \(report.format), \(owner), opened \(report.boots) times")
        for group in report.groups {
            let snapshot = group.snapshot.map { "snapshot at \($0.index)" } ?? "no snapshot"
            let outline = group.outline
            let range =
                outline.count > 0 ? "entries \(outline.base.index.next) to \(outline.last)" : "no entries"
            lines.append("  \(group.replica.group): \(snapshot), \(range)")
        }
        if history.records > 0 {
            lines.append("  checkpoints: \(history.records) of \(history.keys) keys of \(history.runs) runs")
        }
        lines += report.notes.map { "note: \($0)" }
        if report.problems.isEmpty { lines.append("All of it can be read, and every checksum matches.") }
        return lines.map { $0 + "\n" }.joined()
    }
}

extension StorageFormat {
    init(option name: String, _ options: ParsedOptions) throws(UsageError) {
        guard let format = StorageFormat(rawValue: name) else {
            let known = StorageFormat.allCases.map(\.rawValue).joined(separator: " and ")
            throw options.fail("\(name) is no format; there are \(known)")
        }
        self = format
    }
}
