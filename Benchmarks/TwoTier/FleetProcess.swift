import FlotillaIO
import FoundationEssentials

/// `flotilla-bench two-tier-fleet`: one fleet of `two-tier`, in a process of its own, so that what it takes of memory is its
/// own as well.
enum FleetProcess {
    static let command = CommandDescription(
        "flotilla-bench two-tier-fleet",
        summary: "One fleet of 'two-tier', which starts it.",
        options: [
            .value("nodes", "N", "how many nodes"),
            .value("mode", "MODE", "'one cluster' or 'two tiers'"),
            .value("workflows", "N", "how many workflows at a time under load"),
            .value("checkpoints", "N", "how many each of them records"),
            .value("sustained", "N", "how many workflows record all the time"),
            .value("figures", "FILE", "where the figures are written to"),
        ])

    /// A fleet that takes longer is stuck.
    private static let timeLimit: Duration = .seconds(900)

    static func run(_ options: ParsedOptions) async throws {
        guard let nodes = try options.number("nodes", in: 3...200),
            let mode = options.string("mode").flatMap(FleetFigures.Mode.init(rawValue:)),
            let workflows = try options.number("workflows", in: 1...10_000),
            let checkpoints = try options.number("checkpoints", in: 1...10_000),
            let sustained = try options.number("sustained", in: 1...10_000),
            let path = options.string("figures")
        else { throw options.fail("all options have to be given") }
        let load = FleetLoadPlan(
            workflows: workflows, checkpoints: checkpoints, sustainedWorkflows: sustained)
        let figures = try await FleetFigures.take(nodes, mode, load, progress: Progress())
        try JSONEncoder().encode(figures).write(to: URL(filePath: path))
    }

    /// Takes a fleet's figures in a process of its own.
    static func take(_ nodes: Int, _ mode: FleetFigures.Mode, _ load: FleetLoadPlan) async throws -> FleetFigures {
        try await withScratch("flotilla-two-tier", contents: "Its messages and figures") { directory in
            let figures = "\(directory)/figures.json"
            let child = try ChildProcess(
                path: try ownPath(),
                arguments: [
                    "two-tier-fleet", "--nodes", "\(nodes)", "--mode", mode.rawValue, "--workflows",
                    "\(load.workflows)",
                    "--checkpoints", "\(load.checkpoints)", "--sustained", "\(load.sustainedWorkflows)", "--figures",
                    figures,
                ], environment: ["TMPDIR": directory], log: "\(directory)/log")
            let end = await child.wait(limit: timeLimit)
            try Task.checkCancellation()
            guard end == .exited(0) else {
                throw BenchError(
                    "a fleet of \(nodes) nodes (\(mode.rawValue)) came to no end: "
                        + "\(end.map { "\($0)" } ?? "killed after \(timeLimit)")")
            }
            return try JSONDecoder().decode(FleetFigures.self, from: Data(try readText(figures).utf8))
        }
    }
}
