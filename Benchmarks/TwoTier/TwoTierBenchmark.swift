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
        ])

    static func run(_ options: ParsedOptions) async throws {
        var counts: [Int] = []
        for word in (options.string("nodes") ?? "10,20,50,100").split(separator: ",") {
            guard let count = Int(word), (3...200).contains(count) else {
                throw options.fail("--nodes \(word): 3 to 200 nodes")
            }
            counts.append(count)
        }
        let workflows = try options.number("workflows", in: 1...10_000) ?? 100
        let checkpoints = try options.number("checkpoints", in: 1...10_000) ?? 10
        let runs = try options.number("runs", in: 1...100) ?? 3
        let load = FleetLoadPlan(workflows: workflows, checkpoints: checkpoints)
        let progress = Progress()
        var figures: [Row: [FleetFigures]] = [:]
        for run in 1...runs {
            for count in counts {
                for mode in FleetFigures.Mode.allCases {
                    progress.event("run \(run) of \(runs): \(count) nodes, \(mode.rawValue)")
                    let row = Row(nodes: count, mode: mode)
                    figures[row, default: []].append(
                        try await FleetProcess.take(count, mode, load))
                }
            }
        }
        progress.clear()
        progress.line(report(figures, counts, load, runs: runs))
    }

    private struct Row: Hashable {
        var nodes: Int
        var mode: FleetFigures.Mode
    }

    private static func report(
        _ figures: [Row: [FleetFigures]], _ counts: [Int], _ load: FleetLoadPlan, runs: Int
    ) -> String {
        var table = TextTable(["figure"] + counts.map { "\($0) nodes" }, rightAligned: Set(1...counts.count))
        func add(_ name: String, _ digits: Int, _ value: @escaping (FleetFigures) -> Double?) {
            for mode in FleetFigures.Mode.allCases {
                let cells = counts.map { count in
                    let values = (figures[Row(nodes: count, mode: mode)] ?? []).compactMap(value)
                    if values.isEmpty { return "-" }
                    let figures = [Statistics.median(values), values.min(), values.max()].map {
                        rounded($0 ?? 0, digits)
                    }
                    return "\(figures[0]) (\(figures[1])-\(figures[2]))"
                }
                table.add(["\(name), \(mode.rawValue)"] + cells)
            }
        }
        add("group messages per checkpoint, one at a time", 1) { $0.messagesPerCheckpoint }
        add("group messages per workflow, under load", 1) { $0.messagesPerWorkflow }
        add("requests between nodes per workflow, under load", 2) { $0.requestsPerWorkflow }
        add("heartbeats per second and node, under load", 0) { $0.heartbeatsPerNode }
        add("frames per workflow, all of it", 1) { $0.framesPerWorkflow }
        add("checkpoints/s under load", 0) { $0.checkpointsPerSecond }
        add("checkpoint p50, ms", 2) { $0.checkpointP50 }
        add("checkpoint p99, ms", 2) { $0.checkpointP99 }
        add("management commit p50, ms", 2) { $0.managementP50 }
        add("management commit p99, ms", 2) { $0.managementP99 }
        add("start of a workflow p50, ms", 2) { $0.startP50 }
        add("resident memory per node, MiB", 1) { $0.mebibytesPerNode }
        add("heap per idle cluster and its replicas, KiB", 1) { $0.kibibytesPerCluster }
        let ratios = counts.map { count -> String in
            let both = FleetFigures.Mode.allCases.map { mode in
                Statistics.median((figures[Row(nodes: count, mode: mode)] ?? []).map(\.messagesPerCheckpoint)) ?? 0
            }
            return both[1] > 0 ? rounded(both[0] / both[1], 1) + " x" : "-"
        }
        table.add(["group messages per checkpoint: one cluster / two tiers"] + ratios)
        return """
            \(load.workflows) workflows of \(load.checkpoints) checkpoints at a time; whole nodes of one process for each fleet, on two \
            loops, loopback, fsync on a majority before each acknowledgement, all logs on one disk; a message is one \
            message of a group between two nodes; median (least-most) of \(runs) runs:


            """ + table.text
    }
}

/// What a fleet is loaded with.
struct FleetLoadPlan: Sendable {
    var workflows: Int
    var checkpoints: Int
}
