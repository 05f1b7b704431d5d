import FlotillaIO
import Glibc
import Testing

@testable import FlotillaBenchmarks

@Suite("Statistics")
struct StatisticsTests {
    @Test("a percentile is the value at the nearest rank")
    func nearestRank() {
        let values = Array(1...100).shuffled()
        #expect(Statistics.percentile(0, of: values) == 1)
        #expect(Statistics.percentile(50, of: values) == 50)
        #expect(Statistics.percentile(99, of: values) == 99)
        #expect(Statistics.percentile(100, of: values) == 100)
    }

    @Test("of few values, a high percentile is the largest: none is left out")
    func fewValues() {
        #expect(Statistics.percentile(99, of: [3, 9, 5]) == 9)
        #expect(Statistics.median([3, 9, 5]) == 5)
        #expect(Statistics.median([3, 9]) == 3)
        #expect(Statistics.median([Int]()) == nil)
    }

    @Test("durations are written with three digits that matter")
    func durations() {
        #expect(Duration.milliseconds(1_283).short == "1.28 s")
        #expect(Duration.milliseconds(35).short == "35 ms")
        #expect(Duration.microseconds(412).short == "0.41 ms")
    }
}

@Suite("Ports")
struct PortsTests {
    @Test("free ports are different from each other and lie below the kernel's own")
    func different() throws {
        let ports = try Ports.free(20)
        #expect(Set(ports).count == 20)
        #expect(ports.allSatisfy { $0 >= 10_000 })
    }
}

@Suite("Scratch")
struct ScratchTests {
    @Test("a scratch directory is gone once it is removed, with what is in it")
    func removed() throws {
        let scratch = try Scratch("flotilla-test")
        let child = try ChildProcess(
            path: "/bin/sh", arguments: ["-c", "echo $GREETING"], environment: ["GREETING": "ahoy"],
            log: scratch.path + "/log")
        while child.poll() == nil {}
        #expect(child.poll() == .exited(0))
        #expect(try readText(scratch.path + "/log") == "ahoy\n")
        scratch.remove()
        #expect(throws: BenchError.self) { try readText(scratch.path + "/log") }
    }

    @Test("a directory goes with a success and an interruption, and stays after a failure")
    func kept() async throws {
        let path = try await withScratch("flotilla-test", contents: "Nothing") { path in
            #expect(access(path, F_OK) == 0)
            return path
        }
        #expect(access(path, F_OK) != 0)
        let left = Lock("")
        await #expect(throws: CancellationError.self) {
            try await withScratch("flotilla-test", contents: "Nothing") { path in
                left.withLock { $0 = path }
                throw CancellationError()
            }
        }
        #expect(access(left.withLock { $0 }, F_OK) != 0)
        await #expect(throws: BenchError.self) {
            try await withScratch("flotilla-test", contents: "Nothing") { path in
                left.withLock { $0 = path }
                throw BenchError("as this test wants it")
            }
        }
        #expect(rmdir(left.withLock { $0 }) == 0)
    }

    @Test("how a child ended is told: its exit code, or the signal")
    func ends() async throws {
        let scratch = try Scratch("flotilla-test")
        defer { scratch.remove() }
        func child(_ script: String) throws -> ChildProcess {
            try ChildProcess(
                path: "/bin/sh", arguments: ["-c", script], environment: [:],
                log: scratch.path + "/log")
        }
        #expect(try await child("exit 3").wait(limit: .seconds(60)) == .exited(3))
        let sleeper = try child("exec sleep 600")
        #expect(sleeper.poll() == nil)
        #expect((sleeper.residentKilobytes() ?? 0) > 0)
        sleeper.send(signal: 9)
        #expect(await sleeper.wait(limit: .seconds(60)) == .signalled(9))
    }
}
