import FoundationEssentials
import Glibc
import Testing

@testable import FlotillaBenchmarks

@Suite("Reports of measurements")
struct ReportTests {
    private func report(_ samples: [String: [Double]], isBetterHigher: Bool = true) -> Report {
        var report = Report(scenario: "group")
        for (contestant, values) in samples.sorted(by: { $0.key < $1.key }) {
            for value in values {
                report.add(value, "entries/s", "16 in flight", of: contestant, isBetterHigher: isBetterHigher)
            }
        }
        return report
    }

    @Test("samples are kept in the order of their rounds, and ratios are taken round by round")
    func ratios() throws {
        let report = report(["a": [10, 30, 20], "b": [5, 10, 40]])
        let a = try #require(report.measure("entries/s", "16 in flight", of: "a"))
        #expect(a.samples == [10, 30, 20] && a.median == 20 && a.least == 10 && a.most == 30)
        #expect(report.ratios("entries/s", "16 in flight", of: "a", to: "b") == [2, 3, 0.5])
        #expect(report.ratios("entries/s", "16 in flight", of: "a", to: "c") == [])
    }

    @Test("what is written is read again, and something else is refused by name")
    func files() throws {
        let path = TemporaryPath.make()
        defer { for end in ["json", "html"] { try? FileManager.default.removeItem(atPath: "\(path).\(end)") } }
        var report = report(["a": [1, 2, 3]])
        report.conditions = ["<b> & \"c\""]
        report.isComplete = true
        try report.write(to: path)
        let again = try Report(readingFrom: path + ".json")
        #expect(again.measures == report.measures && again.isComplete && again.machine == report.machine)
        #expect(again.machine.cores > 0 && again.machine.memoryMebibytes > 0)
        let page = try readText(path + ".html")
        #expect(page.contains("&lt;b&gt; &amp; &quot;c&quot;") && page.contains("<svg") && !page.contains("<b>"))
        #expect(throws: BenchError.self) { try Report(readingFrom: path + ".html") }
    }

    @Test(
        "a change counts where no sample of one run lies among those of the other, and there are three of each",
        arguments: [
            ([1, 2, 3], [4, 5, 6], true, Comparison.Verdict.better), ([1, 2, 3], [4, 5, 6], false, .worse),
            ([4, 5, 6], [1, 2, 3], true, .worse), ([1, 2, 4], [3, 5, 6], true, .noise),
            ([1, 2, 3], [3, 4, 5], true, .noise),
            ([1, 2], [4, 5], true, .noise),
        ] as [([Double], [Double], Bool, Comparison.Verdict)])
    func verdicts(before: [Double], after: [Double], isBetterHigher: Bool, expected: Comparison.Verdict) throws {
        let old = report(["a": before], isBetterHigher: isBetterHigher)
        let new = report(["a": after], isBetterHigher: isBetterHigher)
        #expect(Comparison.verdict(old.measures[0], new.measures[0]) == expected)
        #expect(Comparison.text(old, new).contains(expected.rawValue))
    }

    @Test("a comparison names what the second run does not have, and other machines")
    func missing() {
        let old = report(["a": [1, 2, 3], "b": [1]])
        var new = report(["a": [1, 2, 3]])
        new.machine.cores += 1
        let text = Comparison.text(old, new)
        #expect(
            text.contains("Not in the second run: b, 16 in flight, entries/s") && text.contains("different machines"))
    }

    @Test("a comparison names what only the second run has, and which run is not complete")
    func added() {
        var old = report(["a": [1, 2, 3]])
        old.isComplete = true
        let text = Comparison.text(old, report(["a": [1, 2, 3], "c": [1]]))
        #expect(text.contains("Only in the second run: c, 16 in flight, entries/s"))
        #expect(text.contains("The second run is not complete") && !text.contains("The first run is not"))
    }

    @Test("runs of different scenarios, or with other parameters, are not compared, and the difference is named")
    func objections() {
        var (a, b) = (report(["a": [1]]), report(["a": [2]]))
        (a.parameters, b.parameters) = (["bytes": "128", "seconds": "3"], ["bytes": "128", "seconds": "3"])
        #expect(Comparison.objection(a, b) == nil)
        b.parameters["bytes"] = "1024"
        b.parameters["seconds"] = nil
        let objection = Comparison.objection(a, b)
        #expect(objection?.contains("bytes was 128 and is 1024; seconds was 3 and is not set") == true)
        b.parameters = a.parameters
        b.scenario = "steps"
        #expect(Comparison.objection(a, b)?.contains("'group' and the other of 'steps'") == true)
    }

    @Test("a report of another layout is refused by its number, whatever else it holds")
    func layouts() throws {
        let path = TemporaryPath.make()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("{\"version\": 7, \"unheard\": []}".utf8).write(to: URL(filePath: path))
        let error = #expect(throws: BenchError.self) { try Report(readingFrom: path) }
        #expect(error?.message.contains("layout 7, and this program reads \(Report.layout)") == true)
        try Data("{\"version\": \(Report.layout)}".utf8).write(to: URL(filePath: path))
        let lacking = #expect(throws: BenchError.self) { try Report(readingFrom: path) }
        #expect(lacking?.message.contains("lacks a part") == true)
    }

    @Test("usage of processes counts their children")
    func usage() async throws {
        let path = TemporaryPath.make()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let child = try ChildProcess(
            path: "/bin/sh", arguments: ["-c", "setsid sh -c 'echo up; sleep 60; true' & wait"], environment: [:],
            log: path)
        while (try? readText(path))?.contains("up") != true { try await Task.sleep(for: .milliseconds(10)) }
        let all = ProcessTreeUsage.now([child.pid])
        let alone = try #require(ChildProcess.residentKilobytes(of: child.pid))
        #expect(all.residentMebibytes > Double(alone) / 1_024 * 1.5)
        #expect(all.since(all).calls == 0)
        // The one with a session of its own is not in the child's group.
        for pid in try Self.children(of: child.pid) { kill(pid, SIGKILL) }
        child.send(signal: SIGKILL)
        await child.wait(limit: .seconds(5))
    }

    private static func children(of pid: pid_t) throws -> [pid_t] {
        try readText("/proc/\(pid)/task/\(pid)/children").split(separator: " ").compactMap { pid_t($0) }
    }
}

private enum TemporaryPath {
    static func make() -> String { FileManager.default.temporaryDirectory.path + "/flotilla-report-\(UUID())" }
}
