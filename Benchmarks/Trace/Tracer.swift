import Glibc

/// strace, attached to running processes: one for all, so that what happened in them is written down in one order.
struct Tracer {
    static let socketCalls = ["write", "writev", "sendto", "sendmsg"]
    private static let fileCalls = ["pwrite64", "fdatasync", "fsync"]
    /// More than a batch of a few small entries; an entry beyond this would be reported as not found.
    private static let shownBytes = 1 << 16
    /// How long each sync is held back before it begins. Without that an answer could come after it by chance: there
    /// is more to do before an answer than a sync takes.
    static let syncDelay: Duration = .milliseconds(20)
    private static let timeLimit: Duration = .seconds(20)

    private let process: ChildProcess
    private let output: String
    private let log: String

    /// - Returns: where strace is.
    /// - Throws: if it is nowhere, with what to do.
    static func find() throws(BenchError) -> String {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        for directory in path.split(separator: ":") {
            let candidate = "\(directory)/strace"
            if access(candidate, X_OK) == 0 { return candidate }
        }
        throw BenchError(
            "there is no strace on the PATH; 'make setup' installs it, as does 'apt-get install strace'"
        )
    }

    /// Returns when all of them are traced.
    /// - Parameter directory: where the trace and strace's own messages go.
    init(strace: String, processes: [pid_t], directory: String) async throws {
        output = "\(directory)/trace.txt"
        log = "\(directory)/strace.log"
        let delay = Int(Self.syncDelay / .microseconds(1))
        let calls = (Self.socketCalls + Self.fileCalls).joined(separator: ",")
        process = try ChildProcess(
            path: strace,
            arguments: [
                "-f", "-ttt", "-T", "-y", "-s", "\(Self.shownBytes)", "-e", "trace=\(calls)",
                "-e", "inject=fdatasync,fsync:delay_enter=\(delay)", "-e", "signal=none", "-o",
                output,
            ] + processes.flatMap { ["-p", "\($0)"] },
            environment: [:], log: log)
        do {
            try await waitUntilAttached(to: processes)
        } catch {
            process.send(signal: SIGKILL)
            throw error
        }
    }

    private func waitUntilAttached(to processes: [pid_t]) async throws {
        let deadline = ContinuousClock.now + Self.timeLimit
        while true {
            let messages = (try? readText(log)) ?? ""
            if processes.allSatisfy({ messages.contains("Process \($0) attached") }) { return }
            guard process.poll() == nil, ContinuousClock.now < deadline else {
                let advice =
                    messages.contains("not permitted")
                    ? " (tracing a process that is no child takes root, or 'sysctl kernel.yama.ptrace_scope=0')"
                    : ""
                throw BenchError("strace does not attach to the nodes\(advice): \(messages)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Leaves the processes alone again.
    /// - Returns: what was traced.
    func stop() async throws -> String {
        guard process.poll() == nil else {
            throw BenchError("strace ended too early: \((try? readText(log)) ?? "")")
        }
        process.send(signal: SIGINT)
        guard await process.wait(limit: Self.timeLimit) != nil else {
            throw BenchError("strace does not end, so its trace may be cut: \(output)")
        }
        return try readText(output)
    }
}
