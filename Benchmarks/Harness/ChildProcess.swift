import FlotillaIO
import Glibc

/// A program that this one started. Whatever happens, it does not outlive this process's orderly end.
final class ChildProcess: Sendable {
    let pid: pid_t

    /// How a process ended.
    enum End: Hashable, Sendable {
        case exited(Int32)
        case signalled(Int32)
    }
    private let end = Lock<End?>(nil)

    /// - Parameters:
    ///   - environment: added to this process's own.
    ///   - log: the file that standard output and error are appended to.
    ///   - errors: the file that standard error is appended to instead.
    ///   - input: the file that standard input is.
    init(
        path: String, arguments: [String], environment: [String: String], log: String, errors: String? = nil,
        input: String = "/dev/null"
    ) throws(BenchError) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        if let errors {
            posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        } else {
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own: Ctrl-C in the terminal is for this process, which ends its children itself.
        posix_spawnattr_setpgroup(&attributes, 0)
        // The threads of Swift's pool block most signals, and a child inherits that: it could not be asked to end.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP) | Int16(POSIX_SPAWN_SETSIGMASK))

        var words = ([path] + arguments).map { strdup($0) } + [nil]
        var variables = Self.variables(adding: environment).map { strdup($0) } + [nil]
        defer { for pointer in words + variables { free(pointer) } }
        var pid: pid_t = 0
        let outcome = posix_spawn(&pid, path, &actions, &attributes, &words, &variables)
        guard outcome == 0 else {
            throw BenchError("\(path) cannot be started: \(String(cString: strerror(outcome)))")
        }
        self.pid = pid
        RunningChildren.add(pid)
    }

    private static func variables(adding added: [String: String]) -> [String] {
        var result: [String] = []
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if !added.keys.contains(where: { text.hasPrefix($0 + "=") }) { result.append(text) }
            next += 1
        }
        return result + added.map { "\($0.key)=\($0.value)" }.sorted()
    }

    func send(signal: Int32) {
        // Under the lock, so that the number of a process that has been waited for is never used again.
        end.withLock { if $0 == nil { _ = Glibc.kill(pid, signal) } }
    }

    /// How it ended; nil while it runs.
    func poll() -> End? {
        end.withLock { end in
            if let end { return end }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
            RunningChildren.remove(pid)
            let signal = status & 0x7f
            end = signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal)
            return end
        }
    }

    /// Waits for the end; ends it by force when `limit` has passed.
    /// - Returns: how it ended by itself; nil if force was needed.
    @discardableResult
    func wait(limit: Duration) async -> End? {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if let end = poll() { return end }
            // An interrupted benchmark does not wait.
            do { try await Task.sleep(for: .milliseconds(5)) } catch { break }
        }
        if let end = poll() { return end }
        send(signal: SIGKILL)
        while poll() == nil { usleep(1_000) }
        return nil
    }

    /// Resident memory in KiB, from the kernel; nil when it has ended.
    func residentKilobytes() -> Int? { Self.residentKilobytes(of: pid) }

    static func residentKilobytes(of pid: pid_t) -> Int? {
        guard let text = try? readText("/proc/\(pid)/status") else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("VmRSS:") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }
}

/// The program that runs, to start it once more.
func ownPath() throws(BenchError) -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard count > 0 else { throw BenchError("/proc/self/exe cannot be read") }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// The children that run now, so that an interrupted process can end them.
enum RunningChildren {
    private static let pids = Lock<Set<pid_t>>([])

    static func add(_ pid: pid_t) { pids.withLock { _ = $0.insert(pid) } }
    static func remove(_ pid: pid_t) { pids.withLock { _ = $0.remove(pid) } }

    static func killAll() {
        pids.withLock { for pid in $0 { _ = Glibc.kill(pid, SIGKILL) } }
    }
}
