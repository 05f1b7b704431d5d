import Glibc
import Testing

/// A blocking socket, to say what a well-behaved client would not.
final class RawClient: Sendable {
    struct Refused: Error {}

    private let descriptor: Int32

    /// - Parameter address: "127.0.0.1:port".
    init(to address: String) throws {
        let port = try #require(UInt16(address.split(separator: ":")[1]))
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        target.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // A test that waits for ever says nothing; a read that takes this long is an error.
        var limit = timeval(tv_sec: 300, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let descriptor = self.descriptor
        let result = withUnsafePointer(to: target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Refused() }
    }

    deinit { close(descriptor) }

    /// Writes all (blocking if it is more than the socket takes), or as much as the other end takes
    /// before it closes.
    func write(_ bytes: [UInt8]) {
        var position = 0
        while position < bytes.count {
            let count = bytes[position...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            position += count
        }
    }

    func write(_ text: String) { write(Array(text.utf8)) }

    func endWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Empty at the end.
    func readSome() async -> [UInt8] { await offPool { self.readNow() } }

    func readToEnd() async -> [UInt8] {
        await offPool {
            var all: [UInt8] = []
            while true {
                let some = self.readNow()
                guard !some.isEmpty else { return all }
                all += some
            }
        }
    }

    func textToEnd() async -> String { String(decoding: await readToEnd(), as: UTF8.self) }

    private func readNow() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        return Array(buffer.prefix(max(0, count)))
    }

    /// Closes with a reset.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        var unspecified = sockaddr()
        unspecified.sa_family = sa_family_t(AF_UNSPEC)
        connect(descriptor, &unspecified, socklen_t(MemoryLayout<sockaddr>.size))
    }
}
