/// A request's target taken apart and decoded (RFC 9112, 3.2).
struct HTTPTarget {
    var path: String
    var segments: [String]
    var query: [(name: String, value: String)]

    init(_ target: [UInt8], method: String) throws(HTTPProblem) {
        var rest = target[...]
        if method == "OPTIONS", rest == [UInt8(ascii: "*")] {
            (path, segments, query) = ("*", [], [])
            return
        }
        if rest.first != UInt8(ascii: "/") { rest = try Self.afterAuthority(rest) }
        if let fragment = rest.firstIndex(of: UInt8(ascii: "#")) { rest = rest[..<fragment] }
        let mark = rest.firstIndex(of: UInt8(ascii: "?"))
        let pathBytes = rest[..<(mark ?? rest.endIndex)]
        path = try Self.decode(pathBytes, plusIsSpace: false)
        if path.isEmpty { path = "/" }
        segments = []
        for part in pathBytes.split(separator: UInt8(ascii: "/")) {
            segments.append(try Self.decode(part, plusIsSpace: false))
        }
        query = []
        guard let mark else { return }
        for pair in rest[(mark + 1)...].split(separator: UInt8(ascii: "&")) {
            let equals = pair.firstIndex(of: UInt8(ascii: "="))
            let name = try Self.decode(pair[..<(equals ?? pair.endIndex)], plusIsSpace: true)
            let value = try equals.map { equals throws(HTTPProblem) in
                try Self.decode(pair[(equals + 1)...], plusIsSpace: true)
            }
            query.append((name, value ?? ""))
        }
    }

    /// What follows "http://host:port", the form that proxies send.
    private static func afterAuthority(_ target: ArraySlice<UInt8>) throws(HTTPProblem)
        -> ArraySlice<UInt8>
    {
        for scheme in ["http://", "https://"] where target.starts(with: scheme.utf8) {
            let authority = target.dropFirst(scheme.utf8.count)
            let end = authority.firstIndex { [UInt8(ascii: "/"), UInt8(ascii: "?")].contains($0) }
            return authority[(end ?? authority.endIndex)...]
        }
        throw HTTPProblem(400, "the request's target must be a path that starts with a slash")
    }

    private static func decode(_ bytes: ArraySlice<UInt8>, plusIsSpace: Bool) throws(HTTPProblem)
        -> String
    {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "%") {
                guard bytes.endIndex - index >= 2, let high = digit(bytes[index]),
                    let low = digit(bytes[index + 1])
                else {
                    throw HTTPProblem(
                        400, "a % in the request's target must be followed by two hex digits")
                }
                decoded.append(high << 4 | low)
                index += 2
            } else {
                decoded.append(plusIsSpace && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
            }
        }
        guard !decoded.contains(0), let text = String(validating: decoded, as: UTF8.self) else {
            throw HTTPProblem(400, "the request's target must be UTF-8 without zero bytes")
        }
        return text
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
