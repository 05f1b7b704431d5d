import FlotillaIO

/// The HTTP interface of a node, as the commands use it. Blocks its thread: a command does one thing.
struct APIClient {
    static let defaultAddress = "127.0.0.1:8001"
    static let environmentName = "FLOTILLA_HTTP"
    static let option = CommandDescription.Option.value(
        "http", "HOST:PORT",
        "a node's HTTP interface (default: \(environmentName), or \(defaultAddress))")

    /// What a node answers without waiting may take so long.
    private static let timeLimit: Duration = .seconds(30)

    let address: String

    init(_ options: ParsedOptions) {
        address =
            options.string("http") ?? Terminal.environment(Self.environmentName)
            ?? Self.defaultAddress
    }

    /// - Throws: `CommandError` with the node's own words if the answer is an error.
    func send(
        _ method: String, _ path: String, query: [(String, String?)] = [], body: JSONValue? = nil,
        headers: [(name: String, value: String)] = [], wait: Duration = .zero
    ) throws -> (status: Int, body: [UInt8]) {
        let pairs = query.compactMap { name, value in
            value.map { name + "=" + PercentEncoding.encode($0) }
        }
        let url =
            "http://\(address)\(path)" + (pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&"))
        let answer: (status: Int, body: [UInt8])
        do {
            answer = try HTTPClient.send(
                method: method, url: url, body: body?.canonicalBytes,
                headers: (body == nil ? [] : [("Content-Type", "application/json")]) + headers,
                timeout: Self.timeLimit + wait)
        } catch {
            throw CommandError(
                "\(error.message) (another address: --http, or \(Self.environmentName))")
        }
        guard (200...299).contains(answer.status) else { throw Self.problem(answer) }
        return answer
    }

    /// The answer's body as JSON.
    func get(_ path: String, query: [(String, String?)] = [], wait: Duration = .zero) throws
        -> JSONValue
    {
        try Self.parse(try send("GET", path, query: query, wait: wait).body)
    }

    static func parse(_ body: [UInt8]) throws -> JSONValue {
        do {
            return try JSONValue(parsing: body)
        } catch {
            throw CommandError("the answer is not JSON: \(error.message)")
        }
    }

    private static func problem(_ answer: (status: Int, body: [UInt8])) -> CommandError {
        guard let value = try? JSONValue(parsing: answer.body), let title = value["title"]?.text,
            let detail = value["detail"]?.text
        else {
            return CommandError(
                "status \(answer.status): \(String(decoding: answer.body.prefix(500), as: UTF8.self))"
            )
        }
        return CommandError("\(title): \(detail)")
    }
}

extension JSONValue {
    /// What a string holds; nil for everything else.
    var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// For a cell of a table: strings without quotes, nothing for null, JSON for the rest.
    var cell: String {
        switch self {
        case .null: ""
        case .string(let text): text
        case .bool, .integer, .unsigned, .number, .array, .object:
            String(decoding: canonicalBytes, as: UTF8.self)
        }
    }

    var elements: [JSONValue] {
        if case .array(let elements) = self { elements } else { [] }
    }
}
