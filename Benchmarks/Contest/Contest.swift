import FlotillaIO

/// Contestants that take turns under the same loads: all of them once, then all of them again, so that a machine that
/// becomes slower does so for all.
struct Contest: Sendable {
    /// What is counted, such as "entries".
    var unit = "entries"
    var contestants: [any Contestant]
    var loads: [(setting: String, load: GroupLoad)]
    var rounds: Int

    func run(_ recorder: Recorder) async throws {
        let machine = Machine.current()
        for (setting, load) in loads {
            for round in 1...rounds {
                for contestant in contestants {
                    recorder.progress.update("\(setting), round \(round) of \(rounds): \(contestant.name)")
                    let sample = try await withScratch("flotilla-contest", contents: "\(contestant.name)'s logs") {
                        try await contestant.measure(load, in: $0)
                    }
                    for figure in Self.figures(unit, megahertz: machine.megahertz) {
                        recorder.add(
                            figure.value(sample), figure.name, setting, of: contestant.name,
                            isBetterHigher: figure.isBetterHigher)
                    }
                }
            }
        }
    }

    /// What distinguishes the contestants, and what they have in common.
    var conditions: [String] {
        contestants.map { "\($0.name): \($0.conditions)" } + [
            "all processes on this machine over loopback; empty data and new processes for each measurement; "
                + "contestants take turns; processor, calls and bytes are those of all processes of a contestant, its "
                + "load included; cycles are processor time at the rate that the kernel names"
        ]
    }

    /// What is read off a sample.
    private static func figures(
        _ unit: String, megahertz: Double
    ) -> [(name: String, isBetterHigher: Bool, value: @Sendable (LoadSample) -> Double)] {
        let one =
            switch unit {
            case "entries": "entry"
            default: String(unit.dropLast())
            }
        return [
            ("\(unit)/s", true, { $0.result.perSecond }),
            ("p50 ms", false, { $0.result.p50 / 1_000 }),
            ("p99 ms", false, { $0.result.p99 / 1_000 }),
            ("p99.9 ms", false, { $0.result.p999 / 1_000 }),
            ("processor us/\(one)", false, { $0.usage.processorSeconds * 1e6 / $0.operations }),
            ("kilocycles/\(one)", false, { $0.usage.processorSeconds * megahertz * 1_000 / $0.operations }),
            ("calls/\(one)", false, { $0.usage.calls / $0.operations }),
            ("KiB to disk/\(one)", false, { $0.usage.writtenMebibytes * 1_024 / $0.operations }),
            ("resident MiB", false, { $0.usage.residentMebibytes }),
        ]
    }
}

extension LoadSample {
    fileprivate var operations: Double { Double(max(1, result.operations)) }
}

/// Whom a scenario can be measured beside.
enum PeerChoice {
    static func option(_ peers: [Peer]) -> CommandDescription.Option {
        .value("peers", "NAMES", "\(peers.map(\.name).joined(separator: ", ")), or all (default: none)")
    }

    /// - Throws: where one is not known, or cannot run on this machine.
    static func peers(_ options: ParsedOptions, of peers: [Peer]) throws -> [Peer] {
        guard let text = options.string("peers") else { return [] }
        let chosen =
            try text == "all"
            ? peers
            : text.split(separator: ",").map { name in
                guard let peer = peers.first(where: { $0.name == name }) else {
                    throw options.fail("--peers \(text): there are \(peers.map(\.name).joined(separator: ", "))")
                }
                return peer
            }
        for peer in chosen { if let obstacle = peer.obstacle { throw BenchError("\(peer.name): \(obstacle)") } }
        return chosen
    }
}

extension ParsedOptions {
    /// A list of numbers, such as 1,16,256.
    func numbers(_ name: String, in range: ClosedRange<Int>) throws -> [Int]? {
        guard let text = string(name) else { return nil }
        return try text.split(separator: ",").map { word in
            guard let number = Int(word), range.contains(number) else {
                throw fail("--\(name) \(text): numbers from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
    }
}
