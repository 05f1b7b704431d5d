/// The trace hashes of some histories, from `hashes.txt`. One seed is one history: every process and every build must
/// come to the same. A change of the library makes other histories; `flotilla-simulate --record-hashes` takes them down.
package enum RecordedHashes {
    /// What is recorded: some seeds of the usual scenarios, and one of two tiers, whose nodes ask many others at once.
    package static var cases: [ScenarioCase] {
        let usual = Scenario.usual.flatMap { scenario in
            (1...2).map { ScenarioCase(scenario.name, seed: $0, load: 20) }
        }
        return usual + [ScenarioCase(Scenario.tiers.name, seed: 2, load: 5)]
    }

    package static func text(_ hashes: [(ScenarioCase, UInt64)]) -> String {
        hashes.map { "\($0): \(String($1, radix: 16))\n" }.joined()
    }

    /// - Throws: `ScenarioFailure` for a line that is none.
    package static func parse(_ text: String) throws(ScenarioFailure) -> [ScenarioCase: UInt64] {
        var hashes: [ScenarioCase: UInt64] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":")
            guard parts.count == 2, let instance = ScenarioCase(String(parts[0])),
                let hash = UInt64(parts[1].drop(while: \.isWhitespace), radix: 16)
            else { throw ScenarioFailure("'\(line)' is no recorded hash") }
            hashes[instance] = hash
        }
        return hashes
    }

    /// - Throws: `ScenarioFailure` where a hash is another than the recorded one, or none is recorded.
    package static func check(_ instance: ScenarioCase, _ hash: UInt64, in text: String) throws(ScenarioFailure) {
        let recorded = try parse(text)[instance]
        guard recorded == hash else {
            throw ScenarioFailure(
                "the history of '\(instance)' has the trace hash \(String(hash, radix: 16)), recorded is "
                    + "\(recorded.map { String($0, radix: 16) } ?? "none"). After a change of the library that is "
                    + "expected: 'make simulate-hashes' records anew. Without one, something that no seed governs "
                    + "has made its way into the history")
        }
    }
}
