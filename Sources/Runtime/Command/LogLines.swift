import FlotillaIO

/// A logger for programs: one line per message on standard error, with time, level, message and key=value pairs.
enum LogLines {
    static func logger(level: FlotillaLogger.Level) -> FlotillaLogger {
        FlotillaLogger(level: level) { level, message, metadata in
            Terminal.write(
                line(
                    time: .now, level: level, message: message, metadata: metadata.map { ($0, $1) }),
                to: .error)
        }
    }

    static func level(named name: String) -> FlotillaLogger.Level? {
        FlotillaLogger.Level.allCases.first { "\($0)" == name }
    }

    /// Ends with a line feed and has no other.
    static func line(
        time: WallTime, level: FlotillaLogger.Level, message: String, metadata: [(String, String)]
    ) -> String {
        var line = time.rfc3339 + " " + "\(level)".uppercased() + " " + flat(message)
        for (key, value) in metadata { line += " \(key)=\(quoted(value))" }
        return line + "\n"
    }

    /// A value with blanks, quotes or equal signs stands in quotes.
    private static func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty && value.allSatisfy { !$0.isWhitespace && $0 != "\"" && $0 != "=" }
        guard !isPlain else { return value }
        return "\""
            + flat(value).split(separator: "\"", omittingEmptySubsequences: false).joined(
                separator: "\\\"")
            + "\""
    }

    private static func flat(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).joined(separator: " | ")
    }
}
