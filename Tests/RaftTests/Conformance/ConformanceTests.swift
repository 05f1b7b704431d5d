import Glibc
import Testing

@testable import FlotillaRaft

/// Runs the scenario files of a folder, and those of this project. `FLOTILLA_CONFORMANCE` names the folder;
/// `FLOTILLA_CONFORMANCE_LETTER` shows differences in log lines as well, which fail no test.
@Suite struct ConformanceTests {
    private static let package = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(4).joined(separator: "/")
    }()

    private static let folder =
        getenv("FLOTILLA_CONFORMANCE").map { String(cString: $0) } ?? package + "/../shared/conformance"

    private static let ownFolder = package + "/Tests/RaftTests/Conformance/Scenarios"

    private static let givenFiles = ScenarioFolder.files(in: folder) ?? []
    private static let ownFiles = ScenarioFolder.files(in: ownFolder) ?? []

    @Test("the core does what a scenario file expects", arguments: givenFiles)
    func given(path: String) throws { try check(path, below: Self.folder) }

    @Test("the core does what a scenario of this project expects", arguments: ownFiles)
    func own(path: String) throws { try check(path, below: Self.ownFolder) }

    @Test("there is conformance data, or its absence is said")
    func summary() throws {
        #expect(Self.ownFiles.count >= 10, "the project's own scenarios are missing in \(Self.ownFolder)")
        try summarize(Self.ownFiles, "own scenarios", below: Self.ownFolder)
        if Self.givenFiles.isEmpty {
            print("skipped: no conformance data (no *.txt below \(Self.folder))")
        } else {
            try summarize(Self.givenFiles, "conformance", below: Self.folder)
        }
    }

    private func check(_ path: String, below folder: String) throws {
        let runner = try run(path, below: folder)
        for difference in runner.meaningDifferences.prefix(3) {
            Issue.record("\(difference)")
        }
        let more = runner.meaningDifferences.count - 3
        if more > 0 { Issue.record("\(name(path, below: folder)): \(more) more directives differ") }
        if getenv("FLOTILLA_CONFORMANCE_LETTER") != nil {
            for difference in runner.letterDifferences { print("letter: \(difference)") }
        }
    }

    /// One line per file, and the total.
    private func summarize(_ paths: [String], _ title: String, below folder: String) throws {
        var meaning = ScenarioRunner.Score()
        var letter = ScenarioRunner.Score()
        var meaningFiles = 0
        var letterFiles = 0
        var report = ""
        for path in paths {
            guard let runner = try? run(path, below: folder) else {
                report += "  \(name(path, below: folder)): not a scenario file\n"
                continue
            }
            report += "  \(name(path, below: folder)): \(runner.meaning.text); by the letter \(runner.letter.text)\n"
            meaning = meaning + runner.meaning
            letter = letter + runner.letter
            if runner.meaning.isPassed { meaningFiles += 1 }
            if runner.letter.isPassed { letterFiles += 1 }
        }
        report += "\(title): \(meaningFiles) of \(paths.count) files, \(meaning.text)\n"
        report += "\(title) by the letter: \(letterFiles) of \(paths.count) files, \(letter.text)"
        print(report)
    }

    private func run(_ path: String, below folder: String) throws(ScenarioError) -> ScenarioRunner {
        let file = try ScenarioFile(name: name(path, below: folder), text: try ScenarioFolder.read(path))
        return ScenarioRunner(file)
    }

    private func name(_ path: String, below folder: String) -> String {
        path.hasPrefix(folder + "/") ? String(path.dropFirst(folder.count + 1)) : path
    }
}

extension ScenarioRunner.Score {
    fileprivate var text: String { "\(equalLines.grouped) of \(lines.grouped) lines" }
}

extension Int {
    fileprivate var grouped: String {
        self < 1000 ? "\(self)" : "\((self / 1000).grouped)," + String("\(1000 + self % 1000)".dropFirst())
    }
}
