import CLibuv
import Glibc

/// "host:port" taken apart.
package struct HostPort: Hashable, Sendable {
    package var host: String
    package var port: UInt16

    /// - Parameter text: "127.0.0.1:7000", "[::1]:7000" or "name:7000".
    package init(_ text: String) throws(NetworkError) {
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { throw Self.invalid(text) }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw Self.invalid(text)
        }
        let isClean = host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard !host.isEmpty, host.utf8.count <= 253, isClean else { throw Self.invalid(text) }
        self.host = String(host)
        self.port = port
    }

    private static func invalid(_ text: String) -> NetworkError {
        NetworkError(
            .invalidAddress,
            "\"\(text)\" is not an address: write host:port, such as 127.0.0.1:7000, [::1]:7000 or name:7000"
        )
    }
}

/// An IP address and a port, as the system has it.
package struct SocketAddress: Sendable, CustomStringConvertible {
    private var storage: sockaddr_storage

    /// From digits alone; nil where `target` holds a name.
    init?(numeric target: HostPort) {
        storage = sockaddr_storage()
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            let memory = UnsafeMutableRawPointer(pointer)
            let port = Int32(target.port)
            if uv_ip4_addr(target.host, port, memory.assumingMemoryBound(to: sockaddr_in.self)) == 0 {
                return true
            }
            return uv_ip6_addr(target.host, port, memory.assumingMemoryBound(to: sockaddr_in6.self))
                == 0
        }
        guard result else { return nil }
    }

    /// Copies an address that a resolver found; nil if it is neither IPv4 nor IPv6.
    init?(copying address: UnsafePointer<sockaddr>, port: UInt16) {
        storage = sockaddr_storage()
        let family = Int32(address.pointee.sa_family)
        guard family == AF_INET || family == AF_INET6 else { return nil }
        let size =
            family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
        withUnsafeMutableBytes(of: &storage) { bytes in
            bytes.copyMemory(from: UnsafeRawBufferPointer(start: address, count: size))
            // The port has the same place in both.
            bytes.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
        }
    }

    /// From a call such as `uv_tcp_getpeername`, which fills in `storage`.
    init?(_ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32) {
        storage = sockaddr_storage()
        var size = Int32(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            body(UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: sockaddr.self), &size)
        }
        guard result == 0 else { return nil }
    }

    func withPointer<R>(_ body: (UnsafePointer<sockaddr>) -> R) -> R {
        withUnsafePointer(to: storage) { pointer in
            body(UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self))
        }
    }

    /// "127.0.0.1:7000" or "[::1]:7000".
    package var description: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
            let named = withPointer { uv_ip_name($0, text.baseAddress, text.count) == 0 }
            guard named, let start = text.baseAddress else { return "unknown" }
            let host = String(cString: start)
            let port = withUnsafeBytes(of: storage) {
                UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))
            }
            return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}
