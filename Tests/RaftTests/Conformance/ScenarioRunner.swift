/// What can carry out the directives of one file.
protocol Scenario {
    mutating func run(_ directive: ScenarioFile.Directive) throws(ScenarioError) -> String
}

/// Runs a file and compares what came out with what it expects, in two ways: by meaning (without log lines) and by the
/// letter (all lines).
struct ScenarioRunner {
    struct Score: Equatable {
        var lines = 0
        var equalLines = 0
        var isPassed: Bool { lines == equalLines }
    }

    private(set) var meaning = Score()
    private(set) var letter = Score()
    /// What differs, in the order of the file; the letter only where the meaning agrees.
    private(set) var meaningDifferences: [String] = []
    private(set) var letterDifferences: [String] = []

    init(_ file: ScenarioFile) {
        var scenario = Self.scenario(for: file)
        for directive in file.directives {
            let actual: [String]
            do throws(ScenarioError) {
                actual = try scenario.run(directive).split(
                    separator: "\n", omittingEmptySubsequences: false
                ).map { String($0).withoutTrailingSpace }.withoutTrailingEmpty
            } catch {
                actual = [error.description]
            }
            compare(directive, actual, in: file.name)
        }
    }

    private static func scenario(for file: ScenarioFile) -> any Scenario {
        let commands = Set(file.directives.map(\.command))
        if !commands.isDisjoint(with: ["committed", "vote"]) { return QuorumScenario() }
        if !commands.isDisjoint(with: ["simple", "enter-joint", "leave-joint"]) { return ConfigurationScenario() }
        return InteractionScenario()
    }

    private mutating func compare(_ directive: ScenarioFile.Directive, _ actual: [String], in file: String) {
        let title = "\(file):\(directive.line): \(directive.text)"
        let expectedMeaning = directive.expected.meaning
        let actualMeaning = actual.meaning
        let meaningDiffers = meaning.add(expectedMeaning, actualMeaning)
        if meaningDiffers {
            meaningDifferences.append(LineDifference(expectedMeaning, actualMeaning).text(title: title))
        }
        if letter.add(directive.expected.emptyAsOK, actual.emptyAsOK), !meaningDiffers {
            letterDifferences.append(LineDifference(directive.expected, actual).text(title: title))
        }
    }
}

extension ScenarioRunner.Score {
    /// - Returns: whether there is a difference.
    fileprivate mutating func add(_ expected: [String], _ actual: [String]) -> Bool {
        let difference = LineDifference(expected, actual)
        // A line too many costs one that would have been equal.
        lines += expected.count
        equalLines += max(0, difference.equalCount - difference.extraCount)
        return difference.equalCount != expected.count || difference.extraCount > 0
    }

    static func + (a: Self, b: Self) -> Self {
        .init(lines: a.lines + b.lines, equalLines: a.equalLines + b.equalLines)
    }
}

/// Two texts line by line.
struct LineDifference {
    private let lines: [(mark: Character, text: String)]

    init(_ expected: [String], _ actual: [String]) {
        var missing = Set<Int>()
        var extra = Set<Int>()
        for change in actual.difference(from: expected) {
            switch change {
            case .remove(let offset, _, _): missing.insert(offset)
            case .insert(let offset, _, _): extra.insert(offset)
            }
        }
        var lines: [(Character, String)] = []
        var position = 0
        for (offset, line) in expected.enumerated() {
            if missing.contains(offset) {
                lines.append(("-", line))
                continue
            }
            while extra.contains(position) {
                lines.append(("+", actual[position]))
                position += 1
            }
            lines.append((" ", line))
            position += 1
        }
        for line in actual[min(position, actual.count)...] { lines.append(("+", line)) }
        self.lines = lines
    }

    var equalCount: Int { lines.count { $0.mark == " " } }
    var extraCount: Int { lines.count { $0.mark == "+" } }

    func text(title: String) -> String {
        "\(title)\n  (- expected, + actual)\n" + lines.map { "  \($0.mark) \($0.text)\n" }.joined()
    }
}

extension [String] {
    /// Without log lines; nothing left is as good as "ok".
    fileprivate var meaning: [String] { filter { !$0.isLogLine }.emptyAsOK }

    fileprivate var emptyAsOK: [String] { isEmpty ? ["ok"] : self }

    fileprivate var withoutTrailingEmpty: [String] {
        var lines = self
        while lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }
}

extension String {
    fileprivate var isLogLine: Bool {
        let text = trimmed
        return ["DEBUG ", "INFO ", "WARN ", "ERROR "].contains { text.hasPrefix($0) }
    }
}
