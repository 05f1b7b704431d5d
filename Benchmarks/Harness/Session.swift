import FlotillaIO
import Glibc

/// The options that every subcommand with a cluster takes.
enum HarnessOptions {
    static let executableOption = CommandDescription.Option.value(
        "flotilla", "PATH", "the flotilla executable (default: the one beside this program)")

    static let all: [CommandDescription.Option] = [
        executableOption,
        .flag("keep", "keep the directory with the nodes' data and logs also after a success"),
    ]

    static func executable(_ options: ParsedOptions) throws -> String {
        if let path = options.string("flotilla") {
            guard access(path, X_OK) == 0 else {
                throw options.fail("--flotilla \(path): no executable there")
            }
            return path
        }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(
            decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let path = own.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/flotilla"
        guard access(path, X_OK) == 0 else {
            throw options.fail(
                "no flotilla executable at \(path): build it with 'swift build', or name it with --flotilla"
            )
        }
        return path
    }
}

/// Runs `body` with a cluster that is up and formed, and leaves no process behind. The directory goes with a success
/// and stays, named, after a failure.
///
/// - Parameters:
///   - ledger: the name of the file in the directory to which the sample workflow writes its effects.
///   - nodeArguments: added to what every node is started with.
func withCluster<Result: Sendable>(
    _ name: String, options: ParsedOptions, ledger: String? = nil, nodeArguments: [String] = [],
    _ body: (_ cluster: Cluster, _ directory: String) async throws -> Result
) async throws -> Result {
    let executable = try HarnessOptions.executable(options)
    return try await withScratch(
        "flotilla-\(name)", contents: "The nodes' data and logs", isKept: options.has("keep")
    ) { directory in
        let environment = ledger.map { ["FLOTILLA_LEDGER": directory + "/" + $0] } ?? [:]
        let cluster = Cluster(
            .init(
                executable: executable, directory: directory, environment: environment, nodeArguments: nodeArguments))
        do {
            try await cluster.start()
            let result = try await body(cluster, directory)
            await cluster.killAll()
            return result
        } catch {
            await cluster.killAll()
            throw error
        }
    }
}
