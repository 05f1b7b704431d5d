import FlotillaIO
import FoundationEssentials
import Glibc
import Testing

@testable import FlotillaBenchmarks

/// One node of the benchmark, as a process.
@Suite("Commits over HTTP", .timeLimit(.minutes(2)))
struct HTTPProposalTests {
    @Test("a node of the benchmark commits what it gets as JSON, and says what was wrong with anything else")
    func proposals() async throws {
        try await withScratch("flotilla-test", contents: "the node's log") { directory in
            let ports = try Ports.free(2).map { "127.0.0.1:\($0)" }
            let node = try ChildProcess(
                path: try nodeExecutable("flotilla-bench"),
                arguments: [
                    "groups-node", "--id", "1", "--peers", ports[0], "--http", ports[1], "--data", "\(directory)/1",
                    "--kind", "benchmark",
                ], environment: [:], log: "\(directory)/log")
            var failure: (any Error)?
            do {
                try await check(node, NodeAPI(address: ports[1]), log: "\(directory)/log")
            } catch {
                failure = error
            }
            // Its directory is not removed before it has ended.
            node.send(signal: SIGKILL)
            await node.wait(limit: .seconds(60))
            if let failure { throw failure }
        }
    }

    private func check(_ node: ChildProcess, _ api: NodeAPI, log: String) async throws {
        while (try? await api.get("/usage")) == nil {
            if let end = node.poll() {
                throw BenchError("the node has ended: \(end), \(try readText(log))")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(try await api.get("/found?count=1&leader=1").status == 204)
        let group = GroupsNode.firstGroup
        while true {
            let answer = try await api.get("/report")
            if try answer.decode(GroupsReport.self).led == 1 { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        let done = try await api.post(HTTPProposal.path, #"{"group":\#(group),"body":"BwcHBwcHBwc="}"#)
        #expect(done.status == 200)
        #expect(try done.decode(HTTPProposal.Answer.self).body.isEmpty)
        let none = try await api.post(HTTPProposal.path, #"{"group":7,"body":"Bwc="}"#)
        #expect(none.status == 404 && none.problem.contains("there is no group 7"))
        let broken = try await api.post(HTTPProposal.path, #"{"group":"a"}"#)
        #expect(broken.status == 400 && broken.problem.contains("BASE64"))
    }
}
