import FlotillaIO
import Glibc

/// A worker process, as its supervisor sees it: pipes for cases and outcomes.
final class WorkerProcess {
    private let pid: pid_t
    private let input: Int32
    /// To be polled.
    let output: Int32
    private var received: [UInt8] = []
    /// The last lines that it has printed on its own account: why it trapped, if it did.
    private var printed: [Substring] = []
    private static let printedLimit = 40

    init() throws(ExplorerError) {
        var toWorker: [Int32] = [0, 0]
        var fromWorker: [Int32] = [0, 0]
        guard pipe(&toWorker) == 0, pipe(&fromWorker) == 0 else {
            throw ExplorerError("no pipe can be made: \(String(cString: strerror(errno)))")
        }
        // Not for the other workers: as long as one of them holds an end, nobody notices the other's death.
        for end in toWorker + fromWorker { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toWorker[0], 0)
        posix_spawn_file_actions_adddup2(&actions, fromWorker[1], 1)
        posix_spawn_file_actions_adddup2(&actions, fromWorker[1], 2)
        var words: [UnsafeMutablePointer<CChar>?] = [strdup("flotilla-simulate"), strdup("--worker"), nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, "/proc/self/exe", &actions, nil, &words, environ)
        close(toWorker[0])
        close(fromWorker[1])
        guard result == 0 else {
            throw ExplorerError("no worker can be started: \(String(cString: strerror(result)))")
        }
        self.pid = pid
        input = toWorker[1]
        output = fromWorker[0]
    }

    deinit {
        close(input)
        close(output)
        kill(pid, SIGKILL)
        _ = waitpid(pid, nil, 0)
    }

    func send(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        // A case is far shorter than a pipe is wide. If the worker is gone, its output ends.
        _ = write(input, bytes, bytes.count)
    }

    /// Takes what has come.
    /// - Returns: an outcome, once there is one; nil before.
    func receive() -> Outcome? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(output, &buffer, buffer.count)
        guard count > 0 else { return .failed(obituary()) }
        received += buffer[..<count]
        while let end = received.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: received[..<end], as: UTF8.self)
            received.removeSubrange(...end)
            if let outcome = Outcome(line: line) {
                printed = []
                return outcome
            }
            printed = (printed + [line[...]]).suffix(Self.printedLimit)
        }
        return nil
    }

    /// Whether it cannot be asked any more.
    private(set) var hasEnded = false

    private func obituary() -> String {
        hasEnded = true
        var status: Int32 = 0
        _ = waitpid(pid, &status, WNOHANG)
        let signal = status & 0x7f
        let end = signal == 0 ? "the process ended" : "the process died of \(String(cString: strsignal(signal)))"
        return ([end[...]] + printed).joined(separator: "\n")
    }
}

struct ExplorerError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
