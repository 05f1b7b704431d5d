import Glibc
import Testing

@testable import FlotillaBenchmarks

/// What a command writes to a terminal, and to something that is none.
@Suite("Colours", .timeLimit(.minutes(4)))
struct ColorTests {
    /// A terminal without a window.
    private struct Terminal {
        let path: String
        private let reading: Int32

        init() throws {
            // As posix_openpt and its kin do, which Swift does not see: TIOCSPTLCK and TIOCGPTN.
            reading = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
            var (isLocked, number): (Int32, UInt32) = (0, 0)
            try #require(
                reading >= 0 && ioctl(reading, 0x4004_5431, &isLocked) == 0 && ioctl(reading, 0x8004_5430, &number) == 0
            )
            path = "/dev/pts/\(number)"
        }

        /// All that was written, once nobody writes any more.
        func text() -> String {
            defer { close(reading) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while case let count = read(reading, &buffer, buffer.count), count > 0 { bytes += buffer[..<count] }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// The warning that is loud, of a node that then finds no place to listen.
    private func warning(_ environment: [String: String], log: String) async throws {
        let process = try ChildProcess(
            path: try nodeExecutable(),
            arguments: ["node", "run", "--id", "1", "--listen", "nowhere", "--memory", "--bootstrap"],
            environment: environment, log: log)
        #expect(await process.wait(limit: CommandDesk.patience) == .exited(1))
    }

    @Test(
        "a terminal gets colours, unless NO_COLOR or TERM=dumb says otherwise, and everything else none",
        arguments: [
            (["TERM": "xterm", "NO_COLOR": ""], true), (["TERM": "xterm", "NO_COLOR": "1"], false),
            (["TERM": "dumb", "NO_COLOR": ""], false),
        ])
    func colors(environment: [String: String], isColored: Bool) async throws {
        let terminal = try Terminal()
        try await warning(environment, log: terminal.path)
        let text = terminal.text()
        #expect(text.contains("NOTHING IS KEPT ON DISK"), "\(text)")
        #expect(text.contains("\u{1B}[") == isColored, "\(text)")

        try await withScratch("flotilla-colors", contents: "What was written") { directory in
            try await warning(environment, log: "\(directory)/log")
            let text = try readText("\(directory)/log")
            #expect(text.contains("NOTHING IS KEPT ON DISK") && !text.contains("\u{1B}"), "\(text)")
        }
    }
}
