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
            .value("sustained", "N", "how many record all the time while the rate is taken (default: 200)"),
            .value("runs", "N", "how often, each time with a new fleet (default: 3)"),
            reportOption,
        ])

    static func run(_ options: ParsedOptions) async throws {
        let counts = try options.numbers("nodes", in: 3...200) ?? [10, 20, 50, 100]
        let workflows = try options.number("workflows", in: 1...10_000) ?? 100
        let checkpoints = try options.number("checkpoints", in: 1...10_000) ?? 10
        let sustained = try options.number("sustained", in: 1...10_000) ?? 200
        let runs = try options.number("runs", in: 1...100) ?? 3
        let load = FleetLoadPlan(
            workflows: workflows, checkpoints: checkpoints, sustainedWorkflows: sustained)
        try await withReport(
            "two-tier", options,
            parameters: [
                "workflows at a time": "\(workflows)", "checkpoints of each": "\(checkpoints)",
                "workflows at a time, sustained": "\(sustained)",
            ],
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
        ("TT-21, TT-32, TT-35: group messages per checkpoint, one at a time", false, { $0.messagesPerCheckpoint }),
        ("TT-21: group messages per workflow with its reports, under load", false, { $0.messagesPerWorkflow }),
        ("TT-21: requests between nodes per workflow, under load", false, { $0.requestsPerWorkflow }),
        ("TT-21: heartbeats per second and node, under load", false, { $0.heartbeatsPerNode }),
        ("TT-21: frames per workflow, all of it", false, { $0.framesPerWorkflow }),
        ("checkpoints/s of short workflows, starts and ends included", true, { $0.checkpointsPerSecond }),
        ("their checkpoint p50, ms", false, { $0.checkpointP50 }),
        ("their checkpoint p99, ms", false, { $0.checkpointP99 }),
        ("TT-36: checkpoints/s, sustained", true, { $0.sustainedPerSecond }),
        ("TT-36: checkpoint p50, sustained, ms", false, { $0.sustainedP50 }),
        ("TT-36: checkpoint p99, sustained, ms", false, { $0.sustainedP99 }),
        ("TT-36: management commit p50, ms", false, { $0.managementP50 }),
        ("TT-36: management commit p99, ms", false, { $0.managementP99 }),
        ("TT-54: start of a workflow p50, ms", false, { $0.startP50 }),
        ("TT-37: resident memory per node, MiB", false, { $0.mebibytesPerNode }),
        ("TT-37: heap per idle cluster and its replicas, KiB", false, { $0.kibibytesPerCluster }),
    ]
}

/// What a fleet is loaded with.
struct FleetLoadPlan: Sendable {
    var workflows: Int
    var checkpoints: Int
    var sustainedWorkflows: Int
}
