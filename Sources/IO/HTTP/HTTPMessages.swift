/// A request, whole.
public struct HTTPRequest: Sendable {
    /// Upper case, such as "GET".
    public var method: String
    /// Percent-decoded; starts with "/", or is "*" for OPTIONS. A "/" that was escaped within a
    /// segment looks like any other here: who needs to know uses `segments`.
    public var path: String
    /// The path's parts between slashes, each percent-decoded on its own; empty ones are left out.
    public var segments: [String]
    /// Names and values, decoded, in the order sent.
    public var query: [(name: String, value: String)]
    /// Names are lower case. Trailers are not among them.
    public var headers: [(name: String, value: String)]
    public var body: [UInt8]

    public init(
        method: String, path: String, segments: [String] = [],
        query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = []
    ) {
        self.method = method
        self.path = path
        self.segments = segments
        self.query = query
        self.headers = headers
        self.body = body
    }

    /// The first header of that name, in any case.
    public func header(_ name: String) -> String? {
        let name = name.lowercased()
        return headers.first { $0.name == name }?.value
    }

    /// The first query value of that name.
    public func query(_ name: String) -> String? { query.first { $0.name == name }?.value }
}

/// An answer. The server adds Content-Length, Connection and Date; what a handler says of those is
/// left out.
public struct HTTPResponse: Sendable {
    /// 200 to 599.
    public var status: Int
    public var headers: [(name: String, value: String)]
    public var body: [UInt8]

    public init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// An error as `application/problem+json` (RFC 9457).
    public static func problem(status: Int, detail: String) -> HTTPResponse {
        let title = jsonText(HTTPResponseWriter.reason(status))
        let text =
            "{\"type\":\"about:blank\",\"title\":\(title),\"status\":\(status),\"detail\":\(jsonText(detail))}\n"
        return HTTPResponse(
            status: status, headers: [("Content-Type", "application/problem+json")],
            body: Array(text.utf8))
    }

    private static func jsonText(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

/// Why a request is answered by the server itself; the connection closes afterwards.
struct HTTPProblem: Error, Hashable {
    var status: Int
    var detail: String
    init(_ status: Int, _ detail: String) {
        self.status = status
        self.detail = detail
    }

    /// What this server says in its own name. What it has no room for now it may have in a moment.
    var response: HTTPResponse {
        var response = HTTPResponse.problem(status: status, detail: detail)
        if status == 503 { response.headers.append(("Retry-After", "1")) }
        return response
    }
}
