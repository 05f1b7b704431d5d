import FlotillaIO
import FoundationEssentials

/// `flotilla-bench group`: what one replicated group commits, beside other systems that take turns with it.
enum SingleGroupBenchmark {
    static let command = CommandDescription(
        "flotilla-bench group",
        summary: "Measures the commits of one group of three replicas, beside other systems in the same session.",
        options: [
            .value("rounds", "N", "how often each contestant is measured, in turns (default: 3)"),
            .value("callers", "N,N", "how many commits are in flight (default: 1,16,256,1024)"),
            .value("seconds", "N", "how long each measurement is (default: 3)"),
            .value("bytes", "N", "of each entry (default: 128)"),
            .value("peers", "NAMES", "\(Peer.all.map(\.name).joined(separator: ", ")), or all (default: none)"),
            .value("out", "PATH", "also write PATH.json and PATH.html"),
        ])

    private static let warmup: Duration = .seconds(1)

    static func run(_ options: ParsedOptions) async throws {
        let rounds = try options.number("rounds", in: 1...1_000) ?? 3
        let seconds = try options.number("seconds", in: 1...600) ?? 3
        let bytes = try options.number("bytes", in: 8...1_000_000) ?? 128
        let loads = try callers(options).map {
            GroupLoad(callers: $0, warmup: warmup, length: .seconds(seconds), bytes: bytes)
        }
        let contestants: [any Contestant] = [FlotillaContestant()] + (try peers(options))
        let out = options.string("out")
        let lock = Lock(newReport(contestants, bytes: bytes))
        let progress = Progress()
        do {
            try await measure(loads, contestants, rounds: rounds, progress) { sample, load, name in
                lock.withLock { $0.add(sample, load, of: name) }
            }
            lock.withLock { $0.isComplete = true }
        } catch {
            // What is there was measured all the same.
            progress.clear()
            if let out { try? lock.withLock { try $0.write(to: out) } }
            throw error
        }
        progress.clear()
        let report = lock.withLock { $0 }
        progress.line(text(report, contestants.map(\.name), loads, rounds: rounds))
        if let out {
            try report.write(to: out)
            progress.line("\nWritten: \(out).json, \(out).html")
        }
    }

    private static func callers(_ options: ParsedOptions) throws -> [Int] {
        guard let text = options.string("callers") else { return [1, 16, 256, 1_024] }
        return try text.split(separator: ",").map { word in
            guard let count = Int(word), (1...100_000).contains(count) else {
                throw options.fail("--callers \(text): numbers from 1 to 100000")
            }
            return count
        }
    }

    private static func peers(_ options: ParsedOptions) throws -> [Peer] {
        guard let text = options.string("peers") else { return [] }
        let chosen =
            try text == "all"
            ? Peer.all
            : text.split(separator: ",").map { name in
                guard let peer = Peer.all.first(where: { $0.name == name }) else {
                    throw options.fail("--peers \(text): there are \(Peer.all.map(\.name).joined(separator: ", "))")
                }
                return peer
            }
        for peer in chosen { if let obstacle = peer.obstacle { throw BenchError("\(peer.name): \(obstacle)") } }
        return chosen
    }

    private static func newReport(_ contestants: [any Contestant], bytes: Int) -> Report {
        var report = Report(scenario: "group")
        report.conditions = contestants.map { "\($0.name): \($0.conditions)" }
        report.conditions.append(
            "\(bytes) bytes an entry; closed loop: a caller sends the next when it has the answer; all processes on this "
                + "machine over loopback; empty data and new processes for each measurement; contestants take turns")
        return report
    }

    private static func measure(
        _ loads: [GroupLoad], _ contestants: [any Contestant], rounds: Int, _ progress: Progress,
        _ add: (LoadSample, GroupLoad, String) -> Void
    ) async throws {
        for load in loads {
            for round in 1...rounds {
                for contestant in contestants {
                    progress.update("\(load.callers) in flight, round \(round) of \(rounds): \(contestant.name)")
                    let scratch = try Scratch("flotilla-group")
                    do {
                        add(try await contestant.measure(load, in: scratch.path), load, contestant.name)
                    } catch {
                        if !(error is CancellationError) {
                            Terminal.writeLine("\(contestant.name)'s logs are kept: \(scratch.path)", to: .error)
                        }
                        throw error
                    }
                    scratch.remove()
                }
            }
        }
    }

    private static func text(_ report: Report, _ names: [String], _ loads: [GroupLoad], rounds: Int) -> String {
        var text = ""
        for name in Report.groupFigures.map(\.name) {
            var table = TextTable(
                [name] + names + names.dropFirst().map { "flotilla / \($0)" },
                rightAligned: Set(1..<2 * names.count))
            for load in loads {
                let setting = load.setting
                var row = [setting]
                for contestant in names {
                    row.append(report.measure(name, setting, of: contestant).map { Report.spread($0.samples) } ?? "")
                }
                for other in names.dropFirst() {
                    row.append(Report.spread(report.ratios(name, setting, of: names[0], to: other)))
                }
                table.add(row)
            }
            text += table.text + "\n"
        }
        return text + "Median (least to most) of \(rounds); ratios round by round.\n"
            + report.conditions.map { "- \($0)" }.joined(separator: "\n")
    }
}

extension GroupLoad {
    var setting: String { "\(callers) in flight" }
}

extension Report {
    /// What is read off a sample.
    fileprivate static let groupFigures:
        [(name: String, isBetterHigher: Bool, value: @Sendable (LoadSample) -> Double)] = [
            ("entries/s", true, { $0.result.perSecond }),
            ("p50 ms", false, { $0.result.p50 / 1_000 }),
            ("p99 ms", false, { $0.result.p99 / 1_000 }),
            ("processor us/entry", false, { $0.usage.processorSeconds * 1e6 / $0.entries }),
            ("calls/entry", false, { $0.usage.calls / $0.entries }),
            ("KiB to disk/entry", false, { $0.usage.writtenMebibytes * 1_024 / $0.entries }),
            ("resident MiB", false, { $0.usage.residentMebibytes }),
        ]

    fileprivate mutating func add(_ sample: LoadSample, _ load: GroupLoad, of contestant: String) {
        for figure in Self.groupFigures {
            add(
                figure.value(sample), figure.name, load.setting, of: contestant, isBetterHigher: figure.isBetterHigher)
        }
    }
}

extension LoadSample {
    fileprivate var entries: Double { Double(max(1, result.operations)) }
}
