import FlotillaIO
import Testing

@testable import FlotillaBenchmarks

/// What the README promises, of three processes of which the one that matters is killed.
@Suite("Promises, held by processes", .timeLimit(.minutes(4)))
struct PromisesTests {
    private static let patience: Duration = .seconds(120)

    private struct Waits: Decodable, Sendable {
        var naps: [Int64]
        var signals: [UInt64]
    }

    private struct History: Decodable, Sendable {
        struct Event: Decodable, Sendable {
            var kind: String
            var occurrence: UInt64
        }
        var events: [Event]
    }

    private func withCluster(_ body: (Cluster) async throws -> Void) async throws {
        let scratch = try Scratch("flotilla-promises")
        let cluster = Cluster(.init(executable: try nodeExecutable(), directory: scratch.path))
        do {
            try await cluster.start()
            try await body(cluster)
        } catch {
            await cluster.killAll()
            throw error
        }
        await cluster.killAll()
        scratch.remove()
    }

    /// Asks node after node until one does it.
    private func insist(
        _ cluster: Cluster, _ path: String, _ json: String, until isDone: (NodeAPI.Answer) -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            for node in cluster.nodes {
                if let answer = try? await cluster.api(node).post(path, json, limit: .seconds(3)), isDone(answer) {
                    return
                }
            }
            try #require(ContinuousClock.now < deadline, "no node does it: \(path)")
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func start(_ cluster: Cluster, _ id: String, _ input: String) async throws {
        let body = "{\"type\":\"benchmark_waits\",\"id\":\"\(id)\",\"input\":\(input)}"
        try await insist(cluster, "/v1/workflows", body) { [200, 201].contains($0.status) }
    }

    private func killOwner(of id: String, _ cluster: Cluster) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            for api in await cluster.running() {
                guard let owner = try? await api.describe(id)?.owner else { continue }
                await cluster.kill(Int(owner))
                return
            }
            try #require(ContinuousClock.now < deadline, "nobody owns \(id)")
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func result(_ cluster: Cluster, _ id: String) async throws -> Waits {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            for api in await cluster.running() {
                if let found = try? await api.result(of: id, wait: .seconds(5), as: Waits.self) { return found }
            }
            try #require(ContinuousClock.now < deadline, "\(id) does not end")
        }
    }

    @Test("no nap is too short, and none is slept twice, although its owner is killed in it")
    func naps() async throws {
        try await withCluster { cluster in
            let (count, milliseconds) = (12, 250)
            try await start(cluster, "naps", "{\"naps\":\(count),\"milliseconds\":\(milliseconds),\"signals\":0}")
            try await Task.sleep(for: .milliseconds(600))
            try await killOwner(of: "naps", cluster)
            let naps = try await result(cluster, "naps").naps
            #expect(naps.count == count)
            #expect(naps.allSatisfy { $0 >= Int64(milliseconds) * 1_000_000 }, "\(naps)")
            let api = try #require(await cluster.running().first)
            let history = try await api.get("/v1/workflows/naps/history?limit=100").decode(History.self)
            let sleeps = history.events.filter { $0.kind == "sleep" }
            #expect(sleeps.map(\.occurrence).sorted() == Array(0..<UInt64(count)))
        }
    }

    @Test("signals are received once, in the order in which they were acknowledged, although their owner is killed")
    func signals() async throws {
        try await withCluster { cluster in
            let count: UInt64 = 60
            try await start(cluster, "inbox", "{\"naps\":0,\"milliseconds\":0,\"signals\":\(count)}")
            for number in 1...count {
                if number == count / 2 { try await killOwner(of: "inbox", cluster) }
                let body = "{\"value\":\(number),\"sender\":\"desk\",\"number\":\(number)}"
                // What is not answered is sent again, to others: it may have been taken.
                try await insist(cluster, "/v1/workflows/inbox/signals/number", body) { $0.status == 204 }
            }
            #expect(try await result(cluster, "inbox").signals == Array(1...count))
        }
    }

    @Test(
        "a run whose start was acknowledged is in the list of any node at once, and what is too large is refused by name"
    )
    func listsAndLimits() async throws {
        try await withCluster { cluster in
            for number in 0..<30 {
                let api = await cluster.api(1 + number % 3)
                let id = "run-\(number)"
                let started = try await api.start(
                    type: "benchmark_waits", id: id, input: "{\"naps\":0,\"milliseconds\":0,\"signals\":1}")
                #expect(started.status == 201, "\(started.problem)")
                let listed = try await cluster.api(1 + (number + 1) % 3).list(status: "running")
                #expect(listed.contains { $0.id == id }, "\(id) is not among \(listed.count)")
            }
            let padding = String(repeating: " ", count: 100) + "\"" + String(repeating: "x", count: 4 << 20) + "\""
            let answer = try await cluster.api(2).start(type: "benchmark_waits", id: "large", input: padding)
            #expect(answer.status == 413 && answer.problem.contains("4194304"), "\(answer.problem)")
            #expect(try await cluster.api(3).describe("large") == nil)
        }
    }
}
