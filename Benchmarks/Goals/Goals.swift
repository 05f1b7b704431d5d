import FlotillaIO

/// `flotilla-bench goals`: what this project wants to be, held against the reports of a folder.
enum Goals {
    static let command = CommandDescription(
        "flotilla-bench goals",
        summary: "Says which goals are met, by the reports in a folder or in one file that --out wrote; 'make "
            + "bench-peers' measures all that they need.",
        arguments: ["REPORTS"],
        options: [.value("out", "PATH", "also write all the reports together, as PATH.json and PATH.html")])

    static func run(_ options: ParsedOptions) async throws {
        let reports = try Report.all(in: options.arguments[0])
        let text = text(reports)
        if let path = options.string("out") { try Report.write(reports, goals: text, to: path) }
        Terminal.write(text)
    }

    static func text(_ all: [Report]) -> String {
        // The goals are about the machine's own disk, and about closed loops.
        let reports = all.filter { report in
            [GroupLoad.rateParameter, GroupLoad.fsyncDelayParameter].allSatisfy { report.parameters[$0] == nil }
        }
        var table = TextTable(["goal", "", "ours", "peer", "ratio", ""], rightAligned: [2, 3, 4])
        var (met, measured) = (0, 0)
        for goal in Self.all {
            let finding = goal.finding(in: reports)
            if finding != nil { measured += 1 }
            if finding?.isMet == true { met += 1 }
            let unit = if case .none = goal.yardstick { "" } else { " x" }
            table.add([
                goal.title, goal.bound.text + unit, finding.map { number($0.ours) } ?? "",
                finding?.theirs.map(number) ?? "", finding?.ratio.map(number) ?? "",
                finding.map { $0.isMet ? "met" : "NOT MET" } ?? "not measured",
            ])
        }
        var text =
            table.text + "\n\(met) of \(measured) goals are met; \(Self.all.count - measured) were not measured.\n"
        for report in reports where !report.isComplete {
            text += "The report of '\(report.scenario)' is not complete.\n"
        }
        let commits = distinct(reports.map(\.commit))
        if commits.count > 1 { text += "The reports are of several commits: \(commits.joined(separator: ", ")).\n" }
        return text
    }

    private static func number(_ value: Double) -> String {
        rounded(value, value >= 100 ? 0 : value >= 1 ? 2 : 4)
    }

    // MARK: The goals

    static let all: [Goal] = commits + manyGroups + reads + workflows

    private static func inFlight(_ count: Int) -> String { "\(count) in flight" }

    private static func rate(_ count: Int, _ contestant: String = Report.ours) -> Goal.Reading {
        Goal.Reading(scenario: "group", figure: "entries/s", setting: inFlight(count), contestant: contestant)
    }

    private static let commits: [Goal] =
        [(1, 0.7), (16, 1), (256, 3)].map { count, ratio in
            Goal(
                title: "commits/s, \(count) in flight, beside libraft", ours: rate(count),
                yardstick: .best([rate(count, "libraft"), rate(count, "libraft-nagle")]), bound: .atLeast(ratio))
        } + [
            Goal(title: "commits/s, 1024 in flight", ours: rate(1_024), bound: .atLeast(300_000))
        ]
        + [(1, 1.5), (16, 3), (256, 5), (1_024, 8)].map { count, ratio in
            Goal(
                title: "the same from another process, \(count) in flight, beside etcd",
                ours: rate(count, "flotilla-client"), yardstick: .best([rate(count, "etcd")]), bound: .atLeast(ratio))
        } + [
            Goal(
                title: "commit p50 in ms, 1 caller, beside fsync and round trip",
                ours: Goal.Reading(scenario: "group", figure: "p50 ms", setting: inFlight(1)),
                yardstick: .sum([
                    Goal.Reading(scenario: "floor", figure: FloorBenchmark.sync, scale: 0.001),
                    Goal.Reading(scenario: "floor", figure: FloorBenchmark.roundTrip, scale: 0.001),
                ]), bound: .atMost(2)),
            Goal(
                title: "commit p50 in ms, 1 caller, beside etcd",
                ours: Goal.Reading(scenario: "group", figure: "p50 ms", setting: inFlight(1)),
                yardstick: .best([
                    Goal.Reading(scenario: "group", figure: "p50 ms", setting: inFlight(1), contestant: "etcd")
                ]), bound: .atMost(0.4)),
        ]

    private static func active(_ count: Int, of all: Int, _ contestant: String = Report.ours) -> Goal.Reading {
        Goal.Reading(
            scenario: "active", figure: "entries/s", setting: ManyGroupsBenchmark.setting(count, of: all),
            contestant: contestant)
    }

    private static func idle(_ figure: String, _ most: Double, _ title: String) -> Goal {
        func reading(_ contestant: String) -> Goal.Reading {
            Goal.Reading(scenario: "idle-groups", figure: figure, setting: "1000 idle groups", contestant: contestant)
        }
        return Goal(title: title, ours: reading(Report.ours), yardstick: .best([reading("nats")]), bound: .atMost(most))
    }

    private static let manyGroups = [
        Goal(title: "commits/s of 48 groups, 16 bytes", ours: active(48, of: 48), bound: .atLeast(260_000)),
        Goal(
            title: "4096 active groups beside 48", ours: active(4_096, of: 4_096),
            yardstick: .best([active(48, of: 48)]),
            bound: .atLeast(0.6)),
        Goal(
            title: "48 active of 4096 groups beside 48", ours: active(48, of: 4_096),
            yardstick: .best([active(48, of: 48)]), bound: .atLeast(0.95)),
        Goal(
            title: "1000 active groups, beside streams of NATS", ours: active(1_000, of: 1_000),
            yardstick: .best([active(1_000, of: 1_000, "nats")]), bound: .atLeast(10)),
        idle("processor %", 0.02, "processor of 1000 idle groups, beside streams of NATS"),
        idle("MiB above empty", 0.05, "memory of 1000 idle groups, beside streams of NATS"),
        Goal(
            title: "commit p99 while a snapshot is sent to 3 followers",
            ours: Goal.Reading(scenario: "snapshots", figure: SnapshotsBenchmark.p99With),
            yardstick: .best([Goal.Reading(scenario: "snapshots", figure: SnapshotsBenchmark.p99Without)]),
            bound: .atMost(1.2)),
    ]

    private static func reads(_ contestant: String) -> Goal.Reading {
        Goal.Reading(scenario: "reads", figure: "reads/s", setting: inFlight(256), contestant: contestant)
    }

    private static let reads = [
        Goal(
            title: "reads/s by lease, 256 in flight, beside our commits", ours: reads("flotilla-lease"),
            yardstick: .best([rate(256)]), bound: .atLeast(10)),
        Goal(
            title: "reads/s by read index, 256 in flight, beside etcd", ours: reads(Report.ours),
            yardstick: .best([reads("etcd")]), bound: .atLeast(5)),
    ]

    private static func steps(
        _ figure: String, _ count: Int, _ contestant: String = Report.ours
    ) -> Goal.Reading {
        Goal.Reading(scenario: "steps", figure: figure, setting: "\(count) at a time", contestant: contestant)
    }

    private static let workflows = [
        Goal(
            title: "steps/s, 16 callers, beside DBOS on the same durability", ours: steps("steps/s", 16),
            yardstick: .best([steps("steps/s", 16, "dbos")]), bound: .atLeast(10)),
        Goal(
            title: "steps/s, 16 callers, beside PostgreSQL itself", ours: steps("steps/s", 16),
            yardstick: .best([steps("steps/s", 16, "postgresql")]), bound: .atLeast(1)),
        Goal(title: "steps/s, 16 callers", ours: steps("steps/s", 16), bound: .atLeast(20_000)),
        Goal(title: "step p50 in ms, 1 caller", ours: steps("p50 ms", 1), bound: .atMost(1)),
        Goal(title: "step p99 in ms, 1 caller", ours: steps("p99 ms", 1), bound: .atMost(4)),
        Goal(
            title: "workflows/s of one step, start to result",
            ours: Goal.Reading(scenario: "workflows", figure: "workflows/s", setting: "64 at a time"),
            bound: .atLeast(5_000)),
        Goal(
            title: "kill -9 of an owner to the next step, p99 in ms",
            ours: Goal.Reading(scenario: "takeover", figure: TakeoverBenchmark.figure, isTail: true),
            bound: .atMost(1_000)),
    ]
}
