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
            reportOption,
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
        let counts = try options.numbers("counts", in: 1...100_000) ?? [10, 1_000, 10_000]
        try await withReport(
            "groups", options, parameters: ["seconds": "\(seconds)"],
            conditions: [
                "\(nodeCount) nodes, a process each, on this machine, that share all groups; figures of one node, the mean of "
                    + "the three",
                "without commits: from kill -9 of the node that leads all groups until each has committed a command that "
                    + "another node asks for",
            ]
        ) { recorder in
            for kind in kinds {
                for count in counts {
                    for run in 1...runs {
                        recorder.progress.update("\(count) groups of \(kind.rawValue), run \(run) of \(runs)")
                        let sample = try await withFleet(kind) { try await measureIdle($0, count, seconds: seconds) }
                        for figure in Idle.figures {
                            recorder.add(figure.value(sample), figure.name, "\(count) of \(kind.rawValue)")
                        }
                    }
                }
                guard killed > 0 else { continue }
                for run in 1...runs {
                    recorder.progress.update("the end of the leader of \(killed) groups, run \(run) of \(runs)")
                    let sample = try await withFleet(kind) { try await measureEnd($0, killed) }
                    let setting = "\(killed) of \(kind.rawValue)"
                    recorder.add(sample.median, "without commits, median ms", setting)
                    recorder.add(sample.p99, "without commits, p99 ms", setting)
                    recorder.add(sample.most, "without commits, most ms", setting)
                }
            }
        }
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

        static let figures: [(name: String, value: @Sendable (Idle) -> Double)] = [
            ("founded in s", { $0.founding }), ("processor %", { $0.processor }), ("messages/s", { $0.messages }),
            ("frames/s", { $0.frames }), ("passes/s", { $0.passes }), ("heap bytes/group", { $0.heap }),
            ("resident bytes/group", { $0.resident }),
        ]
    }

    private static func measureIdle(_ fleet: GroupsFleet, _ count: Int, seconds: Int) async throws -> Idle {
        let empty = try await fleet.usage()
        let clock = ContinuousClock()
        let start = clock.now
        try await fleet.found(count, leader: nil)
        let founding = start.duration(to: clock.now)
        try await fleet.waitUntilQuiet(count)
        // What the last ones have left to do.
        try await Task.sleep(for: .seconds(2))
        let before = try await fleet.usage()
        let beginning = clock.now
        try await Task.sleep(for: .seconds(seconds))
        let after = try await fleet.usage()
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
