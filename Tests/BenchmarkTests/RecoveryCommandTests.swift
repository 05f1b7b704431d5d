import FlotillaIO
import Glibc
import Testing

@testable import FlotillaBenchmarks

/// Five processes and the commands of their operator.
@Suite("flotilla cluster recover", .timeLimit(.minutes(4)))
struct RecoveryCommandTests {
    private static let work = ChainWork(id: "interrupted", seed: 5, steps: 300)
    private static let patience: Duration = .seconds(120)

    /// What a command said, and how it ended.
    private struct Outcome {
        var code: ChildProcess.End?
        var text: String
    }

    @Test("TT-38b: 3 of 5 processes are killed for good: the command says what it would cost, and does it by force")
    func recover() async throws {
        let scratch = try Scratch("flotilla-recover")
        let executable = try nodeExecutable()
        let cluster = Cluster(.init(executable: executable, directory: scratch.path, nodeCount: 5))
        do {
            try await cluster.start()
            try await play(cluster) { words in
                let log = "\(scratch.path)/command.log"
                unlink(log)
                let process = try ChildProcess(path: executable, arguments: words, environment: [:], log: log)
                let end = await process.wait(limit: Self.patience)
                return Outcome(code: end, text: try readText(log))
            }
        } catch {
            await cluster.killAll()
            throw error
        }
        await cluster.killAll()
        scratch.remove()
    }

    private func play(_ cluster: Cluster, _ run: ([String]) async throws -> Outcome) async throws {
        // Management keeps its majority: one of its three voters goes, and both of the others.
        let voters = try #require(
            try await cluster.api(1).status().groups.first { $0.kind == "management" }?.voters.map { Int($0) })
        let lost = [try #require(voters.last)] + (1...5).filter { !voters.contains($0) }
        let survivors = (1...5).filter { !lost.contains($0) }
        let api = await cluster.api(survivors[0])
        let input = #"{"seed":\#(Self.work.seed),"steps":\#(Self.work.steps)}"#
        let started = try await api.start(type: "benchmark_chain", id: Self.work.id, input: input)
        #expect(started.status == 201)
        func recover(_ words: String...) async throws -> Outcome {
            try await run(["cluster", "recover", "0000", "--http", api.address] + words)
        }
        let tooEarly = try await recover("--force")
        #expect(tooEarly.code == .exited(1) && tooEarly.text.contains("it goes on by itself"), "\(tooEarly.text)")
        for node in lost { await cluster.kill(node) }
        try await wait("the cluster to say why it is stuck") {
            try await run(["cluster", "describe", "0000", "--http", api.address]).text.contains("2 of 5 voters answer")
        }
        let plan = try await recover()
        #expect(
            plan.code == .exited(1) && plan.text.contains("would be founded anew, as incarnation 2"), "\(plan.text)")
        #expect(plan.text.contains("the cluster goes on with this one") && plan.text.contains("is lost"))
        #expect(plan.text.contains("nothing was changed; repeat it with --force"))
        let done = try await recover("--force")
        #expect(done.code == .exited(0) && done.text.contains("is founded anew, as incarnation 2"), "\(done.text)")
        try await wait("the interrupted run") {
            try await api.result(of: Self.work.id, wait: .seconds(10), as: Value.self)?.value == Self.work.expected
        }
        for node in lost { try await cluster.spawn(node) }
        try await cluster.waitUntilFormed(limit: Self.patience)
        for node in 1...5 {
            let known = try await cluster.api(node).describe(Self.work.id)
            #expect(known?.status == "completed", "node \(node)")
        }
        let again = try await recover("--force")
        #expect(again.code == .exited(1) && again.text.contains("it goes on by itself"), "\(again.text)")
    }

    private struct Value: Decodable, Sendable {
        var value: UInt64
    }

    private func wait(_ what: String, until isDone: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            // A node may be about to find out itself.
            if (try? await isDone()) == true { return }
            try #require(ContinuousClock.now < deadline, "waited \(Self.patience) for \(what)")
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
