/// One command of a command line tool: its words, its options, and the help made from them.
package struct CommandDescription: Sendable {
    /// `--name VALUE`, `--name=VALUE`, or `--name` alone.
    package struct Option: Sendable {
        package var name: String
        /// What stands for the value in the help text; nil for a switch.
        package var placeholder: String?
        package var help: String

        package static func value(_ name: String, _ placeholder: String, _ help: String) -> Option {
            Option(name: name, placeholder: placeholder, help: help)
        }
        package static func flag(_ name: String, _ help: String) -> Option {
            Option(name: name, placeholder: nil, help: help)
        }
    }

    /// The words that call it, such as "flotilla node run".
    package var name: String
    package var summary: String
    /// The names of the arguments that are not options; those in brackets, such as "[ID]", come last and may be left out.
    package var arguments: [String]
    package var options: [Option]

    package init(_ name: String, summary: String, arguments: [String] = [], options: [Option] = []) {
        self.name = name
        self.summary = summary
        self.arguments = arguments
        self.options = options
    }

    /// - Returns: nil if the words ask for help.
    /// - Throws: `UsageError`, naming the word that is wrong.
    package func parse(_ words: [String]) throws(UsageError) -> ParsedOptions? {
        var parsed = ParsedOptions(command: name)
        var rest = words[...]
        var onlyArguments = false
        while let word = rest.popFirst() {
            guard !onlyArguments, word.hasPrefix("-"), word != "-" else {
                parsed.arguments.append(word)
                continue
            }
            if word == "--" {
                onlyArguments = true
            } else if word == "--help" || word == "-h" {
                return nil
            } else {
                try parseOption(word, rest: &rest, into: &parsed)
            }
        }
        try checkArguments(parsed)
        return parsed
    }

    private func parseOption(
        _ word: String, rest: inout ArraySlice<String>, into parsed: inout ParsedOptions
    ) throws(UsageError) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let spelled = String(parts[0])
        guard spelled.hasPrefix("--"),
            let option = options.first(where: { $0.name == spelled.dropFirst(2) })
        else {
            throw UsageError(name, "unknown option \(spelled)")
        }
        guard parsed.values[option.name] == nil else {
            throw UsageError(name, "\(spelled) stands there twice")
        }
        guard let placeholder = option.placeholder else {
            guard parts.count == 1 else { throw UsageError(name, "\(spelled) takes no value") }
            parsed.values[option.name] = ""
            return
        }
        if parts.count == 2 {
            parsed.values[option.name] = String(parts[1])
        } else if let value = rest.first, !value.hasPrefix("--") {
            parsed.values[option.name] = value
            rest.removeFirst()
        } else {
            throw UsageError(name, "\(spelled) needs a value: \(spelled) \(placeholder)")
        }
    }

    private func checkArguments(_ parsed: ParsedOptions) throws(UsageError) {
        let required = arguments.count { !$0.hasPrefix("[") }
        if parsed.arguments.count < required {
            throw UsageError(name, "\(arguments[parsed.arguments.count]) is missing")
        }
        if parsed.arguments.count > arguments.count {
            throw UsageError(name, "unexpected argument \(parsed.arguments[arguments.count])")
        }
    }

    /// The text of `--help`.
    package var help: String {
        let usage = ([name] + arguments + ["[options]"]).joined(separator: " ")
        var rows = options.map { option in
            (option.placeholder.map { "--\(option.name) \($0)" } ?? "--\(option.name)", option.help)
        }
        rows.append(("--help", "show this text"))
        let width = (rows.map(\.0.count).max() ?? 0) + 2
        let lines = rows.map { row in
            "  \(row.0)" + String(repeating: " ", count: width - row.0.count) + row.1
        }
        return "\(summary)\n\nUsage: \(usage)\n\nOptions:\n" + lines.joined(separator: "\n") + "\n"
    }
}

/// What a command line said.
package struct ParsedOptions: Sendable {
    fileprivate let command: String
    fileprivate var values: [String: String] = [:]
    package fileprivate(set) var arguments: [String] = []

    fileprivate init(command: String) { self.command = command }

    package func has(_ name: String) -> Bool { values[name] != nil }

    package func string(_ name: String) -> String? { values[name] }

    /// - Throws: `UsageError` if the value is no number within `range`.
    package func number<Number: FixedWidthInteger & Sendable>(
        _ name: String, in range: ClosedRange<Number>
    ) throws(UsageError) -> Number? {
        guard let text = values[name] else { return nil }
        guard let number = Number(text), range.contains(number) else {
            throw UsageError(
                command,
                "--\(name) \(text): not a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    package func fail(_ message: String) -> UsageError { UsageError(command, message) }
}

/// The command line cannot be understood. Ends a tool with `exitCode`.
package struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// EX_USAGE of sysexits.h.
    package static let exitCode: Int32 = 64
    package let command: String
    package let message: String

    package init(_ command: String, _ message: String) {
        self.command = command
        self.message = message
    }
    package var description: String { "\(command): \(message)\nSee '\(command) --help'." }
}
