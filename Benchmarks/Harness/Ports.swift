import Glibc

/// Free loopback ports.
///
/// They lie below the range from which the kernel takes ports for outgoing connections: a node that comes back must
/// find its port free, and a peer that tries a port where nobody listens could otherwise be connected to itself.
enum Ports {
    /// - Returns: `count` different ports that nobody listened on a moment ago. Someone else may still be faster.
    static func free(_ count: Int) throws(BenchError) -> [UInt16] {
        let end = ephemeralStart() ?? 32_768
        var found: Set<UInt16> = []
        for _ in 0..<10_000 where found.count < count {
            let port = UInt16.random(in: 10_000..<max(10_001, end))
            if isFree(port) { found.insert(port) }
        }
        guard found.count == count else { throw BenchError("no \(count) free ports on 127.0.0.1") }
        return Array(found)
    }

    private static func ephemeralStart() -> UInt16? {
        guard let text = try? readText("/proc/sys/net/ipv4/ip_local_port_range") else { return nil }
        return text.split(whereSeparator: \.isWhitespace).first.flatMap { UInt16($0) }
    }

    /// Whether somebody listens on a port of this machine.
    static func isTaken(_ port: UInt16) -> Bool { call(port, connect) }

    private static func isFree(_ port: UInt16) -> Bool { call(port, bind) }

    private static func call(
        _ port: UInt16, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
