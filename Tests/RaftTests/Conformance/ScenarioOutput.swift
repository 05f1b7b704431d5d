/// What a directive prints: its own output and the log lines of the level that is asked for. The highest level silences
/// both.
struct ScenarioOutput {
    private(set) var text = ""
    private(set) var level = LogLine.Level.debug
    private var indent = ""

    var isQuiet: Bool { level == .none }

    mutating func reset() { text = "" }

    mutating func print(_ block: String) {
        if isQuiet || block.isEmpty { return }
        if indent.isEmpty {
            text += block
            return
        }
        for line in block.split(separator: "\n", omittingEmptySubsequences: false).withoutLastEmpty {
            text += "\(indent)\(line)\n"
        }
    }

    mutating func log(_ line: LogLine) {
        if line.level.rawValue >= level.rawValue { print("\(line.level.name) \(line.text)\n") }
    }

    mutating func increaseIndent() { indent += "  " }
    mutating func decreaseIndent() { indent.removeLast(2) }

    mutating func setLevel(_ level: LogLine.Level) { self.level = level }

    /// - Returns: false if there is no such level.
    mutating func setLevel(_ name: String) -> Bool {
        guard let level = LogLine.Level.allCases.first(where: { $0.name == name.uppercased() }) else { return false }
        self.level = level
        return true
    }
}

extension [Substring] {
    fileprivate var withoutLastEmpty: ArraySlice<Substring> { last == "" ? dropLast() : self[...] }
}
