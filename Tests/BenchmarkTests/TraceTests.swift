import Testing

@testable import FlotillaBenchmarks

/// Traces as strace writes them. The node's number is the tens of its threads' numbers.
@Suite("Trace")
struct TraceTests {
    private static let start = TraceReport.Start(id: "trace-17", mark: #"\"seed\":17"#)

    private func write(_ node: Int, seed: Int = 17, file: String = "00000001.seg") -> String {
        #"pwrite64(7</d/node-\#(node)/log/\#(file)>, "FBAT\0\1{\"seed\":\#(seed)}", 23, 64) = 23 <0.000100>"#
    }

    private func sync(_ node: Int, file: String = "00000001.seg", result: String = "0") -> String {
        "fdatasync(7</d/node-\(node)/log/\(file)>) = \(result) <0.002000>"
    }

    private let answer =
        #"write(9<socket:[88]>, "HTTP/1.1 201 Created\r\n\r\n{\"id\":\"trace-17\"}\n", 45) = 45 <0.000010>"#

    /// A line every 10 ms, by a thread of the node in front of the colon.
    private func text(_ lines: [(node: Int, call: String)]) -> String {
        lines.enumerated().map { number, line in
            "\(line.node)1 1700000000.\(String(1000 + number * 10).dropFirst())000 \(line.call)"
        }.joined(separator: "\n")
    }

    private func report(_ lines: [(node: Int, call: String)]) -> TraceReport {
        TraceReport(
            [Self.start], in: SystemCallParser.calls(in: text(lines)),
            logDirectories: (1...3).map { "/d/node-\($0)/log" })
    }

    private func isRefused(_ lines: [(node: Int, call: String)]) -> Bool {
        let report = report(lines)
        return report.violations.count == 1 && report.passed.isEmpty && !report.isShown
    }

    // MARK: The order

    @Test("an answer after the fdatasync of two of three nodes is in order")
    func majority() {
        let report = report([
            (1, write(1)), (2, write(2)), (3, write(3)), (1, sync(1)), (3, sync(3)), (1, answer),
            (2, sync(2)),
        ])
        #expect(report.isShown)
        #expect(report.violations.isEmpty)
        // The second fdatasync begins at 40 ms and takes 2; the answer's write begins at 50.
        #expect(report.passed == [.init(durableNodes: 2, lead: .milliseconds(8))])
        #expect(report.table.contains("1 of 1"))
    }

    @Test("an answer before the second fdatasync is found")
    func early() {
        let lines = [
            (1, write(1)), (2, write(2)), (1, sync(1)), (1, answer), (2, sync(2)),
        ]
        #expect(isRefused(lines))
        #expect(report(lines).violations[0].contains("ended on 1 of 3"))
        #expect(report(lines).violations[0].contains("logs of 2"))
    }

    @Test("an answer while an fdatasync is under way is found")
    func duringSync() {
        let opening = "fdatasync(7</d/node-2/log/00000001.seg> <unfinished ...>"
        let rest = "<... fdatasync resumed>) = 0 <0.015000>"
        let before = [(1, write(1)), (2, write(2)), (1, sync(1)), (2, opening)]
        #expect(isRefused(before + [(1, answer), (2, rest)]))
        #expect(isRefused(before + [(1, answer)]))
        #expect(report(before + [(2, rest), (1, answer)]).isShown)
    }

    @Test("an fdatasync that began before the write of the entry had ended proves nothing")
    func syncBeforeWrite() {
        #expect(isRefused([(1, write(1)), (2, sync(2)), (2, write(2)), (1, sync(1)), (1, answer)]))
        let opening =
            #"pwrite64(7</d/node-2/log/00000001.seg>, "{\"seed\":17}", 11, 0 <unfinished ...>"#
        let whole = "<... pwrite64 resumed>) = 11 <0.000030>"
        let log = [(1, write(1)), (1, sync(1)), (2, opening)]
        let other = "fdatasync(7</d/node-2/log/00000001.seg>) = 0 <0.000100>"
        #expect(isRefused(log + [(4, other), (2, whole), (1, answer)]))
        #expect(report(log + [(2, whole), (4, other), (1, answer)]).isShown)
    }

    @Test("only an fdatasync that succeeded, of the file with the entry, counts")
    func otherSyncs() {
        let one = [(1, write(1)), (1, sync(1)), (2, write(2))]
        let failed = sync(2, result: "-1 EIO (Input/output error)")
        #expect(isRefused(one + [(2, failed), (1, answer)]))
        #expect(isRefused(one + [(2, sync(2, file: "00000002.seg")), (1, answer)]))
        #expect(isRefused(one + [(1, sync(1)), (1, answer)]))
        #expect(isRefused(one + [(3, sync(3)), (1, answer)]))
        #expect(report(one + [(2, sync(2)), (1, answer)]).isShown)
    }

    @Test("a write of another entry, or of a part, is no write of the entry")
    func otherWrites() {
        let one = [(1, write(1)), (1, sync(1))]
        #expect(isRefused(one + [(2, write(2, seed: 18)), (2, sync(2)), (1, answer)]))
        let part =
            #"pwrite64(7</d/node-2/log/00000001.seg>, "{\"seed\":17}", 11, 0) = 5 <0.000030>"#
        #expect(isRefused(one + [(2, part), (2, sync(2)), (1, answer)]))
        let outside = #"pwrite64(7</d/node-2/ledger>, "{\"seed\":17}", 11, 0) = 11 <0.000030>"#
        #expect(isRefused(one + [(2, outside), (2, sync(2)), (1, answer)]))
    }

    @Test("a follower's frame that says it has the entry proves nothing")
    func acknowledgement() {
        let frame = #"write(8<socket:[77]>, "\1\0{\"seed\":17}", 13) = 13 <0.000010>"#
        #expect(isRefused([(1, write(1)), (1, sync(1)), (2, frame), (1, answer)]))
    }

    @Test("a start whose answer is not in the trace is not shown, and nor is nothing at all")
    func nothing() {
        let log = [(1, write(1)), (1, sync(1)), (2, write(2)), (2, sync(2))]
        #expect(isRefused(log))
        let conflict = answer.replacing("201 Created", with: "409 Conflict")
        #expect(isRefused(log + [(1, conflict)]))
        #expect(report(log + [(1, answer)]).isShown)
        #expect(!TraceReport([], in: [], logDirectories: ["/a", "/b", "/c"]).isShown)
    }

    // MARK: The lines

    @Test("a call is read with its descriptor, its times and its result")
    func line() throws {
        let call = try #require(
            SystemCallParser.calls(in: "  21 1700000000.250000 " + write(2)).first)
        #expect(call.thread == 21)
        #expect(call.name == "pwrite64")
        #expect(call.file == "/d/node-2/log/00000001.seg")
        #expect(call.requested == 23)
        #expect(call.result == 23)
        #expect(call.begin.time == .milliseconds(1_700_000_000_250))
        #expect(call.end?.time == .microseconds(1_700_000_000_250_100))
        #expect(call.mentions(#"\"seed\":17"#))
        #expect(!call.mentions(#"\"seed\":18"#))
    }

    @Test("what stands in a string is not taken for the end of the call")
    func string() {
        let text =
            #"5 1.0 write(9<TCP:[127.0.0.1:1->[::1]:2]>, "\") = 7 <0.5>\" <unfinished ...>"..., 90) = 90 <0.000001>"#
        let calls = SystemCallParser.calls(in: text)
        #expect(calls.count == 1)
        #expect(calls.first?.file == "TCP:[127.0.0.1:1->[::1]:2]")
        #expect(calls.first?.result == 90)
        #expect(calls.first?.requested == 90)
    }

    @Test(
        "halves of calls of several threads find each other; a call that never returned has no end")
    func halves() {
        let calls = SystemCallParser.calls(
            in: """
                1 5.000001 <... fdatasync resumed>) = 0 <0.000001>
                1 5.000002 fdatasync(3</a> <unfinished ...>
                2 5.000003 fdatasync(4</b> <unfinished ...>
                3 5.000004 fdatasync(5</c> <unfinished ...>
                2 5.000005 <... fdatasync resumed>) = 0 (DELAYED) <0.000020>
                1 5.000006 <... fdatasync resumed>) = -1 EIO (Input/output error) <0.000010>
                3 5.000007 <... fdatasync resumed>) = ?
                1 5.000008 +++ exited with 0 +++
                """)
        #expect(calls.map(\.file) == ["/a", "/b", "/c"])
        #expect(calls.map(\.begin.line) == [2, 3, 4])
        #expect(calls.map { $0.end?.line } == [6, 5, nil])
        #expect(calls.map(\.result) == [-1, 0, nil])
        #expect(calls[0].end?.time == .microseconds(5_000_012))
    }
}
