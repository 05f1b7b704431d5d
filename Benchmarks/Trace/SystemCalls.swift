import Glibc

/// One system call as strace reports it.
struct SystemCall: Hashable, Sendable {
    struct Moment: Hashable, Sendable {
        /// The line of the trace, from 1: the order in which the tracer saw what happened.
        var line: Int
        /// Since the epoch. When a call returned is computed from how long it took.
        var time: Duration
    }

    var thread: Int32
    var name: String
    /// What the descriptor in the first argument is open on: a path, or "socket:[number]".
    var file: String
    /// All arguments as strace prints them: strings escaped as in C.
    var arguments: String
    /// How many bytes it was to write, where that follows a string, as in `write` and `pwrite64`.
    var requested: Int64?
    var begin: Moment
    /// nil if it had not returned when the trace ended.
    var end: Moment?
    var result: Int64?

    /// Whether `text` is among the arguments; it must be written as strace would print it.
    func mentions(_ text: String) -> Bool { strstr(arguments, text) != nil }
}

/// Reads what `strace -f -ttt -T -y` writes. Lines that are no calls with a descriptor are passed over: signals, ends
/// of threads, and the second half of a call whose first half came before the trace.
struct SystemCallParser {
    private static let unfinished = "<unfinished ...>"

    private(set) var calls: [SystemCall] = []
    /// The call that each thread is in, where the tracer had to write about another thread meanwhile.
    private var open: [Int32: Int] = [:]
    private var line = 0

    static func calls(in text: String) -> [SystemCall] {
        var parser = SystemCallParser()
        for line in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            parser.read(Substring(line))
        }
        return parser.calls
    }

    private mutating func read(_ text: Substring) {
        line += 1
        let words = text.split(separator: " ", maxSplits: 2)
        guard words.count == 3, let thread = Int32(words[0]), let time = Self.seconds(words[1])
        else { return }
        if words[2].hasPrefix("<... ") {
            // The rest of a call whose string came with the first half.
            guard let index = open.removeValue(forKey: thread) else { return }
            finish(index, Self.tail(of: words[2]))
        } else {
            begin(words[2], thread: thread, at: SystemCall.Moment(line: line, time: time))
        }
    }

    /// "pwrite64(7</path>, "bytes", 5, 0) = 5 <0.000010>"
    private mutating func begin(_ text: Substring, thread: Int32, at moment: SystemCall.Moment) {
        guard let opening = text.firstIndex(of: "("), let file = Self.file(in: text[opening...])
        else { return }
        let tail = Self.tail(of: text)
        calls.append(
            SystemCall(
                thread: thread, name: String(text[..<opening]), file: String(file),
                arguments: String(text[text.index(after: opening)...]),
                requested: Self.requested(in: tail), begin: moment))
        if tail.hasSuffix(Self.unfinished) {
            open[thread] = calls.count - 1
        } else {
            finish(calls.count - 1, tail)
        }
    }

    /// Takes result and duration from ") = 5 <0.000010>".
    private mutating func finish(_ index: Int, _ tail: Substring) {
        guard let sign = tail.lastIndex(of: "=") else { return }
        let words = tail[tail.index(after: sign)...].split(separator: " ")
        guard let first = words.first, let result = Int64(first), let last = words.last,
            last.hasPrefix("<"), last.hasSuffix(">"),
            let duration = Self.seconds(last.dropFirst().dropLast())
        else { return }
        calls[index].result = result
        calls[index].end = SystemCall.Moment(
            line: line, time: calls[index].begin.time + duration)
    }

    /// What follows the last string. Strings hold anything, also what looks like a result; the quotes in them are
    /// escaped, so the last quote closes the last one.
    private static func tail(of text: Substring) -> Substring {
        text.lastIndex(of: "\"").map { text[text.index(after: $0)...] } ?? text
    }

    /// The text between the angle brackets of "(7</path>"; that of a connection may hold an arrow.
    private static func file(in text: Substring) -> Substring? {
        guard let opening = text.firstIndex(of: "<"),
            text[..<opening].dropFirst().allSatisfy(\.isNumber)
        else { return nil }
        var index = text.index(after: opening)
        let start = index
        var previous: Character = "<"
        while index < text.endIndex {
            if text[index] == ">", previous != "-" { return text[start..<index] }
            previous = text[index]
            index = text.index(after: index)
        }
        return nil
    }

    /// 432 of ", 432, 8192) = 432"; dots come first where the string was cut.
    private static func requested(in tail: Substring) -> Int64? {
        let rest = tail.drop { $0 == "." }
        guard rest.hasPrefix(", ") else { return nil }
        return Int64(rest.dropFirst(2).prefix(while: \.isNumber))
    }

    /// "1700000000.000123", without rounding.
    private static func seconds(_ text: Substring) -> Duration? {
        let parts = text.split(separator: ".")
        guard parts.count == 2, let whole = Int64(parts[0]), parts[1].count <= 9,
            let fraction = Int64(parts[1] + String(repeating: "0", count: 9 - parts[1].count))
        else { return nil }
        return .seconds(whole) + .nanoseconds(fraction)
    }
}
