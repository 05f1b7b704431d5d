import Foundation
import Testing

/// The handbook's table of promises names tests; they have to be there.
@Suite struct PromiseTableTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../..").standardized

    @Test("every test that the handbook names beside a promise exists")
    func tests() throws {
        let handbook = try String(contentsOf: Self.root.appendingPathComponent("HANDBOOK.md"), encoding: .utf8)
        let table = try #require(handbook.components(separatedBy: "## Promises, and what tries to break them").last)
            .components(separatedBy: "\n## ")[0]
        // Behind the second bar of a row stand the tests, in backquotes; `make` commands are no tests.
        let names = table.split(separator: "\n").filter { $0.hasPrefix("| ") }.dropFirst(2)
            .flatMap { row in row.split(separator: "|")[1].split(separator: "`").map(String.init) }
            .filter { $0.contains(" ") && !$0.hasPrefix("make ") && $0.first?.isLetter == true }
        #expect(names.count > 12)

        var titles = ""
        let tests = Self.root.appendingPathComponent("Tests")
        let files = try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
        for case let file as URL in files where file.pathExtension == "swift" {
            titles += try String(contentsOf: file, encoding: .utf8)
        }
        for name in names { #expect(titles.contains("\(name)"), "no test says: \(name)") }
    }
}
