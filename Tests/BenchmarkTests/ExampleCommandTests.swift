import Testing

@testable import FlotillaBenchmarks

/// `flotilla-examples`, as a reader of the README calls it.
@Suite("flotilla-examples", .timeLimit(.minutes(4)))
struct ExampleCommandTests {
    /// Runs the command with its output in a directory of its own.
    private func run(_ words: String...) async throws -> CommandOutcome {
        let scratch = try Scratch("flotilla-examples")
        defer { scratch.remove() }
        let process = try ChildProcess(
            path: try nodeExecutable("flotilla-examples"),
            arguments: words.map { $0.replacing("{}", with: scratch.path) },
            environment: [:], log: "\(scratch.path)/out", errors: "\(scratch.path)/errors")
        let code = await process.wait(limit: CommandDesk.patience)
        return CommandOutcome(
            code: code, output: try readText("\(scratch.path)/out"), errors: try readText("\(scratch.path)/errors"))
    }

    @Test("each example that the help names runs to its end, and says what happens")
    func examples() async throws {
        let help = try await run("--help")
        #expect(help.code == .exited(0))
        let list = try #require(help.output.split(separator: "Examples:\n").last)
        let names = list.split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) }
        #expect(names.count > 5 && names.contains("order-saga"), "\(help.output)")
        for name in names {
            let outcome = try await run(name)
            #expect(outcome.code == .exited(0) && outcome.errors.isEmpty, "\(name): \(outcome)")
            #expect(outcome.output.contains("\n"), "\(name) says nothing")
        }
        // With a log, which goes with the directory.
        let kept = try await run("keyed-counter", "--data", "{}/data")
        #expect(kept.code == .exited(0) && kept.output == "even: 35\nodd: 35\n", "\(kept)")
    }

    @Test("an example that there is not, and none at all, end with 64 and name those that there are")
    func unknown() async throws {
        let unknown = try await run("nonsense")
        #expect(unknown.code == .exited(64) && unknown.output.isEmpty)
        #expect(unknown.errors.contains("there is no example 'nonsense'; there are order-saga, "), "\(unknown)")
        let none = try await run()
        #expect(none.code == .exited(64) && none.errors.contains("NAME is missing"), "\(none)")
    }
}
