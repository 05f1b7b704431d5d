import FlotillaIO
import Glibc

/// The options that every subcommand with a cluster takes.
enum HarnessOptions {
    static let all: [CommandDescription.Option] = [
        .value(
            "flotilla", "PATH", "the flotilla executable (default: the one beside this program)"),
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
/// - Parameter ledger: the name of the file in the directory to which the sample workflow writes its effects.
func withCluster<Result: Sendable>(
    _ name: String, options: ParsedOptions, ledger: String? = nil,
    _ body: (_ cluster: Cluster, _ directory: String) async throws -> Result
) async throws -> Result {
    let executable = try HarnessOptions.executable(options)
    let scratch = try Scratch("flotilla-\(name)")
    let environment = ledger.map { ["FLOTILLA_LEDGER": scratch.path + "/" + $0] } ?? [:]
    let cluster = Cluster(
        .init(executable: executable, directory: scratch.path, environment: environment))
    do {
        try await cluster.start()
        let result = try await body(cluster, scratch.path)
        await cluster.killAll()
        if options.has("keep") {
            Terminal.writeLine("The nodes' data and logs: \(scratch.path)")
        } else {
            scratch.remove()
        }
        return result
    } catch {
        await cluster.killAll()
        if error is CancellationError {
            scratch.remove()
        } else {
            Terminal.writeLine("The nodes' data and logs are kept: \(scratch.path)", to: .error)
        }
        throw error
    }
}
