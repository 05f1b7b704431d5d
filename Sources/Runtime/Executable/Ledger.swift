import Flotilla
import Glibc

/// A file outside of all nodes to which every effect is written, so that a reader can compare what was done with what
/// was recorded. Only where the environment names one.
struct Ledger: Sendable {
    static let variable = "FLOTILLA_LEDGER"
    static let shared = getenv(variable).map { Ledger(path: String(cString: $0)) }

    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private struct Line: Codable {
        var order: String
        var step: String
        var key: String
        var token: UInt64
        var process: Int32
        var node: String
        var at: Int64
    }

    let path: String

    /// One line in one write: lines of several processes do not mix.
    func append(order: String, step: String, _ context: StepContext) throws {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let line = Line(
            order: order, step: step, key: context.idempotencyKey, token: context.fencingToken,
            process: getpid(),
            node: getenv("FLOTILLA_NODE").map { String(cString: $0) } ?? "",
            at: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
        let bytes = try JSONLine.encode(line)
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw failure("opened") }
        defer { close(file) }
        guard write(file, bytes, bytes.count) == bytes.count else { throw failure("written") }
    }

    private func failure(_ what: String) -> Failure {
        Failure(
            description: "the ledger \(path) cannot be \(what): \(String(cString: strerror(errno)))"
        )
    }
}
