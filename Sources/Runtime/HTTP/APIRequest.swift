import FlotillaIO
import FlotillaRaft

extension HTTPRequest {
    /// What the request belongs to. A header that is none is ignored, as its specification asks for.
    var trace: TraceContext? {
        header("traceparent").flatMap { TraceContext(traceparent: $0, tracestate: header("tracestate") ?? "") }
    }

    /// A parameter's value; nil where it is missing or empty.
    func text(_ name: String) -> String? {
        query(name).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// - Throws: 400, naming the parameter, if its value is no number within `range`.
    func number<Number: FixedWidthInteger & Sendable>(
        _ name: String, in range: ClosedRange<Number>
    ) throws(Problem) -> Number? {
        guard let text = text(name) else { return nil }
        guard let number = Number(text), range.contains(number) else {
            throw .badRequest(
                "\(name)=\(text) is not a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// - Throws: 400 if the value is no duration.
    func duration(_ name: String) throws(Problem) -> Duration? {
        guard let text = text(name) else { return nil }
        guard let duration = DurationText.parse(text) else {
            throw .badRequest(
                "\(name)=\(text) is no duration; write 500ms, 30s or 2m, a day at most")
        }
        return duration
    }

    /// The same for something that may be as long ago as ten years.
    func age(_ name: String) throws(Problem) -> Duration? {
        guard let text = text(name) else { return nil }
        guard let age = DurationText.parse(text, limit: DurationText.ageLimit) else {
            throw .badRequest("\(name)=\(text) is no duration; write 30m, 12h or 7d, 3650d at most")
        }
        return age
    }

    /// - Throws: 400 if the value is neither 1 or true nor 0 or false.
    func flag(_ name: String) throws(Problem) -> Bool {
        switch text(name) {
        case nil, "0"?, "false"?: return false
        case "1"?, "true"?: return true
        case let text?: throw .badRequest("\(name)=\(text) is neither 1 nor 0")
        }
    }

    /// - Throws: 400, naming the first parameter that the route does not know: a misspelt filter must not list all.
    func allowQuery(_ names: String...) throws(Problem) { try allowQuery(names) }

    func allowQuery(_ names: [String]) throws(Problem) {
        guard let unknown = query.map(\.name).filter({ !names.contains($0) }).min() else { return }
        let known =
            names.isEmpty ? "this path takes none" : "there are " + names.joined(separator: ", ")
        throw .badRequest("unknown query parameter \(unknown); \(known)")
    }

    /// Which workflows are meant: "attribute" may stand there more than once.
    func filter() throws(Problem) -> WorkflowFilter {
        var filter = WorkflowFilter(type: text("type"))
        if let name = text("status") {
            guard let status = WorkflowStatus(name: name) else {
                let known = WorkflowStatus.allCases.map(\.description).joined(separator: ", ")
                throw .badRequest("status=\(name): there are \(known)")
            }
            filter.status = status
        }
        for text in query.filter({ $0.name == "attribute" }).map(\.value) {
            guard let attribute = AttributeText(text) else {
                throw .badRequest("attribute=\(text): write attribute=NAME=VALUE")
            }
            filter.attributes[attribute.name] = attribute.value
        }
        filter.startedFrom = try moment("startedFrom")
        filter.startedBefore = try moment("startedBefore")
        return filter
    }

    private func moment(_ name: String) throws(Problem) -> Int64? {
        guard let text = text(name) else { return nil }
        guard let time = WallTime(rfc3339: text) else {
            throw .badRequest("\(name)=\(text) is no moment; write 2026-11-22T08:00:00Z")
        }
        return time.nanoseconds
    }

    /// The same where the body may be left out.
    func optionalObject(allowing names: Set<String>) throws(Problem) -> JSONObject {
        body.isEmpty ? JSONObject(members: [:]) : try object(allowing: names)
    }

    /// The body as a JSON object with none but the members named.
    /// - Throws: 400, naming what is wrong.
    func object(allowing names: Set<String>) throws(Problem) -> JSONObject {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: body)
        } catch {
            throw .badRequest("the body is not JSON: \(error.message)")
        }
        guard case .object(let members) = value else {
            throw .badRequest("the body is not a JSON object")
        }
        if let unknown = members.keys.filter({ !names.contains($0) }).min() {
            throw .badRequest(
                "unknown member \(unknown); there are \(names.sorted().joined(separator: ", "))")
        }
        return JSONObject(members: members)
    }
}

/// The members of a JSON object; a member that is null counts as missing.
struct JSONObject: Sendable {
    var members: [String: JSONValue]

    func string(_ name: String) throws(Problem) -> String? {
        switch members[name] {
        case nil, .null?: return nil
        case .string(let text)?: return text
        case _?: throw .badRequest("\(name) is not a string")
        }
    }

    /// An object of strings; nil where the member is missing.
    func texts(_ name: String) throws(Problem) -> [String: String]? {
        guard let value = members[name], value != .null else { return nil }
        guard case .object(let object) = value else {
            throw .badRequest("\(name) is not an object of strings, such as {\"customer\": \"acme\"}")
        }
        var texts: [String: String] = [:]
        for (key, value) in object {
            guard case .string(let text) = value else { throw .badRequest("\(key) in \(name) is not a string") }
            texts[key] = text
        }
        return texts
    }

    /// Nodes by their numbers; nil where the member is missing.
    func nodes(_ name: String) throws(Problem) -> [NodeID]? {
        guard let value = members[name], value != .null else { return nil }
        guard case .array(let elements) = value else {
            throw .badRequest("\(name) is not a list of node ids, such as [1, 2, 3]")
        }
        var nodes: [NodeID] = []
        for element in elements {
            guard case .integer(let number) = element, number > 0 else {
                throw .badRequest("\(name) holds \(element.cell), which is no node id; ids are numbers from 1 on")
            }
            nodes.append(NodeID(UInt64(number)))
        }
        return nodes
    }

    /// - Throws: 400 also for what is not a whole number from 1 on.
    func number(_ name: String) throws(Problem) -> UInt64? {
        switch members[name] {
        case nil, .null?: return nil
        case .integer(let number)? where number >= 1: return UInt64(number)
        case _?: throw .badRequest("\(name) is not a whole number from 1 on")
        }
    }

    /// - Throws: 400 also for what is not a number from 1 to the type's largest.
    func version(_ name: String) throws(Problem) -> UInt32? {
        switch members[name] {
        case nil, .null?: return nil
        case .integer(let number)? where number >= 1 && number <= Int64(UInt32.max):
            return UInt32(number)
        case _?: throw .badRequest("\(name) is not a whole number from 1 to \(UInt32.max)")
        }
    }
}

extension HTTPResponse {
    static func json(_ value: JSONValue, status: Int = 200) -> HTTPResponse {
        json(value.canonicalBytes, status: status)
    }

    static func json(_ bytes: [UInt8], status: Int = 200) -> HTTPResponse {
        HTTPResponse(
            status: status, headers: [("Content-Type", "application/json")],
            body: bytes + [UInt8(ascii: "\n")])
    }

    static func text(_ text: String, contentType: String) -> HTTPResponse {
        HTTPResponse(status: 200, headers: [("Content-Type", contentType)], body: Array(text.utf8))
    }

    static func problem(_ problem: Problem) -> HTTPResponse {
        var headers = [(name: "Content-Type", value: "application/problem+json")]
        if let seconds = problem.retryAfter {
            headers.append((name: "Retry-After", value: "\(seconds)"))
        }
        if let allowed = problem.allowedMethods { headers.append((name: "Allow", value: allowed)) }
        let value = JSONValue.object([
            "type": .string(problem.type), "title": .string(problem.title),
            "status": .integer(Int64(problem.status)), "detail": .string(problem.detail),
        ])
        return HTTPResponse(
            status: problem.status, headers: headers,
            body: value.canonicalBytes + [UInt8(ascii: "\n")])
    }
}

/// "NAME", or "NAME#N": a step by name and occurrence.
struct StepText {
    var name: String
    var occurrence: UInt64

    init?(_ text: String) {
        guard let mark = text.lastIndex(of: "#"), let number = UInt64(text[text.index(after: mark)...]) else {
            (name, occurrence) = (text, 0)
            if text.isEmpty { return nil }
            return
        }
        (name, occurrence) = (String(text[..<mark]), number)
        if name.isEmpty { return nil }
    }
}

/// "NAME=VALUE".
struct AttributeText {
    var name: String
    var value: String

    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty else { return nil }
        (name, value) = (String(parts[0]), String(parts[1]))
    }
}
