import CHTTPParser
import Glibc

/// Puts a response into bytes.
enum HTTPResponseWriter {
    /// Status line and headers.
    /// - Parameter time: now, for the Date header.
    static func head(
        of response: HTTPResponse, keepAlive: Bool, time: WallTime
    ) -> [UInt8] {
        var text = "HTTP/1.1 \(response.status) \(reason(response.status))\r\n"
        for (name, value) in response.headers where !isOurs(name) {
            text += "\(name): \(value)\r\n"
        }
        if allowsBody(response.status) { text += "Content-Length: \(response.body.count)\r\n" }
        text += "Date: \(date(time))\r\n"
        text += keepAlive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n"
        return Array(text.utf8)
    }

    /// A handler's response, or an error in its place if it would break the protocol: a line break
    /// in a header could forge a second response.
    static func checked(_ response: HTTPResponse) -> HTTPResponse {
        let isSound =
            (200...599).contains(response.status)
            && response.headers.allSatisfy { name, value in
                !name.isEmpty && name.utf8.allSatisfy(isTokenByte)
                    && value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
            }
        return isSound
            ? response
            : .problem(status: 500, detail: "the handler's status or headers are not valid HTTP")
    }

    static func allowsBody(_ status: Int) -> Bool { status != 204 && status != 304 }

    /// The words that belong to a status.
    static func reason(_ status: Int) -> String {
        guard (100...599).contains(status) else { return "Unknown" }
        let text = String(cString: http_status_str(http_status(rawValue: UInt32(status))))
        return text == "<unknown>" ? "Unknown" : text
    }

    private static func isOurs(_ name: String) -> Bool {
        ["content-length", "transfer-encoding", "connection", "date"].contains(name.lowercased())
    }

    /// RFC 9110, 5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }

    /// Such as "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7), in English whatever the locale.
    static func date(_ time: WallTime) -> String {
        var seconds = time_t(time.nanoseconds / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
            + "\(parts.tm_year + 1900) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }
}
