import Flotilla
import FlotillaIO
import Glibc

/// `flotilla-examples`: runs one of the examples of this folder on a node of its own.
@main
enum Examples {
    static let all: [any Example.Type] = [
        OrderSaga.self, HumanApproval.self, FanOut.self, NightlyReport.self, KeyedCounter.self, OrderService.self,
    ]

    static let command = CommandDescription(
        "flotilla-examples", summary: "Runs an example on a node in this process, and says what happens.",
        arguments: ["NAME"],
        options: [
            .value("data", "DIR", "where the node keeps its log (default: in memory, and gone afterwards)"),
            .value("http", "HOST:PORT", "answer the HTTP API as well, to look at the runs with flotilla workflow"),
        ])

    static var help: String {
        let width = all.map { $0.name.count }.max() ?? 0
        return command.help + "\nExamples:\n"
            + all.map { "  \($0.name.padded(to: width))  \($0.summary)\n" }.joined()
    }

    static func main() async {
        do {
            guard let options = try command.parse(Array(CommandLine.arguments.dropFirst())) else {
                return Terminal.write(help)
            }
            let name = options.arguments[0]
            guard let example = all.first(where: { $0.name == name }) else {
                throw UsageError(
                    command.name,
                    "there is no example '\(name)'; there are " + all.map { $0.name }.joined(separator: ", "))
            }
            try await TerminationSignals.cancelling { try await run(example.init(), options) }
        } catch let error as UsageError {
            Terminal.writeLine("\(error)", to: .error)
            exit(UsageError.exitCode)
        } catch is CancellationError {
            exit(130)
        } catch {
            Terminal.writeLine(Style.red("Failed:") + " \(error)", to: .error)
            exit(1)
        }
    }

    private static func run(_ example: some Example, _ options: ParsedOptions) async throws {
        let data = options.string("data").map { NodeConfiguration.DataLocation.directory($0) } ?? .memory
        let configuration = NodeConfiguration(listen: "127.0.0.1:0", http: options.string("http"), data: data)
        try await withNode(configuration, workflows: example.workflows) { node in
            try await example.run(on: node) { Terminal.writeLine($0) }
        }
    }
}

/// Workflows, and what somebody does with them.
protocol Example: Sendable {
    static var name: String { get }
    static var summary: String { get }
    var workflows: [any RegisterableWorkflow] { get }
    init()
    /// - Parameter say: takes what a reader wants to see, a line each.
    func run(on node: Node, say: @escaping @Sendable (String) -> Void) async throws
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
