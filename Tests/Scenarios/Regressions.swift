/// Failing cases whose reasons were mended, from `regressions.txt`: they run before anything else.
package struct Regression: Hashable, Sendable {
    package var instance: ScenarioCase
    package var reason: String

    /// - Parameter text: a case per line ("registers 17 60 all"), and behind a # what it was.
    /// - Throws: `ScenarioFailure` naming the line that is none.
    package static func list(in text: String) throws(ScenarioFailure) -> [Regression] {
        var list: [Regression] = []
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let parts = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            guard let words = parts.first, !words.allSatisfy(\.isWhitespace) else { continue }
            guard let instance = ScenarioCase(String(words)), Scenario.named(instance.scenario) != nil,
                parts.count == 2
            else {
                throw ScenarioFailure(
                    "line \(number + 1) of the regressions is none: '\(line)'; write 'SCENARIO SEED LOAD FAULTS # what it was'"
                )
            }
            list.append(Regression(instance: instance, reason: String(parts[1].drop(while: \.isWhitespace))))
        }
        return list
    }

    package static func list() throws -> [Regression] { try list(in: RecordFile.regressions.text()) }
}
