import Flotilla
import Foundation
import Testing

@testable import FlotillaBenchmarks

/// What was measured for this release.
@Suite struct ResultsTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "../.."
    )
    .standardized

    @Test("the README says of the goals what this release's report says, met or not")
    func readme() throws {
        let path = Self.root.appendingPathComponent("Benchmarks/Results/\(FlotillaVersion.current).json").path
        let reports = try Report.all(in: path)
        let readme = try readText(Self.root.appendingPathComponent("README.md").path)
        let isSame = readme.contains(Goals.text(reports))
        #expect(isSame, "put into the README what 'flotilla-bench goals \(path)' prints")
        let areComplete = reports.allSatisfy { $0.isComplete }
        #expect(areComplete)
    }
}
