import Flotilla
import FlotillaIO
import FlotillaRaft
import Glibc

/// `flotilla-bench two-tier`: what a checkpoint costs a fleet, in one cluster of all nodes and in two tiers.
enum TwoTierBenchmark {
    static let command = CommandDescription(
        "flotilla-bench two-tier",
        summary: "Counts messages, and measures commits and memory, of fleets in one cluster and in two tiers.",
        options: [
            .value("nodes", "N,N,...", "how many nodes (default: 10,20,50,100)"),
            .value("workflows", "N", "how many workflows at a time under load (default: 100)"),
            .value("checkpoints", "N", "how many each of them records (default: 10)"),
            .value("runs", "N", "how often, each time with a new fleet (default: 3)"),
            reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let counts = try options.numbers("nodes", in: 3...200) ?? [10, 20, 50, 100]
        let workflows = try options.number("workflows", in: 1...10_000) ?? 100
        let checkpoints = try options.number("checkpoints", in: 1...10_000) ?? 10
        let runs = try options.number("runs", in: 1...100) ?? 3
        let load = FleetLoadPlan(workflows: workflows, checkpoints: checkpoints)
        try await withReport(
            "two-tier", options,
            parameters: ["workflows at a time": "\(workflows)", "checkpoints of each": "\(checkpoints)"],
            conditions: [
                "whole nodes of one process for each fleet, on two loops, loopback, fsync on a majority before each "
                    + "acknowledgement, all logs on one disk; a message is one message of a group between two nodes"
            ]
        ) { recorder in
            for run in 1...runs {
                for count in counts {
                    for mode in FleetFigures.Mode.allCases {
                        recorder.progress.event("run \(run) of \(runs): \(count) nodes, \(mode.rawValue)")
                        let taken = try await FleetProcess.take(count, mode, load)
                        for figure in figures {
                            guard let value = figure.value(taken) else { continue }
                            recorder.add(
                                value, figure.name, "\(count) nodes", of: mode.rawValue,
                                isBetterHigher: figure.isBetterHigher)
                        }
                    }
                }
            }
        }
    }

    private static let figures: [(name: String, isBetterHigher: Bool, value: @Sendable (FleetFigures) -> Double?)] = [
        ("group messages per checkpoint, one at a time", false, { $0.messagesPerCheckpoint }),
        ("group messages per workflow, under load", false, { $0.messagesPerWorkflow }),
        ("requests between nodes per workflow, under load", false, { $0.requestsPerWorkflow }),
        ("heartbeats per second and node, under load", false, { $0.heartbeatsPerNode }),
        ("frames per workflow, all of it", false, { $0.framesPerWorkflow }),
        ("checkpoints/s under load", true, { $0.checkpointsPerSecond }),
        ("checkpoint p50, ms", false, { $0.checkpointP50 }),
        ("checkpoint p99, ms", false, { $0.checkpointP99 }),
        ("management commit p50, ms", false, { $0.managementP50 }),
        ("management commit p99, ms", false, { $0.managementP99 }),
        ("start of a workflow p50, ms", false, { $0.startP50 }),
        ("resident memory per node, MiB", false, { $0.mebibytesPerNode }),
        ("heap per idle cluster and its replicas, KiB", false, { $0.kibibytesPerCluster }),
    ]
}

/// What a fleet is loaded with.
struct FleetLoadPlan: Sendable {
    var workflows: Int
    var checkpoints: Int
}
