import FlotillaIO
import Glibc

/// `flotilla-bench floor`: what this machine's disk and loopback take by themselves, below which no commit can be.
enum FloorBenchmark {
    static let command = CommandDescription(
        "flotilla-bench floor",
        summary: "Measures one fdatasync and one round trip over loopback, in this directory's file system.",
        options: [
            .value("runs", "N", "how often each figure is taken (default: 5)"),
            .value("calls", "N", "how many make a figure (default: 2000)"), reportOption,
        ])

    static let sync = "fdatasync of 4 KiB, p50 us"
    static let roundTrip = "loopback round trip, p50 us"
    private static let blockBytes = 4_096
    private static let messageBytes = 128

    static func run(_ options: ParsedOptions) async throws {
        let runs = try options.number("runs", in: 1...100) ?? 5
        let calls = try options.number("calls", in: 10...1_000_000) ?? 2_000
        try await withReport(
            "floor", options, parameters: ["calls": "\(calls)"],
            conditions: ["into space that was written before; two threads, TCP_NODELAY, \(messageBytes) bytes each way"]
        ) { recorder in
            for run in 1...runs {
                recorder.progress.update("run \(run) of \(runs)")
                recorder.add(try syncs(calls), sync)
                recorder.add(try await roundTrips(calls), roundTrip)
            }
        }
    }

    /// In microseconds.
    private static func syncs(_ calls: Int) throws -> Double {
        let scratch = try Scratch("flotilla-floor")
        defer { scratch.remove() }
        let file = try PosixFileSystem().open("\(scratch.path)/file", create: true)
        let block = [UInt8](repeating: 7, count: blockBytes)
        for number in 0..<calls { try file.write(block, at: UInt64(number * blockBytes)) }
        try file.sync()
        var times: [UInt64] = []
        for number in 0..<calls {
            try file.write(block, at: UInt64(number * blockBytes))
            let start = monotonicNanoseconds()
            try file.sync()
            times.append(monotonicNanoseconds() - start)
        }
        return Double(Statistics.median(times) ?? 0) / 1_000
    }

    private static func roundTrips(_ calls: Int) async throws -> Double {
        let (first, second) = try connected()
        // It ends with the connection.
        async let echo: Void = BlockingPool.shared.run { while exchange(second, isFirst: false) {} }
        let times = try await BlockingPool.shared.run {
            var times: [UInt64] = []
            for _ in 0..<calls {
                let start = monotonicNanoseconds()
                guard exchange(first, isFirst: true) else { break }
                times.append(monotonicNanoseconds() - start)
            }
            shutdown(first, Int32(SHUT_RDWR))
            return times
        }
        try await echo
        close(first)
        close(second)
        guard times.count == calls else { throw BenchError("the connection over loopback broke") }
        return Double(Statistics.median(times) ?? 0) / 1_000
    }

    /// One message each way.
    private static func exchange(_ end: Int32, isFirst: Bool) -> Bool {
        var message = [UInt8](repeating: 7, count: messageBytes)
        func send() -> Bool { Glibc.send(end, message, message.count, Int32(MSG_NOSIGNAL)) == message.count }
        func receive() -> Bool { recv(end, &message, message.count, Int32(MSG_WAITALL)) == message.count }
        return isFirst ? send() && receive() : receive() && send()
    }

    /// Two ends of a TCP connection over loopback.
    private static func connected() throws -> (Int32, Int32) {
        func check(_ number: Int32, _ what: String) throws -> Int32 {
            guard number >= 0 else { throw BenchError("\(what): \(String(cString: strerror(errno)))") }
            return number
        }
        let stream = Int32(SOCK_STREAM.rawValue)
        let listener = try check(socket(AF_INET, stream, 0), "socket")
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let first = try withUnsafeMutablePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                _ = try check(bind(listener, pointer, size), "bind")
                _ = try check(listen(listener, 1), "listen")
                _ = try check(getsockname(listener, pointer, &size), "getsockname")
                let first = try check(socket(AF_INET, stream, 0), "socket")
                _ = try check(connect(first, pointer, size), "connect")
                return first
            }
        }
        let second = try check(accept(listener, nil, nil), "accept")
        for end in [first, second] {
            var on: Int32 = 1
            setsockopt(end, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        return (first, second)
    }
}
