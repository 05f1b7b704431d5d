import Flotilla
import FlotillaActors
import FlotillaIO
import FlotillaRaft

/// `flotilla-bench groups`: what idle groups cost a node, and how long groups whose leader was killed do not commit.
enum GroupsBenchmark {
    static let command = CommandDescription(
        "flotilla-bench groups",
        summary:
            "Measures idle groups on three nodes: processor, memory, messages; and the end of a node that leads many.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 3)"),
            .value("counts", "N,N", "how many groups the nodes share (default: 10,1000,10000)"),
            .value("kind", "KIND", "benchmark or workflow (default: both)"),
            .value("seconds", "N", "how long the idle nodes are watched (default: 30)"),
            .value("killed", "N", "groups whose leader is killed; 0 leaves that out (default: 1000)"),
        ])

    static let nodeCount = 3

    /// What the groups replicate.
    enum Kind: String, CaseIterable {
        /// A state that stays empty.
        case benchmark
        /// Workflows, with an engine on each node.
        case workflow

        var groupKind: GroupKind {
            switch self {
            case .benchmark: .benchmark
            case .workflow: .workflow
            }
        }

        /// A command that leaves a group as it is.
        var operation: Operation {
            switch self {
            case .benchmark: Operation(type: 1, version: 1, body: Array(repeating: 7, count: 128))
            case .workflow: WorkflowOperations.loseExecutor(NodeID(.max), registration: 0)
            }
        }
    }

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 3
        let seconds = try options.number("seconds", in: 1...3_600) ?? 30
        let killed = try options.number("killed", in: 0...100_000) ?? 1_000
        var kinds = Kind.allCases
        if let name = options.string("kind") {
            guard let kind = Kind(rawValue: name) else { throw options.fail("--kind \(name): benchmark or workflow") }
            kinds = [kind]
        }
        var counts = [10, 1_000, 10_000]
        if let text = options.string("counts") {
            counts = try text.split(separator: ",").map { word in
                guard let count = Int(word), (1...100_000).contains(count) else {
                    throw options.fail("--counts \(text): numbers from 1 to 100000")
                }
                return count
            }
        }
        let progress = Progress()
        var idle = TextTable(
            [
                "groups", "kind", "founded in s", "processor %", "messages/s", "frames/s", "passes/s",
                "heap bytes/group", "resident bytes/group",
            ], rightAligned: [0, 2, 3, 4, 5, 6, 7, 8])
        var ends = TextTable(["groups", "kind", "median ms", "p99 ms", "most ms"], rightAligned: [0, 2, 3, 4])
        for kind in kinds {
            for count in counts {
                var samples: [Idle] = []
                for run in 1...runs {
                    progress.update("\(count) groups of \(kind.rawValue), run \(run) of \(runs)")
                    samples.append(try await withFleet(kind) { try await measureIdle($0, count, seconds: seconds) })
                }
                idle.add(["\(count)", kind.rawValue] + Idle.figures.map { figure(samples.map($0.value), $0.digits) })
            }
            guard killed > 0 else { continue }
            var samples: [GroupsLatency] = []
            for run in 1...runs {
                progress.update("the end of the leader of \(killed) groups, run \(run) of \(runs)")
                samples.append(try await withFleet(kind) { try await measureEnd($0, killed) })
            }
            ends.add(
                ["\(killed)", kind.rawValue]
                    + [samples.map(\.median), samples.map(\.p99), samples.map(\.most)].map { figure($0, 0) })
        }
        progress.clear()
        progress.line(
            "\(nodeCount) nodes, a process each, on this machine, that share all groups; \(runs) runs, median (least to "
                + "most); idle for \(seconds) s; figures of one node, the mean of the three:\n\n\(idle.text)")
        if killed > 0 {
            progress.line(
                "\nFrom kill -9 of the node that leads all groups until each has committed a command that another node "
                    + "asks for:\n\n\(ends.text)")
        }
    }

    private static func figure(_ values: [Double], _ digits: Int) -> String {
        let parts = [Statistics.median(values) ?? 0, values.min() ?? 0, values.max() ?? 0].map { rounded($0, digits) }
        return "\(parts[0]) (\(parts[1]) to \(parts[2]))"
    }

    static func withFleet<Value>(
        _ kind: Kind, _ body: (GroupsFleet) async throws -> Value
    ) async throws -> Value {
        try await withScratch("flotilla-groups", contents: "The nodes' logs") { directory in
            let fleet = try GroupsFleet(kind, directory: directory)
            do {
                try await fleet.waitUntilUp()
                let value = try await body(fleet)
                await fleet.killAll()
                return value
            } catch {
                await fleet.killAll()
                throw error
            }
        }
    }

    // MARK: Idle

    private struct Idle {
        var founding: Double
        var processor: Double
        var messages: Double
        var frames: Double
        var passes: Double
        var heap: Double
        var resident: Double

        static let figures: [(value: @Sendable (Idle) -> Double, digits: Int)] = [
            ({ $0.founding }, 2), ({ $0.processor }, 2), ({ $0.messages }, 1), ({ $0.frames }, 1),
            ({ $0.passes }, 1), ({ $0.heap }, 0), ({ $0.resident }, 0),
        ]
    }

    private static func measureIdle(_ fleet: GroupsFleet, _ count: Int, seconds: Int) async throws -> Idle {
        let empty = try await fleet.reports()
        let clock = ContinuousClock()
        let start = clock.now
        try await fleet.found(count, leader: nil)
        let founding = start.duration(to: clock.now)
        try await fleet.waitUntilQuiet(count)
        // What the last ones have left to do.
        try await Task.sleep(for: .seconds(2))
        let before = try await fleet.reports()
        let beginning = clock.now
        try await Task.sleep(for: .seconds(seconds))
        let after = try await fleet.reports()
        let elapsed = beginning.duration(to: clock.now) / .seconds(1)
        /// The mean of the nodes.
        func mean(_ values: (GroupsReport) -> Double, since base: [GroupsReport]) -> Double {
            zip(after, base).reduce(0) { $0 + values($1.0) - values($1.1) } / Double(nodeCount)
        }
        return Idle(
            founding: founding / .seconds(1),
            processor: mean({ Double($0.processorNanoseconds) }, since: before) / elapsed / 1e7,
            messages: mean({ Double($0.messages) }, since: before) / elapsed,
            frames: mean({ Double($0.frames) }, since: before) / elapsed,
            passes: mean({ Double($0.passes) }, since: before) / elapsed,
            heap: mean({ Double($0.heapBytes) }, since: empty) / Double(count),
            resident: mean({ Double($0.residentKilobytes) * 1_024 }, since: empty) / Double(count))
    }

    // MARK: The end of a leader

    private static func measureEnd(_ fleet: GroupsFleet, _ count: Int) async throws -> GroupsLatency {
        try await fleet.found(count, leader: 1)
        try await fleet.waitUntilQuiet(count)
        let moment = await fleet.kill(1)
        return try await fleet.commit(2, since: moment)
    }
}
