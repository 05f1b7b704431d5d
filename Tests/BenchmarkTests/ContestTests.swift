import FlotillaIO
import FoundationEssentials
import Testing

@testable import FlotillaBenchmarks

@Suite("Contests")
struct ContestTests {
    /// Says when it was measured.
    private struct Fake: Contestant {
        let name: String
        let order: Lock<[String]>
        var failsAt: Int?
        let conditions = "made up"
        var obstacle: String? { nil }

        func measure(_ load: GroupLoad, in directory: String) async throws -> LoadSample {
            let count = order.withLock { order in
                order.append("\(name) \(load.callers)")
                return order.count
            }
            if count == failsAt { throw CancellationError() }
            var result = LoadResult(nanoseconds: [1_000], length: .seconds(1))
            result.operations = 10 * count
            return LoadSample(result: result, usage: ProcessTreeUsage())
        }
    }

    private func contest(_ order: Lock<[String]>, failsAt: Int? = nil) -> Contest {
        Contest(
            contestants: [Fake(name: "a", order: order, failsAt: failsAt), Fake(name: "b", order: order)],
            loads: [("one", GroupLoad().with { $0.callers = 1 }), ("two", GroupLoad().with { $0.callers = 2 })],
            rounds: 2)
    }

    private func options(_ words: [String]) throws -> ParsedOptions {
        try #require(try CommandDescription("t", summary: "", options: [reportOption]).parse(words))
    }

    @Test("contestants take turns, round by round, and every sample is kept")
    func turns() async throws {
        let order = Lock<[String]>([])
        let last = Lock<Report?>(nil)
        try await withReport("t", try options([]), conditions: []) { recorder in
            try await contest(order).run(recorder)
            last.withLock { $0 = recorder.report }
        }
        #expect(order.withLock { $0 } == ["a 1", "b 1", "a 1", "b 1", "a 2", "b 2", "a 2", "b 2"])
        let report = try #require(last.withLock { $0 })
        #expect(report.measure("entries/s", "one", of: "a")?.samples == [10, 30])
        #expect(report.measure("entries/s", "two", of: "b")?.samples == [60, 80])
        #expect(report.text.contains("a / b") && report.text.contains("processor us/entry"))
    }

    @Test("a run that is interrupted writes what it has, and says that it is not complete")
    func interrupted() async throws {
        let path = FileManager.default.temporaryDirectory.path + "/flotilla-contest-\(UUID())"
        defer { for end in ["json", "html"] { try? FileManager.default.removeItem(atPath: "\(path).\(end)") } }
        let options = try options(["--out", path])
        await #expect(throws: CancellationError.self) {
            try await withReport("t", options, conditions: []) {
                try await contest(Lock([]), failsAt: 3).run($0)
            }
        }
        let report = try Report(readingFrom: path + ".json")
        #expect(!report.isComplete && report.measure("entries/s", "one", of: "b")?.samples == [20])
    }

    @Test("an open loop counts from when a request was due: who waits for a slow one is not left out")
    func openLoop() async throws {
        let load = GroupLoad().with { load in
            (load.warmupMilliseconds, load.milliseconds, load.rate) = (0, 200, 100)
        }
        // Twenty are due in 200 ms, and one caller takes 20 ms or more for each.
        let result = try await load.run { _ in try await Task.sleep(for: .milliseconds(20)) }
        #expect(result.operations == 20)
        // The last is due at 190 ms, and begins after nineteen others.
        #expect(result.most >= 200_000)
        let closed = try await load.with { $0.rate = 0 }.run { _ in try await Task.sleep(for: .milliseconds(20)) }
        #expect(closed.operations <= 10)
    }

    @Test("what several processes did at the same time adds up, and the slowest of them speaks for all")
    func together() {
        let a = LoadResult(nanoseconds: [1_000, 3_000], length: .seconds(2))
        let b = LoadResult(nanoseconds: [2_000], length: .seconds(2))
        let both = LoadResult(together: [a, b, LoadResult(nanoseconds: [], length: .seconds(2))])
        #expect(both.operations == 3 && both.perSecond == 1.5 && both.p50 == 2 && both.most == 3)
        #expect(LoadResult(together: []).perSecond == 0)
    }

    @Test("a workflow counts for as much of it as lies within the measurement")
    func shares() {
        #expect(StepsContestant.share(0, 10, of: 0, 10) == 1)
        #expect(StepsContestant.share(0, 10, of: 5, 20) == 0.5)
        #expect(StepsContestant.share(15, 25, of: 5, 20) == 0.5)
        #expect(StepsContestant.share(0, 4, of: 5, 20) == 0 && StepsContestant.share(3, 3, of: 0, 9) == 0)
    }

    @Test("a program's takeovers are read line by line, and an unfinished line is none")
    func takeovers() {
        #expect(
            Peer.takeovers(in: "initdb is slow\ntakeover 12.5\ntakeover of\ntakeover 3.25\ntakeover 7") == [12.5, 3.25])
        #expect(Peer.takeovers(in: "").isEmpty)
    }

    @Test("callers of ours are in the leader's process, unless other places are named")
    func callerPlaces() throws {
        func places(_ words: [String]) throws -> [String] {
            let options = try #require(try SingleGroupBenchmark.command.parse(words))
            return try SingleGroupBenchmark.callerPlaces(options).map { FlotillaContestant(callers: $0).name }
        }
        #expect(try places([]) == ["flotilla"])
        #expect(try places(["--client", "http,leader"]) == ["flotilla-http", "flotilla"])
        #expect(try places(["--client", "all"]) == ["flotilla", "flotilla-client", "flotilla-http"])
        for text in ["both", "", ",", "leader,leader", "leader,both"] {
            #expect { try places(["--client", text]) } throws: {
                "\($0)".contains("--client \(text): there are leader, process, http, each once, and all")
            }
        }
    }

    @Test("a program on a slow disk keeps its process id and its exit code")
    func slowDisk() async throws {
        try await withScratch("flotilla-test", contents: "A log") { directory in
            let command = SlowDisk.command("/bin/sh", ["-c", "echo $$; exit 3"], delay: 1_000)
            let child = try ChildProcess(
                path: command.path, arguments: command.arguments, environment: [:], log: "\(directory)/log")
            #expect(await child.wait(limit: .seconds(60)) == .exited(3))
            #expect(try readText("\(directory)/log") == "\(child.pid)\n")
        }
        #expect(SlowDisk.command("/bin/sh", ["x"], delay: 0) == ("/bin/sh", ["x"]))
    }

    @Test("a slow disk does not stop those at their calls who do not write")
    func onlyTheDisk() async throws {
        // A child makes a thousand calls and says how often it waited for anything, a tracer included.
        let script = """
            (i=0; while [ $i -lt 1000 ]; do i=$((i+1)); umask 022; done
            while read -r name count; do case $name in voluntary*) echo $count;; esac; done </proc/self/status)
            """
        try await withScratch("flotilla-test", contents: "A log") { directory in
            let command = SlowDisk.command("/bin/sh", ["-c", script], delay: 1_000)
            let child = try ChildProcess(
                path: command.path, arguments: command.arguments, environment: [:], log: "\(directory)/log")
            #expect(await child.wait(limit: .seconds(60)) == .exited(0))
            let waits = try #require(Int(try readText("\(directory)/log").split(separator: "\n").joined()))
            #expect(waits < 500)
        }
    }
}
