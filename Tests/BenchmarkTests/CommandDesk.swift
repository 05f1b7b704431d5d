import Flotilla
import FlotillaIO
import FoundationEssentials
import Glibc
import Testing

@testable import FlotillaBenchmarks

/// What a command said, and how it ended.
struct CommandOutcome: Sendable {
    var code: ChildProcess.End?
    /// Of its standard output.
    var output: String
    /// Of its standard error.
    var errors: String
}

/// Somebody at a terminal: three nodes as processes, and the `flotilla` command, which is a process each time. Commands go to
/// one node after the other, since any of them answers for all.
final class CommandDesk: Sendable {
    static let patience: Duration = .seconds(120)

    let cluster: Cluster
    let directory: String
    private let executable: String
    private let count = Lock(0)

    private init(_ cluster: Cluster, _ executable: String, _ directory: String) {
        (self.cluster, self.executable, self.directory) = (cluster, executable, directory)
    }

    /// Leaves neither a process nor a file behind; after a failure the directory stays.
    static func with(
        _ name: String, nodeArguments: [String] = [], files: [String: String] = [:],
        _ body: (CommandDesk) async throws -> Void
    ) async throws {
        let executable = try nodeExecutable()
        try await withScratch("flotilla-\(name)", contents: "What \(name) left") { directory in
            for (name, text) in files { try write(text, to: "\(directory)/\(name)") }
            let arguments = nodeArguments.map { $0.replacing("{}", with: directory) }
            let cluster = Cluster(
                .init(executable: executable, directory: directory, nodeArguments: arguments))
            do {
                try await cluster.start()
                try await body(CommandDesk(cluster, executable, directory))
            } catch {
                await cluster.killAll()
                throw error
            }
            await cluster.killAll()
        }
    }

    /// - Parameter input: what it reads from standard input.
    func run(_ words: [String], input: String? = nil) async throws -> CommandOutcome {
        let number = count.withLock { count in
            count += 1
            return count
        }
        let path = "\(directory)/command-\(number)"
        if let input { try write(input, to: "\(path).in") }
        let nodes = cluster.nodes
        let api = await cluster.api(nodes.lowerBound + number % nodes.count)
        let process = try ChildProcess(
            path: executable, arguments: words, environment: ["FLOTILLA_HTTP": api.address], log: "\(path).out",
            errors: "\(path).err", input: input == nil ? "/dev/null" : "\(path).in")
        let end = await process.wait(limit: Self.patience)
        return CommandOutcome(code: end, output: try readText("\(path).out"), errors: try readText("\(path).err"))
    }

    /// Runs a command that has to succeed, and to say nothing to standard error.
    /// - Returns: its standard output.
    @discardableResult
    func flotilla(
        _ words: String..., input: String? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let outcome = try await run(words, input: input)
        #expect(
            outcome.code == .exited(0) && outcome.errors.isEmpty, "\(words): \(outcome)",
            sourceLocation: sourceLocation)
        return outcome.output
    }

    /// Runs a command that has to fail.
    /// - Returns: its standard error.
    @discardableResult
    func refused(
        _ words: String..., code: Int32 = 1, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let outcome = try await run(words)
        #expect(outcome.code == .exited(code), "\(words): \(outcome)", sourceLocation: sourceLocation)
        return outcome.errors
    }

    /// The JSON that a command writes.
    func json(
        _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> JSONValue {
        let outcome = try await run(words)
        #expect(outcome.code == .exited(0), "\(words): \(outcome)", sourceLocation: sourceLocation)
        return try JSONDocument.read(outcome.output)
    }

    /// Starts a run of `sample_words`.
    func start(
        _ id: String, _ words: [String], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let input = "[" + words.map { "\"\($0)\"" }.joined(separator: ",") + "]"
        let started = try await run(["workflow", "start", "sample_words", "--id", id, "--input", input])
        #expect(
            started.code == .exited(0) && started.output.hasPrefix("Started \(id) (run "), "\(started)",
            sourceLocation: sourceLocation)
    }

    /// Waits until the description of a run says something.
    func wait(
        _ id: String, says text: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            let outcome = try await run(["workflow", "describe", id])
            if outcome.output.contains(text) { return }
            try #require(
                ContinuousClock.now < deadline, "\(id) does not say '\(text)': \(outcome)",
                sourceLocation: sourceLocation)
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}

/// JSON as the tests look at it.
enum JSONDocument {
    static func read(_ text: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }
}

extension JSONValue {
    /// The elements of an array; nothing for what is none.
    var items: [JSONValue] { if case .array(let items) = self { items } else { [] } }
}

private func write(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(filePath: path))
}
