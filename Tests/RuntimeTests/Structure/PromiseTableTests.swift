import Foundation
import Testing

/// The handbook's table of promises names tests and commands, the README's table of features names files of tests; they
/// have to be there.
@Suite struct PromiseTableTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../..").standardized

    /// The cells of a table's rows, without its header.
    private func table(in document: String, below heading: String) throws -> [[String]] {
        let text = try String(contentsOf: Self.root.appendingPathComponent(document), encoding: .utf8)
        let section = try #require(text.components(separatedBy: "\n\(heading)\n").dropFirst().first)
            .components(separatedBy: "\n## ")[0]
        return section.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst(2).map { row in
            row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    /// What stands in backquotes.
    private func names(in cell: String) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
            .map { String($0.element) }
    }

    @Test("every test that the handbook names beside a promise exists, and every command")
    func promises() throws {
        let rows = try table(in: "HANDBOOK.md", below: "## Promises, and what tries to break them")
        #expect(rows.count > 8)
        let makefile = try String(contentsOf: Self.root.appendingPathComponent("Makefile"), encoding: .utf8)
        let targets = Set(makefile.split(separator: "\n").compactMap { $0.firstMatch(of: #/^([a-z-]+):/#)?.output.1 })
        var titles = ""
        let tests = Self.root.appendingPathComponent("Tests")
        let files = try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
        for case let file as URL in files where file.pathExtension == "swift" {
            titles += try String(contentsOf: file, encoding: .utf8)
        }
        for row in rows {
            try #require(row.count == 3, "\(row)")
            for cell in row.dropFirst() {
                #expect(!names(in: cell).isEmpty, "nothing tries to break '\(row[0])' in one of the ways: \(cell)")
                for name in names(in: cell) {
                    if name.hasPrefix("make ") {
                        #expect(targets.contains(name.dropFirst(5)), "nothing can be made with: \(name)")
                    } else {
                        let isThere = titles.contains("\"\(name)\"")
                        #expect(isThere, "no test says: \(name)")
                    }
                }
            }
        }
    }

    @Test("every file and folder of tests that the README names beside a feature exists")
    func features() throws {
        let rows = try table(in: "README.md", below: "## What there is")
        #expect(rows.count > 20)
        let tests = Self.root.appendingPathComponent("Tests/RuntimeTests")
        for row in rows {
            var folder = tests
            for name in try #require(row.last).components(separatedBy: ", ") {
                // A name without a folder is of the one before it, if that was a file's.
                let found = [tests, folder].map { $0.appendingPathComponent(name) }.flatMap {
                    [$0, $0.appendingPathExtension("swift")]
                }.first { FileManager.default.fileExists(atPath: $0.standardized.path) }
                #expect(found != nil, "'\(row[0])' is shown by \(name), which is not there")
                if let found { folder = found.deletingLastPathComponent() }
            }
        }
    }
}
