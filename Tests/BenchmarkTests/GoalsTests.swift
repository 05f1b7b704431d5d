import Testing

@testable import FlotillaBenchmarks

@Suite("Goals")
struct GoalsTests {
    private func report(_ scenario: String, _ values: [(String, String, String, [Double])]) -> Report {
        var report = Report(scenario: scenario)
        report.isComplete = true
        for (figure, setting, contestant, samples) in values {
            for sample in samples {
                report.add(sample, figure, setting, of: contestant, isBetterHigher: figure.hasSuffix("/s"))
            }
        }
        return report
    }

    private func reading(_ contestant: String, _ figure: String = "entries/s") -> Goal.Reading {
        Goal.Reading(scenario: "group", figure: figure, setting: "s", contestant: contestant)
    }

    @Test("a ratio is the median of the rounds' ratios, to the better of the others")
    func ratios() throws {
        let measured = report(
            "group",
            [
                ("entries/s", "s", "flotilla", [10, 100, 30]), ("entries/s", "s", "a", [1, 1, 1]),
                ("entries/s", "s", "b", [5, 100, 10]),
            ])
        let goal = Goal(
            title: "t", ours: reading("flotilla"), yardstick: .best([reading("a"), reading("b"), reading("none")]),
            bound: .atLeast(2))
        // 10/5, 100/100, 30/10
        let expected = Goal.Finding(ours: 30, theirs: 10, ratio: 2, isMet: true)
        #expect(goal.finding(in: [report("steps", []), measured]) == expected)
        var strict = goal
        strict.bound = .atMost(1.9)
        #expect(strict.finding(in: [measured])?.isMet == false)
    }

    @Test("of latencies the lower one is the better, and other numbers of rounds are compared by their medians")
    func latencies() {
        let measured = report(
            "group",
            [("ms", "s", "flotilla", [2, 4]), ("ms", "s", "a", [8, 8, 8]), ("ms", "s", "b", [5, 5, 5])])
        let goal = Goal(
            title: "t", ours: reading("flotilla", "ms"), yardstick: .best([reading("a", "ms"), reading("b", "ms")]),
            bound: .atMost(0.5))
        #expect(goal.finding(in: [measured]) == Goal.Finding(ours: 2, theirs: 5, ratio: 0.4, isMet: true))
    }

    @Test("what several others take adds up, in the same unit; of a tail the 99th percentile counts")
    func sumsAndTails() {
        let measured = report(
            "group", [("ms", "s", "flotilla", [1, 2, 3]), ("us", "s", "a", [500]), ("us", "s", "b", [1_500])])
        var a = reading("a", "us")
        var b = reading("b", "us")
        (a.scale, b.scale) = (0.001, 0.001)
        let goal = Goal(
            title: "t", ours: reading("flotilla", "ms"), yardstick: .sum([a, b]), bound: .atMost(1))
        #expect(goal.finding(in: [measured]) == Goal.Finding(ours: 2, theirs: 2, ratio: 1, isMet: true))
        var tail = reading("flotilla", "ms")
        tail.isTail = true
        let tailGoal = Goal(title: "t", ours: tail, bound: .atMost(2))
        #expect(tailGoal.finding(in: [measured]) == Goal.Finding(ours: 3, isMet: false))
    }

    @Test("what was not measured is neither met nor missed, and the table says so")
    func missing() {
        for goal in Goals.all { #expect(goal.finding(in: []) == nil) }
        let floor = Goal(
            title: "t", ours: reading("flotilla"), yardstick: .sum([reading("a")]), bound: .atMost(2))
        #expect(floor.finding(in: [report("group", [("entries/s", "s", "flotilla", [1])])]) == nil)
        var other = report("group", [("entries/s", "1024 in flight", "flotilla", [350_000])])
        other.isComplete = false
        other.commit = "abc"
        let text = Goals.text([report("steps", [("steps/s", "16 at a time", "flotilla", [19_000])]), other])
        #expect(text.contains("NOT MET") && text.contains("1 of 2 goals are met"))
        #expect(text.contains("not measured") && text.contains("'group' is not complete") && text.contains("abc"))
    }

    @Test("reports of open loops and of slower disks are left out")
    func otherConditions() {
        for parameter in [GroupLoad.rateParameter, GroupLoad.fsyncDelayParameter] {
            var other = report("steps", [("steps/s", "16 at a time", "flotilla", [30_000])])
            other.parameters[parameter] = "1000"
            #expect(Goals.text([other]).contains("0 of 0 goals are met"))
        }
    }

    @Test("the reports of a folder can be kept in one file, which says the same")
    func together() async throws {
        try await withScratch("flotilla-goals", contents: "reports") { folder in
            var interrupted = report("group", [])
            interrupted.isComplete = false
            try report("steps", [("steps/s", "16 at a time", "flotilla", [19_000, 21_000])]).write(
                to: "\(folder)/steps")
            try interrupted.write(to: "\(folder)/group")
            let reports = try Report.all(in: folder)
            #expect(reports.map(\.scenario) == ["group", "steps"])
            try Report.write(reports, goals: Goals.text(reports), to: "\(folder)/all")
            let kept = try Report.all(in: "\(folder)/all.json")
            #expect(Goals.text(kept) == Goals.text(reports) && kept.map(\.measures) == reports.map(\.measures))
            #expect(try readText("\(folder)/all.html").contains("goals are met"))
            #expect(throws: BenchError.self) { try Report.all(in: "\(folder)/none") }
            #expect(throws: BenchError.self) { try Report.all(in: "\(folder)/none.json") }
            #expect(throws: BenchError.self) { try Report.all(in: "\(folder)/steps.json") }
        }
    }

    @Test("every goal has a title of its own")
    func titles() { #expect(Set(Goals.all.map(\.title)).count == Goals.all.count && Goals.all.count >= 25) }

    @Test("what perf and callgrind write is read, and a machine without counters is seen")
    func counts() {
        #expect(MicroCount.perf("hello\n123456,,instructions:u,9,100.00,,\n") == 123_456)
        #expect(MicroCount.perf("<not supported>,,instructions:u,0,100.00,,\n") == nil)
        #expect(MicroCount.callgrind("==12== Events    : Ir\n==12== Collected : 987654\n") == 987_654)
        #expect(MicroCount.callgrind("") == nil)
    }

    @Test("operations that are counted can be done", arguments: MicroOperation.allCases)
    func operations(_ operation: MicroOperation) async throws { try await operation.perform(64) }
}
