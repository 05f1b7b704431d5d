/// A file of directives with the output that each of them must produce.
///
///     command argument key=value key=(v1,v2)
///     optional input lines
///     ----
///     expected output, up to a blank line
///
/// `#` starts a comment. Output that holds blank lines stands between doubled separators. A directive goes on behind a
/// line that ends in a backslash, or inside parentheses that are still open.
struct ScenarioFile {
    struct Argument: Equatable {
        var key: String
        /// Empty for a bare key.
        var values: [String]
    }

    struct Directive {
        var line: Int
        var text: String
        var command: String
        var arguments: [Argument]
        var input: [String]
        var expected: [String]
    }

    let name: String
    private(set) var directives: [Directive] = []

    private static let separator = "----"

    init(name: String, text: String) throws(ScenarioError) {
        self.name = name
        var reader = LineReader(text)
        while let line = reader.next() {
            let trimmed = line.trimmed
            if trimmed.isEmpty || trimmed.hasPrefix("#") { continue }
            let start = reader.number
            let text = try Self.wholeDirective(trimmed, &reader, name)
            var parser = DirectiveParser(text: text, file: name, line: start)
            var directive = try parser.parse()
            // A heading for what follows; it has no output.
            if directive.command == "subtest" { continue }
            directive.input = try Self.input(&reader, of: directive, name)
            directive.expected = try Self.expected(&reader, of: directive, name)
            directives.append(directive)
        }
    }

    private static func wholeDirective(
        _ first: String, _ reader: inout LineReader, _ name: String
    ) throws(ScenarioError) -> String {
        var text = first
        let start = reader.number
        while true {
            let continues = text.hasSuffix("\\")
            if continues { text.removeLast() }
            let open = text.count { $0 == "(" } - text.count { $0 == ")" }
            if !continues && open <= 0 { return text }
            guard let more = reader.next(), more.trimmed != separator else {
                throw ScenarioError(name, start, "the directive '\(first)' is not finished; is a ')' missing?")
            }
            text += " " + more.trimmed
        }
    }

    private static func input(
        _ reader: inout LineReader, of directive: Directive, _ name: String
    ) throws(ScenarioError) -> [String] {
        var lines: [String] = []
        while let line = reader.next() {
            if line == separator { return lines }
            lines.append(line)
        }
        throw ScenarioError(name, directive.line, "no '----' follows the directive '\(directive.text)'")
    }

    private static func expected(
        _ reader: inout LineReader, of directive: Directive, _ name: String
    ) throws(ScenarioError) -> [String] {
        var lines: [String] = []
        if reader.peek() != separator {
            while let line = reader.next(), !line.trimmed.isEmpty { lines.append(line) }
            return lines
        }
        _ = reader.next()
        while let line = reader.next() {
            if line == separator && reader.peek() == separator {
                _ = reader.next()
                return lines
            }
            lines.append(line)
        }
        throw ScenarioError(name, directive.line, "the output of '\(directive.text)' is not closed by '----' twice")
    }
}

/// What is wrong with a scenario file, and where.
struct ScenarioError: Error, CustomStringConvertible {
    let description: String

    init(_ file: String, _ line: Int, _ problem: String) { description = "\(file):\(line): \(problem)" }
}

private struct LineReader {
    private let lines: [Substring]
    private(set) var number = 0

    init(_ text: String) {
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    func peek() -> String? { number < lines.count ? String(lines[number]).withoutTrailingSpace : nil }

    mutating func next() -> String? {
        defer { number += 1 }
        return peek()
    }
}

/// Takes one directive apart.
private struct DirectiveParser {
    let text: String
    let file: String
    let line: Int
    private var rest: Substring

    init(text: String, file: String, line: Int) {
        self.text = text
        self.file = file
        self.line = line
        rest = text[...]
    }

    mutating func parse() throws(ScenarioError) -> ScenarioFile.Directive {
        let command = word()
        var arguments: [ScenarioFile.Argument] = []
        while !skipSpace() {
            let key = word()
            if key.isEmpty { throw ScenarioError(file, line, "'\(rest)' in '\(text)' has no key") }
            arguments.append(.init(key: key, values: rest.first == "=" ? try values() : []))
        }
        return .init(
            line: line, text: text, command: command, arguments: arguments, input: [], expected: [])
    }

    private mutating func skipSpace() -> Bool {
        rest = rest.drop { $0 == " " || $0 == "\t" }
        return rest.isEmpty
    }

    private mutating func word() -> String {
        let word = rest.prefix { $0 != " " && $0 != "\t" && $0 != "=" }
        rest = rest[word.endIndex...]
        return String(word)
    }

    private mutating func values() throws(ScenarioError) -> [String] {
        rest = rest.dropFirst()
        guard rest.first == "(" else {
            let value = rest.prefix { $0 != " " && $0 != "\t" }
            rest = rest[value.endIndex...]
            return [String(value)]
        }
        guard let end = rest.firstIndex(of: ")") else {
            throw ScenarioError(file, line, "'\(rest)' lacks its ')'")
        }
        let inside = rest[rest.index(after: rest.startIndex)..<end]
        rest = rest[rest.index(after: end)...]
        if inside.allSatisfy({ $0 == " " }) { return [] }
        return inside.split(separator: ",", omittingEmptySubsequences: false).map { String($0).trimmed }
    }
}

extension String {
    var trimmed: String { String(drop { $0 == " " || $0 == "\t" }).withoutTrailingSpace }

    var withoutTrailingSpace: String {
        var text = self[...]
        while let last = text.last, last == " " || last == "\t" || last == "\r" { text.removeLast() }
        return String(text)
    }
}

// MARK: What the directives ask for

extension ScenarioFile.Directive {
    func error(_ problem: String) -> ScenarioError { ScenarioError("line", line, "'\(text)': \(problem)") }

    func values(of key: String) -> [String]? { arguments.first { $0.key == key }?.values }

    /// The one value of a key, or nil where the key is not there.
    func value(of key: String) throws(ScenarioError) -> String? {
        guard let values = values(of: key) else { return nil }
        guard let value = values.first, values.count == 1 else { throw error("'\(key)' takes one value") }
        return value
    }

    func number(of key: String) throws(ScenarioError) -> UInt64? {
        guard let value = try value(of: key) else { return nil }
        return try number(value)
    }

    func flag(_ key: String) throws(ScenarioError) -> Bool? {
        guard let value = try value(of: key) else { return nil }
        switch value {
        case "true", "t", "1": return true
        case "false", "f", "0": return false
        default: throw error("'\(key)' is true or false, not '\(value)'")
        }
    }

    func number(_ text: String) throws(ScenarioError) -> UInt64 {
        guard let number = UInt64(text) else { throw error("'\(text)' is not a number") }
        return number
    }

    /// The numbers among the bare keys.
    func bareNumbers() throws(ScenarioError) -> [UInt64] {
        var numbers: [UInt64] = []
        for argument in arguments where argument.values.isEmpty { numbers.append(try number(argument.key)) }
        return numbers
    }
}
